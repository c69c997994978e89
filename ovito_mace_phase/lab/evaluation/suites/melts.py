"""Suite `melts`: melts and glasses, none of whose atoms is of a crystal.

    called a crystal = atoms with a label other than Other and a confidence above 0.5 / atoms

Whether a material was trained on is the split of training (`lab.data.structures.part_of`) with the seed of the model.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from ovito_mace_phase.lab.data.npz import Snapshot, snapshots_of
from ovito_mace_phase.lab.data.structures import part_of, split_seed
from ovito_mace_phase.lab.evaluation.labels import DEFAULT, Answer, columns, commonest_other, predict, share
from ovito_mace_phase.lab.evaluation.mistakes import Tally
from ovito_mace_phase.lab.evaluation.report import Report, SuiteSettings, Table, mean_and_std
from ovito_mace_phase.lab.ovito_methods import ovito_answer
from ovito_mace_phase.model.phase_model import PhaseModel

SURE = 0.5
_METHODS = ("PTM 0.1", "CNA")


def run(model: PhaseModel, settings: SuiteSettings) -> Report:
    """Label every melt and glass of the folders."""
    from tqdm import tqdm

    seed = split_seed(model.card)
    groups, tally = defaultdict(list), Tally()
    for snapshot in tqdm(snapshots_of(settings.frames, "melt"), desc="melts", leave=False):
        groups[_name(snapshot)].append(_measure(snapshot, model, settings, tally))
    rows = [
        {
            "system": f"{kind} {system}",
            "state": state,
            "part": "trained on" if part_of(f"melt {system}", seed) == "train" else "held out",
            "n_snapshots": len(group),
            "crystal": {name: mean_and_std([one["crystal"][name] for one in group]) for name in group[0]["crystal"]},
            "other": {name: mean_and_std([one["other"][name] for one in group]) for name in group[0]["other"]},
            "commonest": max((one["commonest"] for one in group), key=lambda text: text[1])[0],
        }
        for (kind, system, state), group in sorted(groups.items())
    ]
    names = columns(settings.denoise_steps)
    return Report(
        title="Melts and glasses",
        about=f"Atoms called a crystal with a confidence above {SURE} (the fewer the better), and atoms that are "
        "Other, per cent, mean ± spread over snapshots. `default`: this model; `local`, `uniform`, `frame`: its "
        "network alone with each prior; PTM and CNA: "
        "atoms that are Other.",
        numbers={"rows": rows, "training_seed": seed, "mistakes": tally.numbers()},
        tables=[
            Table(
                title="Means",
                header=("", "part", "systems", *(f"crystal, {name}" for name in names), f"Other, {DEFAULT}"),
                rows=_means(rows, names),
            ),
            tally.table(),
            Table(
                title="Systems",
                header=(
                    *("system", "state", "part", *(f"crystal, {name}" for name in names), f"Other, {DEFAULT}"),
                    *(f"Other, {method}" for method in _METHODS),
                    "commonest crystal",
                ),
                rows=[
                    (
                        *(row["system"], row["state"], row["part"], *(row["crystal"][name] for name in names)),
                        *(row["other"][name] for name in (DEFAULT, *_METHODS)),
                        row["commonest"],
                    )
                    for row in rows
                ],
            ),
        ],
    )


def _name(snapshot: Snapshot) -> tuple[str, str, str]:
    """Kind, system and state of `liquid_Cu_1.10Tm_0`."""
    parts = [*snapshot.name.split("_"), "", ""]
    return parts[0], parts[1], parts[2]


def _measure(snapshot: Snapshot, model: PhaseModel, settings: SuiteSettings, tally: Tally) -> dict:
    ours = predict(snapshot.frame, model, denoise_steps=settings.denoise_steps)
    tally.add(_name(snapshot)[0], ours, "OTHER")
    keys = ours[DEFAULT].keys
    other = {method: share(ovito_answer(snapshot.frame, method), "OTHER") for method in _METHODS}
    return {
        "crystal": {name: _crystal(answer) for name, answer in ours.items()},
        "other": {name: share(answer.keys, "OTHER") for name, answer in ours.items()} | other,
        "commonest": (commonest_other(keys, "OTHER"), 1.0 - share(keys, "OTHER")),
    }


def _crystal(answer: Answer) -> float:
    return float(np.mean((answer.keys != "OTHER") & (answer.confidence > SURE)))


def _means(rows: list[dict], names: list[str]) -> list[tuple]:
    out = []
    for kind in dict.fromkeys(row["system"].split()[0] for row in rows):
        for part in ("trained on", "held out"):
            mine = [row for row in rows if row["system"].split()[0] == kind and row["part"] == part]
            if mine:
                crystal = [float(np.mean([row["crystal"][name]["mean"] for row in mine])) for name in names]
                other = float(np.mean([row["other"][DEFAULT]["mean"] for row in mine]))
                out.append((kind, part, len({row["system"] for row in mine}), *crystal, other))
    return out
