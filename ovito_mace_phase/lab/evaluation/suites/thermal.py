"""Suite `thermal`: crystals of molecular dynamics from 0.3 to 1.0 of the melting temperature.

share right of a snapshot = atoms with the right label / atoms;   mean +- standard deviation over snapshots
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ovito_mace_phase.lab.data.npz import Snapshot, snapshots_of
from ovito_mace_phase.lab.evaluation.labels import DEFAULT, Answer, commonest_other, predict, share
from ovito_mace_phase.lab.evaluation.mistakes import Tally
from ovito_mace_phase.lab.evaluation.report import Report, SuiteSettings, Table, mean_and_std
from ovito_mace_phase.lab.ovito_methods import METHODS, ovito_answer, subset, target
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.runtime.errors import InputError


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """One snapshot: share right by method (None: the method has no such lattice), and the answer it is read from."""

    material: str
    phase: str
    heat: float
    shares: dict[str, float | None]
    answer: Answer  # default, atoms that count


def run(model: PhaseModel, settings: SuiteSettings) -> Report:
    """Label every hot crystal of the folders by all methods."""
    from tqdm import tqdm

    found = snapshots_of(settings.frames, "crystal")
    known = {phase.key for phase in model.phases}
    for snapshot in found:
        if snapshot.key not in known:
            raise InputError(f"{snapshot.name} has the phase {snapshot.key!r}, which the model does not know")
    tally = Tally()
    measured = [_measure(snapshot, model, settings, tally) for snapshot in tqdm(found, desc="thermal", leave=False)]
    groups = defaultdict(list)
    for one in measured:
        groups[one.material, one.phase, one.heat].append(one)
    methods = list(measured[0].shares)
    rows = [_row(key, groups[key], methods) for key in sorted(groups, key=lambda key: (key[1], key[0], key[2]))]
    confidence, right = tally.pooled(DEFAULT)
    return Report(
        title="Hot crystals",
        about="Atoms labelled right, per cent, mean ± spread over snapshots. `default`: this model; `local`, "
        "`uniform`, `frame`: its network alone with each prior. The methods of OVITO find the lattice "
        "without regard to species, the easier question; ices by their oxygens. A dash: it has no such lattice.",
        numbers={"rows": rows, "mistakes": tally.numbers(), "n_atoms": len(right)},
        tables=[
            Table(
                title="Material and temperature",
                header=("material", "phase", "T/Tm", *methods, "commonest other label (default)"),
                rows=[
                    (row["material"], row["phase"], f"{row['T_over_Tm']:.2f}", *row["right"].values(), row["other"])
                    for row in rows
                ],
            ),
            Table(
                title="Mean over materials",
                note="Over the materials that the method has a lattice for; compare columns within a row with care.",
                header=("T/Tm", *methods),
                rows=[_mean_row(heat, rows, methods) for heat in sorted({row["T_over_Tm"] for row in rows})],
            ),
            tally.table(),
        ],
        draw=partial(_draw, confidence, right),
    )


def _measure(snapshot: Snapshot, model: PhaseModel, settings: SuiteSettings, tally: Tally) -> _Measured:
    counted = snapshot.counted
    ours = predict(snapshot.frame, model, denoise_steps=settings.denoise_steps)
    shares: dict[str, float | None] = {name: share(answer.keys, snapshot.key, counted) for name, answer in ours.items()}
    frame = subset(snapshot.frame, counted)
    for method in METHODS:
        wanted = target(method, snapshot.key)
        shares[method] = None if wanted is None else share(ovito_answer(frame, method), wanted)
    heat = round(float(snapshot.arrays["T_over_Tm"]), 3)
    tally.add(f"{heat:.2f} Tm", ours, snapshot.key, counted)
    return _Measured(
        material=snapshot.name.split("_")[1] if "_" in snapshot.name else snapshot.name,
        phase=snapshot.key,
        heat=heat,
        shares=shares,
        answer=ours[DEFAULT].of(counted),
    )


def _row(key: tuple[str, str, float], group: list[_Measured], methods: list[str]) -> dict:
    material, phase, heat = key
    right = {}
    for method in methods:
        values = [value for one in group if (value := one.shares[method]) is not None]
        right[method] = mean_and_std(values) if values else None
    return {
        "material": material,
        "phase": phase,
        "T_over_Tm": heat,
        "n_snapshots": len(group),
        "right": right,
        "other": commonest_other(np.concatenate([one.answer.keys for one in group]), phase),
    }


def _mean_row(heat: float, rows: list[dict], methods: list[str]) -> tuple:
    mine = [row["right"] for row in rows if row["T_over_Tm"] == heat]
    means = [[right[method]["mean"] for right in mine if right[method]] for method in methods]
    return (f"{heat:.2f}", *(float(np.mean(values)) if values else None for values in means))


def _draw(confidence: np.ndarray, right: np.ndarray, path: Path) -> None:
    from ovito_mace_phase.lab.evaluation.figures import draw_reliability

    draw_reliability(path, confidence, right, f"{len(right)} atoms of hot crystals, default labels")
