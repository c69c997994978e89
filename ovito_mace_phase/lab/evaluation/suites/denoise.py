"""Suite `denoise`: how much of the thermal displacement is left, and what the labels gain.

residual = rms |r_final - site| / rms |r_given - site|,   both with their mean taken off (a rigid shift is no noise)

With `--data` the crystals are those of held-out chemical systems (the split of training), phases drawn evenly; without,
the reference cells of the phase table, whose geometry was trained on. Hot crystals come from the snapshots, if any.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.classification.denoise import DEFAULT_STEPS, denoise
from ovito_mace_phase.lab.data.npz import Snapshot, snapshots_of
from ovito_mace_phase.lab.data.structures import CrystalStructure
from ovito_mace_phase.lab.evaluation.frames.held_out import held_out
from ovito_mace_phase.lab.evaluation.labels import DEFAULT, NETWORK, group_of, predict_and_denoise, share
from ovito_mace_phase.lab.evaluation.mistakes import Tally
from ovito_mace_phase.lab.evaluation.report import Report, SuiteSettings, Table
from ovito_mace_phase.lab.ovito_methods import ovito_answer
from ovito_mace_phase.lab.samples.sampler import SampleSettings, draw
from ovito_mace_phase.model.phase_model import PhaseModel

SIGMAS = (0.05, 0.10)
_PER_SIGMA = 120
_LABELS = ("default, before", "after", "network alone, before", "after")
Float = npt.NDArray[np.float64]


def run(model: PhaseModel, settings: SuiteSettings) -> Report:
    """Shake crystals of as many phases as there is time for, denoise and label them; then the hot snapshots."""
    from tqdm import tqdm

    steps = settings.denoise_steps or DEFAULT_STEPS
    rng = np.random.default_rng(settings.seed)
    structures, origin = held_out(model, settings)
    phases = sorted(structures)
    chosen = rng.permutation(phases)[: 3 if settings.quick else _PER_SIGMA]
    rows, tally = [], Tally()
    for sigma in SIGMAS[-1:] if settings.quick else SIGMAS:
        for column in tqdm(chosen, desc=f"denoise, {sigma:.2f} A", leave=False):
            group = structures[int(column)]
            rows.append(_crystal(model, group[int(rng.integers(len(group)))], sigma, steps, rng, tally))
    hot = []
    if settings.frames:
        for snapshot in tqdm(snapshots_of(settings.frames, "crystal"), desc="denoise, hot", leave=False):
            row = _hot(model, snapshot, steps, tally)
            if row is not None:
                hot.append(row)
    return Report(
        title="Denoising",
        about=f"At most {steps} steps. Residual: rms distance from the sites after over before, mean taken off; "
        f"median and quartiles over phases. Crystals: {origin}; white noise, A per component at 13 A^3 per atom. "
        "Labels: per cent of the atoms right, mean over phases: default, and the network alone. "
        "`converged`: came to rest in time.",
        numbers={"crystals": rows, "hot": hot, "steps": steps, "mistakes": tally.numbers()},
        tables=[_summary(rows), *([_hot_table(hot)] if hot else []), tally.table(), _worst(rows)],
    )


def _crystal(
    model: PhaseModel, structure: CrystalStructure, sigma: float, steps: int, rng: np.random.Generator, tally: Tally
) -> dict:
    sample_settings = SampleSettings.held_out(sigma, sigma)
    sample = draw(structure, sample_settings, model.evaluator.n_slots, rng)
    key = model.phases[structure.phase].key
    ours, done = predict_and_denoise(sample.frame, model, denoise_steps=steps)
    assert done is not None
    tally.add(f"crystals, {sigma:.2f} A", ours, key)
    return {
        "phase": key,
        "source": structure.source,
        "sigma": sigma,
        "n_atoms": len(sample.frame),
        "residual": residual(sample.displacement, done.displacement),
        "one_step": residual(sample.displacement, denoise(sample.frame, model, steps=1).displacement),
        "labels": {name: share(answer.keys, key) for name, answer in ours.items()},
        "group": {name: share(answer.keys, group_of(key)) for name, answer in ours.items()},
        "converged": done.converged,
    }


def residual(displacement: Float, move: Float) -> float:
    """Return what is left of displacements (n_atoms, 3) from the sites after a move, mean taken off."""
    before, after = displacement - displacement.mean(axis=0), displacement + move
    after = after - after.mean(axis=0)
    return float(np.sqrt((after**2).sum() / (before**2).sum()))


def _hot(model: PhaseModel, snapshot: Snapshot, steps: int, tally: Tally) -> dict | None:
    """Measure a snapshot of molecular dynamics; None where the file does not tell the sites."""
    displacement = snapshot.arrays.get("displacement")
    if displacement is None or snapshot.key not in {phase.key for phase in model.phases}:
        return None
    ours, done = predict_and_denoise(snapshot.frame, model, denoise_steps=steps)
    assert done is not None
    tally.add("hot crystals", ours, snapshot.key, snapshot.counted)
    moved = dataclasses.replace(snapshot.frame, positions=done.frame.positions)
    found: dict[str, float | None] = {}
    for name, frame in (("ptm_before", snapshot.frame), ("ptm_after", moved)):
        answer = ovito_answer(frame, "PTM 0.1")
        found[name] = None if snapshot.key not in ("FCC", "HCP", "BCC") else float(np.mean(answer == snapshot.key))
    return {
        "name": snapshot.name,
        "material": snapshot.name.removeprefix("hot_").split("_")[0],
        "phase": snapshot.key,
        "T_over_Tm": float(snapshot.arrays["T_over_Tm"]),
        "n_atoms": len(snapshot.frame),
        "residual": residual(displacement, done.displacement),
        "labels": {name: share(answer.keys, snapshot.key, snapshot.counted) for name, answer in ours.items()},
        "converged": done.converged,
        **found,
    }


def _summary(rows: list[dict]) -> Table:
    lines = []
    for sigma in sorted({row["sigma"] for row in rows}):
        part = [row for row in rows if row["sigma"] == sigma]
        quartiles = np.quantile([row["residual"] for row in part], [0.25, 0.5, 0.75])
        lines.append(
            (
                *(f"{sigma:.2f}", len(part), f"{np.median([row['one_step'] for row in part]):.2f}"),
                *(f"{quartiles[1]:.2f}", f"{quartiles[0]:.2f} ... {quartiles[2]:.2f}"),
                *_means(part, "labels"),
                *_means(part, "group")[:2],
                float(np.mean([row["converged"] for row in part])),
            )
        )
    header = (
        *("noise", "phases", "residual after one step", "residual", "quartiles"),
        *(*_LABELS, "default by group, before", "after", "converged"),
    )
    return Table(title="All phases", header=header, rows=lines)


def _means(rows: list[dict], what: str) -> list[float]:
    """Return the mean shares right before and after, default labels and then the network alone."""
    return [
        float(np.mean([row[what][prefix + name] for row in rows]))
        for name in (DEFAULT, NETWORK)
        for prefix in ("", "denoised, ")
    ]


def _hot_table(rows: list[dict]) -> Table:
    lines = []
    for key in sorted({(row["phase"], row["material"], row["T_over_Tm"]) for row in rows}):
        part = [row for row in rows if (row["phase"], row["material"], row["T_over_Tm"]) == key]
        ptm = [
            None if part[0][name] is None else float(np.mean([row[name] for row in part]))
            for name in ("ptm_before", "ptm_after")
        ]
        left = float(np.mean([row["residual"] for row in part]))
        lines.append((key[1], key[0], f"{key[2]:.1f}", f"{left:.2f}", *_means(part, "labels"), *ptm))
    return Table(
        title="Hot crystals",
        header=("material", "phase", "T/Tm", "residual", *_LABELS, "PTM 0.1 before", "PTM 0.1 after"),
        rows=lines,
        note="PTM 0.1 is shown for fcc, hcp and bcc: the share it calls by that lattice.",
    )


def _worst(rows: list[dict]) -> Table:
    part = sorted((row for row in rows if row["sigma"] == max(SIGMAS)), key=lambda row: -row["residual"])[:20]
    lines = [
        (row["phase"], row["source"], row["n_atoms"], f"{row['residual']:.2f}", *_means([row], "labels"))
        for row in part
    ]
    return Table(title="Worst of them", header=("phase", "source", "atoms", "residual", *_LABELS), rows=lines)
