"""Suite `field`: what users bring beside perfect crystals, kind by kind, with the right label of every atom.

Frames of the test part of every kind (`lab.samples.kinds`): plans, and with `--data` crystals, that training has not
seen. White noise of 0 to 0.1 A in network units, liquids and gases as they are. An atom is right if its label is that
of the rule of its kind, or of its equivalence group; atoms for which no label is claimed are not counted. Methods of
others (`--method`) see the same frames; what is right for them: `lab.evaluation.methods`.
"""

from __future__ import annotations

import contextlib
from collections import Counter

import numpy as np

from ovito_mace_phase.lab.data.ices import ice_structures
from ovito_mace_phase.lab.data.prototypes import prototypes_beside
from ovito_mace_phase.lab.data.structures import CrystalStructure, split_seed
from ovito_mace_phase.lab.evaluation.frames.held_out import held_out
from ovito_mace_phase.lab.evaluation.labels import DEFAULT, NETWORK, Answer, Keys, Mask, group_of, predict
from ovito_mace_phase.lab.evaluation.methods import Method, method_of
from ovito_mace_phase.lab.evaluation.mistakes import Tally
from ovito_mace_phase.lab.evaluation.report import Report, SuiteSettings, Table
from ovito_mace_phase.lab.samples.kinds.made import UNLABELLED, Made
from ovito_mace_phase.lab.samples.kinds.registry import KINDS, KindSource, shaken
from ovito_mace_phase.lab.samples.kinds.stock import Stock
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.runtime.errors import InputError, MissingPackageError

_FRAMES, _SIZES, _NOISE = 3, (500, 2000), 0.10
_QUICK_SIZES = (40, 90)
_SHOWN = (DEFAULT, NETWORK)
_TRIES = 10


def run(model: PhaseModel, settings: SuiteSettings) -> Report:
    """Label frames of every kind."""
    from tqdm import tqdm

    rng = np.random.default_rng(settings.seed)
    source = _source(model, settings)
    number = 1 if settings.quick else _FRAMES
    methods = [method_of(text) for text in settings.methods]
    others = [method.name for method in methods]
    tally, beside, rows, taken = Tally(), Tally(), [], {name: Counter[str]() for name in source.names}
    for name in tqdm(source.names, desc="field", leave=False):
        for _ in range(number):
            found, answers = _labelled(source, name, model, rng)
            rows.append(_count(name, found, answers, model, tally))
            _compare(name, found, answers[DEFAULT], model, methods, tally, beside)
            taken[name].update(rows[-1].pop("mistaken"))
    about = [(name, KINDS[name].about, _listed(taken[name])) for name in source.names]
    return Report(
        title="What users bring",
        about=f"{number} frames of each kind, {source.stock.atoms[0]} to {source.stock.atoms[1]} atoms where the kind "
        f"has so many; white noise of 0 to {_NOISE} A in network units. Per cent of the atoms that have a right label.",
        numbers={"rows": rows, "mistakes": tally.numbers(), "beside": beside.numbers()},
        tables=[
            *([beside.table("Beside other methods, on the frames whose phases they know", others)] if others else []),
            tally.table("By kind", others),
            Table(title="What wrong atoms become, default", header=("kind", "what it is", "labels"), rows=about),
            Table(
                title="Frame by frame",
                header=("kind", "frame", "atoms", *(f"right, {name}" for name in _SHOWN)),
                rows=[(row["kind"], row["frame"], row["atoms"], *(row["right"][n] for n in _SHOWN)) for row in rows],
                note="Share of the atoms for which a label is claimed.",
            ),
        ],
    )


def _source(model: PhaseModel, settings: SuiteSettings) -> KindSource:
    structures: list[CrystalStructure] = [one for group in held_out(model, settings)[0].values() for one in group]
    if not settings.quick:
        with contextlib.suppress(MissingPackageError):  # reference cells of the ices stand in
            structures += ice_structures(model.phases)["test"]
    stock = Stock(
        model.phases,
        structures,
        "test",
        seed=split_seed(model.card),
        atoms=_QUICK_SIZES if settings.quick else _SIZES,
        prototypes=prototypes_beside(settings.data),
    )
    return KindSource(stock, settings.seed)


def _labelled(
    source: KindSource, name: str, model: PhaseModel, rng: np.random.Generator
) -> tuple[Made, dict[str, Answer]]:
    """Return a frame with noise and its labels; one that noise has put two atoms in one place of is drawn again."""
    for _ in range(_TRIES):
        clean = source.frame(name, rng)
        try:
            found = shaken(clean, float(rng.uniform(0.0, _NOISE)), rng)[0] if clean.still else clean
            return found, predict(found.frame, model)
        except InputError as error:
            last = error
    raise InputError(f"{_TRIES} frames of the kind {name} in a row could not be labelled: {last}")


def _count(name: str, found: Made, answers: dict[str, Answer], model: PhaseModel, tally: Tally) -> dict:
    """Count the atoms of a frame; return the row of the frame, with what wrong atoms became by default."""
    hits = {column: np.zeros(len(found.label), dtype=bool) for column in _SHOWN}
    for key, inside in _phases_of(found, model):
        right = _ours(key)
        tally.add(name, {column: answers[column] for column in _SHOWN}, right, inside)
        for column in _SHOWN:
            hits[column] |= inside & np.isin(answers[column].keys, right)
    known = found.label != UNLABELLED
    keys: Keys = answers[DEFAULT].keys
    return {
        "kind": name,
        "frame": found.name,
        "atoms": len(found.label),
        "right": {column: float(hit[known].mean()) if known.any() else float("nan") for column, hit in hits.items()},
        "mistaken": keys[known & ~hits[DEFAULT]].tolist(),
    }


def _compare(
    name: str, found: Made, ours: Answer, model: PhaseModel, methods: list[Method], tally: Tally, beside: Tally
) -> None:
    """Label a frame by methods of others and count them, with our labels beside, where they know all of its phases."""
    parts = _phases_of(found, model)
    for method in methods:
        rights = {key: method.right(key) for key, _ in parts}
        if any(right is None for right in rights.values()):
            continue
        answer = method.answer(found.frame)
        for key, inside in parts:
            row = f"{method.name}: {'no crystal' if key == 'OTHER' else 'crystals'}"
            tally.add(name, {method.name: answer}, rights[key] or [], inside)
            beside.add(row, {method.name: answer}, rights[key] or [], inside)
            beside.add(row, {DEFAULT: ours}, _ours(key), inside)


def _ours(key: str) -> list[str]:
    return [key] if key == "OTHER" else group_of(key)


def _phases_of(found: Made, model: PhaseModel) -> list[tuple[str, Mask]]:
    """Return (key, its atoms) for the phases of a frame, Other too."""
    columns = np.unique(found.label[found.label != UNLABELLED])
    return [(model.phases[int(column)].key, found.label == column) for column in columns]


def _listed(taken: Counter[str]) -> str:
    total = max(sum(taken.values()), 1)
    return ", ".join(f"{key} {count / total:.0%}" for key, count in taken.most_common(4))
