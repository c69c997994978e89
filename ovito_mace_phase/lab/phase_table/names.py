"""Display names, keys, minerals and Strukturbericht designations from AFLOW's titles."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from ovito_mace_phase.phases.table import bare_label

from .sources import Proposal

# A1, B8_1, C11_b, L1_2, L'1_0, J1_13, A_h ... but not the beginning of a formula such as C_2CeNi.
STRUKTURBERICHT = re.compile(r"(?<![A-Za-z0-9'])[A-LS]'?(?:\d+_(?:\d+|[a-z])|_[a-z]|\d+'?)(?![A-Za-z0-9_'])")
_UNDERSCORED = re.compile(STRUKTURBERICHT.pattern + r"|_")
_ACCENTS = str.maketrans("", "", '~"$\\{}')
_MINERALS = {
    "Spinel", "Zircon", "Topaz", "Gypsum", "Cinnabar", "Realgar", "Orpiment", "Diaspore", "Galena", "Quartz", "Garnet",
    "Corundum", "Rutile", "Anatase", "Litharge", "Nacrite", "Hydrophilite", "Sulphohalite", "Diopside",
}  # fmt: skip


def clean_name(title: str) -> str:
    """Drop what LaTeX left in a title: ``Mo_2FeB_2`` becomes ``Mo2FeB2``, while ``L1_2`` keeps its underscore."""
    text = title.replace("``", "").replace("''", "").replace("cdot", "\N{MIDDLE DOT}").translate(_ACCENTS)
    text = re.sub(r"(?<=[a-z])'(?=[a-z])", "", text)  # Rosick'yite
    text = text.replace(" \N{MIDDLE DOT}", "\N{MIDDLE DOT}").replace("\N{MIDDLE DOT} ", "\N{MIDDLE DOT}")
    text = re.sub(r"^em ", "", text)
    text = _UNDERSCORED.sub(lambda found: "" if found[0] == "_" else found[0], text)
    text = re.sub(r"\s+", " ", text).strip()
    # Two titles of the list lost their last bracket.
    return text + "]" if text.count("[") > text.count("]") else text


def mineral_name(proposal: Proposal) -> str | None:
    """Return the mineral that a title starts with, if it starts with one."""
    if proposal.mineral:
        return proposal.mineral
    first = re.match(r"[A-Z][a-z'~\"]+", proposal.title)
    if proposal.key is not None or first is None:
        return None
    word = clean_name(first[0])
    rest = proposal.title[first.end() : first.end() + 1]
    is_mineral = (word.endswith("ite") and len(word) > 5) or word in _MINERALS
    return word if is_mineral and rest in ("", " ", "/", ",") else None


def strukturbericht(title: str, listed: str) -> str | None:
    """Return the designation in AFLOW's title, which is right where the list's own column is not."""
    in_title = STRUKTURBERICHT.findall(title)
    if listed in in_title or not in_title:
        return listed or None
    bracketed = [word for word in in_title if re.search(r"[(,\s]" + re.escape(word) + r"\)", title)]
    return bracketed[0] if len(bracketed) == 1 and listed else listed or None


def choose_keys(
    proposals: Sequence[Proposal], designations: Sequence[str | None], minerals: Sequence[str | None]
) -> list[str]:
    """Return one distinct key a phase: by hand, else mineral, else Strukturbericht, else the AFLOW label."""
    # A cluster's label is long and its base label is a phase already: LABEL_MP_ID.
    labels = [f"{bare_label(p.label)}@{p.label.partition('@')[2]}".rstrip("@") for p in proposals]
    by_hand = [proposal.key for proposal in proposals]
    taken = set(filter(None, by_hand))
    choices = [
        [_key(word) if word else None for word in words]
        for words in (minerals, designations, labels, [p.label for p in proposals])
    ]
    counts = [Counter(words) for words in choices]
    keys = []
    for index, key in enumerate(by_hand):
        for words, count in zip(choices, counts, strict=True):
            if key:
                break
            word = words[index]
            if word and count[word] == 1 and word not in taken:
                key = word
        if key is None:
            raise ValueError(f"no key is free for {proposals[index].label}")
        taken.add(key)
        keys.append(key)
    return keys


def _key(word: str) -> str:
    return re.sub(r"[^A-Z0-9]+", "_", word.replace("'", "P").upper()).strip("_")
