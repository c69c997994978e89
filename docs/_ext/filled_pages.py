"""Sphinx extension: pages that are filled from data of the package when the documentation is built.

A line `<!-- filled: NAME -->` of a page is replaced by what the function NAME of `FILLINGS` returns. Links to files
that are in the repository but are no pages (folders, scripts) become plain text.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import permutations
from math import gcd
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
CARD = ROOT / "ovito_mace_phase" / "model" / "weights" / "mace_phase_8.json"
TABLE = ROOT / "ovito_mace_phase" / "phases" / "table.json"
MARK = re.compile(r"^<!-- filled: ([a-z_]+) -->$", re.M)
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
LONGEST_LIST = 12


def model_card() -> str:
    """Return the tables of the model card in Markdown."""
    return card_markdown(json.loads(CARD.read_text(encoding="utf-8")))


def card_markdown(card: Mapping[str, Any]) -> str:
    """Return the tables of one card; entries that are absent are left out."""
    parts = [_what_it_is(card), _calibration(card.get("calibration", {})), _scores(card.get("scores", {}))]
    if "training" in card:
        parts.append(_training(card["training"]))
    parts.append(_per_phase(card.get("scores", {}).get("test", {}).get("per_phase", {})))
    return "\n\n".join(part for part in parts if part)


def _what_it_is(card: Mapping[str, Any]) -> str:
    network, head, original = card.get("network", {}), card.get("head", {}), card.get("original", {})
    rows = [
        ("name", card.get("name")),
        ("format", f"{card.get('format')} {card.get('format_version')}"),
        ("phases", f"{len(card.get('phases', []))}, Other included"),
        ("species that the network tells apart", len(card["slots"]) if "slots" in card else None),
        (
            "network",
            f"MACE, {network.get('n_layers')} layers, {network.get('n_channels')} channels, "
            f"l up to {network.get('l_max')}, correlation {network.get('correlation')}, "
            f"cutoff {network.get('r_max')} Å in network units"
            if network
            else None,
        ),
        ("head", ", ".join(f"{key} {_value(value)}" for key, value in head.items())),
        ("noise scale", f"{card['noise_scale']} Å" if "noise_scale" in card else "none: the model cannot denoise"),
        (
            "started from",
            f"{original.get('name')} ({original.get('licence')}), {original.get('citation')}" if original else None,
        ),
        ("file of the start", f"{original.get('file')}, sha256 `{original.get('sha256')}`" if original else None),
        ("sha256 of the numbers", f"`{card['sha256']}`" if "sha256" in card else None),
        ("licence", card.get("licence")),
        *(("cite", citation) for citation in card.get("citation", [])),
    ]
    return "## What it is\n\n" + _table(("entry", "value"), rows)


def _calibration(calibration: Mapping[str, Any]) -> str:
    if not calibration:
        return ""
    floors = calibration.get("floors", {})
    rows = [
        ("temperature of the softmax", _value(calibration.get("temperature"))),
        ("least log-density; atoms below are Other", _value(calibration.get("log_density"))),
        ("share of crystal atoms below it when it was set", _value(calibration.get("rejected"))),
        ("phases with their own threshold", len(floors)),
    ]
    return "## Calibration\n\n" + _table(("entry", "value"), rows)


def _scores(scores: Mapping[str, Any]) -> str:
    if not scores:
        return ""
    names = list(scores)
    lines: list[tuple[Any, ...]] = []
    for label, key in (("phases", "n_phases"), ("atoms", "n_atoms")):
        lines.append((label, *(scores[name].get(key) for name in names)))
    for label, key in (("right phase", "phase_accuracy"), ("right group", "group_accuracy")):
        lines.append((label, *(_percent(scores[name].get(key)) for name in names)))
    for band in dict.fromkeys(band for name in names for band in scores[name].get("by_noise", {})):
        found = [scores[name].get("by_noise", {}).get(band) for name in names]
        lines.append((f"right phase, noise {band} Å", *(_percent(pair[0]) if pair else "-" for pair in found)))
    lines.append(("calibration error (ECE)", *(_value(scores[name].get("ece")) for name in names)))
    background = [scores[name].get("background", {}).get("other_or_unsure") for name in names]
    lines.append(("background: Other, or unsure", *map(_percent, background)))
    text = (
        "Every phase has the same weight. `validation` and `test`: structures of chemical systems not trained on; "
        "`noise`: phases that have none there, known geometry with fresh noise."
    )
    return f"## Accuracy in the card\n\n{text}\n\n" + _table(("", *names), lines)


def _training(training: Mapping[str, Any]) -> str:
    stages = []
    stage: Mapping[str, Any] | None = training
    while stage:
        stages.append(stage)
        stage = stage.get("start")
    text = "The last stage comes first; each started from the one below it. How it works: [training](training.md)."
    parts = ["## Training record", text]
    for number, stage in enumerate(stages):
        name = stage.get("settings", {}).get("name", "")
        rows = list(_flat({key: value for key, value in stage.items() if key != "start"}))
        parts.append(f"### Stage {len(stages) - number}: {name}\n\n" + _table(("entry", "value"), rows))
    return "\n\n".join(parts)


def _per_phase(phases: Mapping[str, Any]) -> str:
    if not phases:
        return ""
    worst = sorted(phases, key=lambda key: phases[key].get("phase", 0.0))
    rows = [
        (f"`{key}`", _percent(phases[key].get("phase")), _percent(phases[key].get("group")), _confused(phases[key]))
        for key in worst
    ]
    head = "## Test accuracy, phase by phase\n\nThe worst come first. A phase without held-out structures has no row."
    return f"{head}\n\n" + _table(("phase", "right phase", "right group", "most often taken for"), rows)


def _confused(row: Mapping[str, Any]) -> str:
    other = row.get("confused_with")
    return f"`{other}` {_percent(row.get('confused'))}" if other else "-"


def _flat(entry: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in entry.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"`{prefix}{key}`", _value(value)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        if len(value) > LONGEST_LIST:
            return f"{len(value)} entries, {', '.join(map(_value, value[:3]))} ..."
        return ", ".join(map(_value, value))
    return str(value)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    lines = [head, ("---",) * len(head), *(row for row in rows if row[-1] not in (None, ""))]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def phase_table() -> str:
    """Return the phases as an HTML table with a field that filters it."""
    return table_html(json.loads(TABLE.read_text(encoding="utf-8"))["phases"])


COLUMNS = (
    "id",
    "key",
    "name",
    "formula",
    "Strukturbericht",
    "Pearson",
    "space group",
    "mineral",
    "AFLOW label",
    "group",
)
FILTER = """
<script>
(function () {
  var field = document.getElementById("phase-filter"), count = document.getElementById("phase-count");
  var rows = Array.prototype.slice.call(document.querySelectorAll("#phase-table tbody tr"));
  function plain(text) { return text.toLowerCase().replace(/[{}$]/g, ""); }
  var texts = rows.map(function (row) { return plain(row.getAttribute("data-search")); });
  function show() {
    var words = plain(field.value).split(/\\s+/).filter(Boolean), shown = 0;
    rows.forEach(function (row, k) {
      var ok = words.every(function (word) { return texts[k].indexOf(word) >= 0; });
      row.style.display = ok ? "" : "none";
      shown += ok ? 1 : 0;
    });
    count.textContent = shown + " of " + rows.length + " phases";
  }
  field.addEventListener("input", show);
  if (window.location.hash.indexOf("#find=") === 0) {
    field.value = decodeURIComponent(window.location.hash.slice(6));
  }
  show();
})();
</script>
"""


def table_html(phases: Iterable[Mapping[str, Any]]) -> str:
    """Return one table row per phase; `data-search` holds the text that is searched."""
    rows = "\n".join(_row(phase) for phase in phases)
    head = "".join(f"<th>{column}</th>" for column in COLUMNS)
    return (
        "```{raw} html\n"
        '<p><label for="phase-filter">Find </label>'
        '<input id="phase-filter" type="search" size="40" placeholder="laves, AB2, 227, C15, perovskite ..."> '
        '<span id="phase-count"></span></p>\n'
        '<div style="overflow-x: auto"><table id="phase-table" class="docutils">\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>\n{FILTER}```"
    )


def _row(phase: Mapping[str, Any]) -> str:
    group = phase["space_group"]
    cells = (
        phase["id"],
        phase["key"],
        phase["name"],
        formula(phase),
        phase["strukturbericht"],
        phase["pearson"],
        group and f"{group_symbol(group)} ({group})",
        phase["mineral"],
        phase["aflow"],
        phase["group"] if phase["group"] != phase["key"] else None,
    )
    sought = " ".join(str(cell) for cell in (*cells, *formulas(phase), *phase["merged"]) if cell is not None)
    swatch = "#" + "".join(f"{round(255 * part):02x}" for part in phase["color"])
    texts = ["" if cell is None else html.escape(str(cell)) for cell in cells]
    texts[1] = f'<span style="color: {swatch}">&#9632;</span> <code>{texts[1]}</code>'
    columns = "".join(f"<td>{text}</td>" for text in texts)
    return f'<tr data-search="{html.escape(sought, quote=True)}">{columns}</tr>'


def formula(phase: Mapping[str, Any]) -> str | None:
    """Return the composition of the reference cell in the letters of its species, such as AB2."""
    if phase["reference"] is None:
        return None
    return _write_formula(_composition(phase))


def formulas(phase: Mapping[str, Any]) -> list[str]:
    """Return the composition with the letters in every order, so that A2B finds what is listed as AB2."""
    if phase["reference"] is None:
        return []
    return sorted({_write_formula(counts) for counts in permutations(_composition(phase))})


def _composition(phase: Mapping[str, Any]) -> tuple[int, ...]:
    species = phase["reference"]["species"]
    counts = [species.count(code) for code in sorted(set(species))]
    divisor = gcd(*counts)
    return tuple(count // divisor for count in counts)


def _write_formula(counts: Iterable[int]) -> str:
    return "".join(chr(ord("A") + k) + (str(count) if count > 1 else "") for k, count in enumerate(counts))


def group_symbol(number: int) -> str:
    """Return the short Hermann-Mauguin symbol of a space group, as ase lists it."""
    from ase.spacegroup import Spacegroup

    return Spacegroup(number).symbol.replace(" ", "")


def modifier_parameters() -> str:
    """Return the parameters of the modifier from its traits and the text below each."""
    from sphinx.pycode import ModuleAnalyzer

    from ovito_mace_phase import MacePhaseModifier
    from ovito_mace_phase.plugin.modifier import parameter_names

    analyzer = ModuleAnalyzer.for_module("ovito_mace_phase.plugin.modifier")
    texts = analyzer.find_attr_docs()
    modifier = MacePhaseModifier()
    traits = modifier.traits()
    rows = [
        (
            f"`{name}`",
            traits[name].label,
            f"`{getattr(modifier, name)!r}`",
            " ".join(texts["MacePhaseModifier", name]).strip(),
        )
        for name in parameter_names()
    ]
    return _table(("name", "label in the panel", "default", "meaning"), rows)


def readme() -> str:
    """Return the README without its title; its links start at the folder of the pages."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n")[2]
    text = re.sub(r"\]\((?=(?:sample_dumps|examples)/)", "](../", text.replace("](docs/", "]("))
    return re.sub(r"\]\((?=[A-Z]+\.md\))", "](../", text)


def other_pages() -> str:
    """Return a table of contents of the pages that the index does not name, new ones too."""
    named = set(re.findall(r"^[a-z_]+$", (DOCS / "index.md").read_text(encoding="utf-8"), re.M)) | {"index"}
    pages = [page.relative_to(DOCS).with_suffix("").as_posix() for page in sorted(DOCS.rglob("*.md"))]
    listed = "\n".join(page for page in pages if page not in named)
    return f"```{{toctree}}\n:caption: Further pages\n:maxdepth: 1\n\n{listed}\n```"


FILLINGS: dict[str, Callable[[], str]] = {
    "other_pages": other_pages,
    "readme": readme,
    "model_card": model_card,
    "phase_table": phase_table,
    "modifier_parameters": modifier_parameters,
}


def unlink(text: str, page: Path) -> str:
    """Replace links to what is in the repository but no page by their text; others, broken ones too, stay."""

    def replace(match: re.Match[str]) -> str:
        target = match[2]
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        path = (page.parent / target).resolve()
        is_page = path.suffix == ".md" and path.is_relative_to(DOCS)
        return match[1] if path.exists() and not is_page else match[0]

    return LINK.sub(replace, text)


def fill(app: Any, name: str, source: list[str]) -> None:
    """Fill the page that Sphinx is about to read."""
    text = MARK.sub(lambda match: FILLINGS[match[1]](), source[0])
    if text != source[0]:
        app.env.note_reread()  # the data may change when the page does not
    source[0] = unlink(text, Path(app.env.doc2path(name)))


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", fill)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
