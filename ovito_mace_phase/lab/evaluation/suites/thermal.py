"""Suite `thermal`: crystals of molecular dynamics from 0.3 to 1.0 of the melting temperature.

share right of a snapshot = atoms with the right label / atoms;   mean +- standard deviation over snapshots
ECE = sum over bins of confidence of |share right - mean confidence|, weighted by the atoms in the bin
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ovito_mace_phase.lab.calibration.accuracy import expected_calibration_error
from ovito_mace_phase.lab.data.npz import Snapshot, snapshots_of
from ovito_mace_phase.lab.evaluation.labels import DEFAULT, Answer, commonest_other, predict_all_priors, share
from ovito_mace_phase.lab.evaluation.ovito_methods import METHODS, ovito_answer, subset, target
from ovito_mace_phase.lab.evaluation.report import Report, SuiteSettings, Table, mean_and_std
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.runtime.errors import InputError


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """One snapshot: share right by method (None: the method has no such lattice), and the answer it is read from."""

    material: str
    phase: str
    heat: float
    shares: dict[str, float | None]
    answer: Answer  # default prior, atoms that count


def run(model: PhaseModel, settings: SuiteSettings) -> Report:
    """Label every hot crystal of the folders by all methods."""
    from tqdm import tqdm

    found = snapshots_of(settings.frames, "crystal")
    known = {phase.key for phase in model.phases}
    for snapshot in found:
        if snapshot.key not in known:
            raise InputError(f"{snapshot.name} has the phase {snapshot.key!r}, which the model does not know")
    measured = [_measure(snapshot, model, settings) for snapshot in tqdm(found, desc="thermal", leave=False)]
    groups = defaultdict(list)
    for one in measured:
        groups[one.material, one.phase, one.heat].append(one)
    methods = list(measured[0].shares)
    rows = [_row(key, groups[key], methods) for key in sorted(groups, key=lambda key: (key[1], key[0], key[2]))]
    confidence, right = _all_atoms(measured)
    calibration = {"all": expected_calibration_error(confidence, right)}
    for heat in sorted({one.heat for one in measured}):
        part = _all_atoms([one for one in measured if one.heat == heat])
        calibration[f"{heat:.2f}"] = expected_calibration_error(*part)
    return Report(
        title="Hot crystals",
        about="Atoms labelled right, per cent, mean ± spread over snapshots. `local`, `uniform`, `frame`: this model "
        "with each prior. The methods of OVITO find the lattice without regard to species, the easier question; "
        "ices by their oxygens. A dash: the method has no such lattice.",
        numbers={"rows": rows, "ece": calibration, "n_atoms": len(right)},
        tables=[
            Table(
                title="Material and temperature",
                header=("material", "phase", "T/Tm", *methods, "commonest other label (local)"),
                rows=[
                    (row["material"], row["phase"], f"{row['T_over_Tm']:.1f}", *row["right"].values(), row["other"])
                    for row in rows
                ],
            ),
            Table(
                title="Mean over materials",
                note="Over the materials that the method has a lattice for; compare columns within a row with care.",
                header=("T/Tm", *methods),
                rows=[_mean_row(heat, rows, methods) for heat in sorted({row["T_over_Tm"] for row in rows})],
            ),
            Table(
                title="Calibration error (ECE), local prior",
                header=tuple(calibration),
                rows=[tuple(f"{value:.4f}" for value in calibration.values())],
            ),
        ],
        draw=partial(_draw, confidence, right),
    )


def _measure(snapshot: Snapshot, model: PhaseModel, settings: SuiteSettings) -> _Measured:
    counted = snapshot.counted
    ours = predict_all_priors(snapshot.frame, model, denoise_steps=settings.denoise_steps)
    shares: dict[str, float | None] = {name: share(answer.keys, snapshot.key, counted) for name, answer in ours.items()}
    frame = subset(snapshot.frame, counted)
    for method in METHODS:
        wanted = target(method, snapshot.key)
        shares[method] = None if wanted is None else share(ovito_answer(frame, method), wanted)
    answer = ours[DEFAULT]
    return _Measured(
        material=snapshot.name.split("_")[1] if "_" in snapshot.name else snapshot.name,
        phase=snapshot.key,
        heat=round(float(snapshot.arrays["T_over_Tm"]), 3),
        shares=shares,
        answer=Answer(keys=answer.keys[counted], confidence=answer.confidence[counted]),
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
    return (f"{heat:.1f}", *(float(np.mean(values)) if values else None for values in means))


def _all_atoms(measured: list[_Measured]) -> tuple[np.ndarray, np.ndarray]:
    confidence = np.concatenate([one.answer.confidence for one in measured])
    return confidence, np.concatenate([one.answer.keys == one.phase for one in measured])


def _draw(confidence: np.ndarray, right: np.ndarray, path: Path) -> None:
    from ovito_mace_phase.lab.evaluation.figures import draw_reliability

    draw_reliability(path, confidence, right, f"{len(right)} atoms of hot crystals, local prior")
