"""Suite `species`: renumber the types of a frame in every way; no label may change.

changed = atoms whose label differs from that of the frame as it came / atoms,   largest over the permutations, of
          default labels and of those of the network alone
"""

from __future__ import annotations

import dataclasses
from itertools import permutations

import numpy as np

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.classification.result import PhaseResult
from ovito_mace_phase.classification.settings import VERIFY, Settings
from ovito_mace_phase.classification.stages import logits_of, network_frame_of, result_of
from ovito_mace_phase.lab.crystals import repeated
from ovito_mace_phase.lab.data.npz import snapshots_of
from ovito_mace_phase.lab.evaluation.report import Report, SuiteSettings, Table
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.phases import phase_table

NOISE = (0.0, 0.08)
KEYS = (
    *("ROCKSALT", "CSCL", "L1_0", "L1_2", "ZINCBLENDE", "FLUORITE", "PEROVSKITE", "SPINEL", "HALF_HEUSLER"),
    *("HEUSLER_L2_1", "ICE_IH", "RUTILE", "QUATERNARY_HEUSLER"),
)

_MOST = 6  # permutations of a frame
_SNAPSHOTS = 8


def run(model: PhaseModel, settings: SuiteSettings) -> Report:
    """Renumber the species of ideal crystals with noise, and of snapshots with several species if there are any."""
    rng = np.random.default_rng(settings.seed)
    keys = KEYS[: 2 if settings.quick else None]
    frames = {f"{key}, noise {sigma:g}": _crystal(key, sigma, rng) for key in keys for sigma in NOISE}
    hot = snapshots_of(settings.frames, "crystal", need=False)
    for snapshot in [one for one in hot if one.frame.n_species > 1][-_SNAPSHOTS:]:
        frames[snapshot.name] = snapshot.frame
    rows = [_row(name, frame, model, rng) for name, frame in frames.items()]
    worst = max(row["changed"] for row in rows)
    return Report(
        title="Numbering of the species",
        about=f"Labels that change when the types are numbered differently, worst of up to {_MOST} numberings: "
        f"{worst:.2%}; must be none. The changes of confidence and logit are the largest over atoms, phases and "
        "numberings. Ideal crystals without and with white noise (A per component); snapshots of dynamics as they are.",
        numbers={"rows": rows, "worst": worst},
        tables=[
            Table(
                title="Changed labels",
                header=(
                    "frame",
                    "species",
                    "atoms",
                    "numberings",
                    "labels changed",
                    "change of confidence",
                    "change of a logit",
                ),
                rows=[
                    (
                        *(row["frame"], row["n_species"], row["n_atoms"], row["n_permutations"], row["changed"]),
                        f"{row['confidence']:.2g}",
                        f"{row['logit']:.2g}",
                    )
                    for row in rows
                ],
            )
        ],
    )


def renumbered(frame: Frame, order: tuple[int, ...]) -> Frame:
    """Return the frame with species k called `order[k]`, its name with it."""
    names = [""] * len(order)
    for old, new in enumerate(order):
        names[new] = frame.species_names[old]
    return dataclasses.replace(frame, species=np.array(order)[frame.species], species_names=tuple(names))


def _crystal(key: str, sigma: float, rng: np.random.Generator) -> Frame:
    cell = phase_table().by_key(key).reference
    if cell is None:
        raise ValueError(f"{key} has no reference cell")
    frame = repeated(cell.cell, cell.fractional, cell.species, 10.0)
    return dataclasses.replace(frame, positions=frame.positions + rng.normal(0.0, sigma, frame.positions.shape))


def _row(name: str, frame: Frame, model: PhaseModel, rng: np.random.Generator) -> dict:
    orders = [order for order in permutations(range(frame.n_species)) if order != tuple(range(frame.n_species))]
    chosen = sorted(rng.permutation(len(orders))[:_MOST].tolist())
    first = _read(frame, model)
    changed, confidence, logit = 0.0, 0.0, 0.0
    for k in chosen:
        other = _read(renumbered(frame, orders[k]), model)
        for old, new in zip(first, other, strict=True):
            changed = max(changed, float(np.mean(new.phase != old.phase)))
            confidence = max(confidence, float(np.abs(new.confidence - old.confidence).max()))
        logit = max(logit, float(np.abs(other[0].logits - first[0].logits).max()))
    return {
        "frame": name,
        "n_species": frame.n_species,
        "n_atoms": len(frame),
        "n_permutations": len(chosen),
        "changed": changed,
        "confidence": confidence,
        "logit": logit,
    }


def _read(frame: Frame, model: PhaseModel) -> list[PhaseResult]:
    """Return default labels and those of the network alone."""
    settings = Settings(keep_logits=True)
    kept = logits_of(network_frame_of(frame, model, settings), model, settings)
    return [result_of(kept, model, Settings(keep_logits=True, verify=verify)) for verify in VERIFY]
