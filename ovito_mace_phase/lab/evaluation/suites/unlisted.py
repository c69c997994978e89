"""Suite `unlisted`: crystals of prototypes that are not in the table; they should be Other, or at least doubted.

doubted = share of the atoms that are Other or have a confidence below 0.5
sure    = share with a phase, whichever, and a confidence of at least 0.9

Prototypes of the test part of the split: none of their structures was shown in training, neither as a phase nor as a
crystal of no phase. Beside them, with the same noise, crystals of the table from held-out chemical systems: how many of
those are doubted without need.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from ovito_mace_phase.lab.data.structures import (
    CrystalStructure,
    load_labelled,
    load_unlisted,
    reference_structures,
    split,
    split_seed,
)
from ovito_mace_phase.lab.evaluation.labels import DEFAULT, NETWORK, Answer, commonest_other, predict, share
from ovito_mace_phase.lab.evaluation.mistakes import SURE
from ovito_mace_phase.lab.evaluation.report import Report, SuiteSettings, Table
from ovito_mace_phase.lab.samples.sampler import SampleSettings, draw
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.runtime.errors import InputError

SIGMA = 0.05
_MOST = 160  # prototypes
_DOUBT = 0.5
_SHOWN = (DEFAULT, NETWORK)
_WHAT = ("other", "doubted", "sure")
_N_SLOTS = 6  # the sample is built for any: labels do not depend on how many there are


def run(model: PhaseModel, settings: SuiteSettings) -> Report:
    """Label one structure of each prototype that is not in the table, and of as many that are."""
    from tqdm import tqdm

    if settings.data is None:
        raise InputError("the suite unlisted needs the labelled structures: pass --data with the npz file")
    rng = np.random.default_rng(settings.seed)
    seed = split_seed(model.card)
    kinds = load_unlisted(settings.data, model.phases, seed)["test"]
    labelled = load_labelled(settings.data, model.phases)
    parts = split(labelled, reference_structures(model.phases, labelled), len(model.phases), seed)
    known: dict[int, list[CrystalStructure]] = {}
    for structure in parts["test"]:
        known.setdefault(structure.phase, []).append(structure)
    if not kinds or not known:
        raise InputError(f"{settings.data} holds no crystals of other prototypes, or no held-out ones of the table")
    most = 3 if settings.quick else _MOST
    foreign = [_pick(kinds[int(k)], rng) for k in rng.permutation(len(kinds))[:most]]
    listed = [_pick(known[int(k)], rng) for k in rng.permutation(sorted(known))[:most]]
    rows = [_row(one, model, rng) for one in tqdm(foreign, desc="unlisted", leave=False)]
    beside = [_row(one, model, rng) for one in tqdm(listed, desc="listed", leave=False)]
    return Report(
        title="Crystals that are not in the table",
        about=f"Per cent of the atoms, mean over prototypes; white noise {SIGMA} A. Doubted: "
        f"Other or confidence below 0.5. Sure: confidence of at least {SURE} in a phase.",
        numbers={"unlisted": rows, "listed": beside, "sigma": SIGMA},
        tables=[
            _summary({"not in the table": rows, "in the table, held out": beside}),
            *(_labels(rows, name) for name in _SHOWN),
        ],
    )


def _pick(group: list[CrystalStructure], rng: np.random.Generator) -> CrystalStructure:
    return group[int(rng.integers(len(group)))]


def _row(structure: CrystalStructure, model: PhaseModel, rng: np.random.Generator) -> dict:
    sample_settings = SampleSettings.held_out(SIGMA, SIGMA)
    frame = draw(structure, sample_settings, _N_SLOTS, rng).frame
    ours = predict(frame, model)
    return {
        "source": structure.source,
        "n_species": int(structure.species.max()) + 1,
        "n_atoms": len(frame),
        "labels": {name: _numbers(ours[name]) for name in _SHOWN},
    }


def _numbers(answer: Answer) -> dict:
    crystal = answer.keys != "OTHER"
    return {
        "other": share(answer.keys, "OTHER"),
        "doubted": float((~crystal | (answer.confidence < _DOUBT)).mean()),
        "sure": float((crystal & (answer.confidence >= SURE)).mean()),
        "label": commonest_other(answer.keys, "OTHER").split(" ")[0] or "OTHER",
    }


def _summary(parts: dict[str, list[dict]]) -> Table:
    lines = [
        (part, name, len(rows), *(float(np.mean([row["labels"][name][what] for row in rows])) for what in _WHAT))
        for part, rows in parts.items()
        for name in _SHOWN
    ]
    return Table(
        title="Share of the atoms",
        note=f"`{NETWORK}`: the network alone.",
        header=("crystals", "labels", "prototypes", "Other", *_WHAT[1:]),
        rows=lines,
    )


def _labels(rows: list[dict], name: str) -> Table:
    taken = Counter(row["labels"][name]["label"] for row in rows if row["labels"][name]["sure"] > 0.5)
    lines = [(key, count) for key, count in taken.most_common(15)]
    return Table(
        title=f"What they are taken for, {name}", header=("phase", "prototypes"), rows=lines, note="Sure of most atoms."
    )
