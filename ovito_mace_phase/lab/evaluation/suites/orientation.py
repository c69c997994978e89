"""Suite `orientation`: orientations against the known rotation and PTM's, and labels and strains of strained crystals.

    angle  = min_T angle(Q T, R)          Q of an atom, R the rotation of the crystal, T the rotations of its phase
    strain = max_i |e_i - e_i known|      e_i the sorted logarithms of the principal stretches, mean taken off

Crystals of the phase table with white noise, default settings. Tension: stretched by e along a direction, contracted by
0.3 e across it; shear: simple, by e; directions are drawn at random.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.classification.classify import classify_frame
from ovito_mace_phase.classification.settings import Settings
from ovito_mace_phase.lab.crystals import repeated
from ovito_mace_phase.lab.evaluation.report import Report, SuiteSettings, Table
from ovito_mace_phase.lab.ovito_methods import ovito_orientation
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.phases import Phase, phase_table
from ovito_mace_phase.phases.templates import template

Float = npt.NDArray[np.float64]
OF_PTM = ("FCC", "HCP", "BCC", "CUBIC_DIAMOND", "HEX_DIAMOND")
OTHERS = ("RUTILE", "PEROVSKITE", "LAVES_C14", "LAVES_C15", "SIGMA", "A15", "WURTZITE", "SPINEL", "ICE_IH")
STRAINED = ("FCC", "BCC", "HCP", "ROCKSALT", "CSCL", "CUBIC_DIAMOND")
NOISE = (0.0, 0.03, 0.045)
"""Rms displacement per component over the shortest distance; 0.045: some 0.6 of melting."""
STRAINS = (0.05, 0.10, 0.15)
_WIDTH = 18.0
_DIRECTIONS = 6


def run(model: PhaseModel, settings: SuiteSettings) -> Report:
    """Turn and strain crystals, and hold what comes out against what went in."""
    rng = np.random.default_rng(settings.seed)
    few, noise = (2 if settings.quick else None), (NOISE[:2] if settings.quick else NOISE)
    turned = [_turned(key, sigma, model, rng) for key in (*OF_PTM[:few], *OTHERS[:few]) for sigma in noise]
    strained = [
        _strained(key, kind, size, sigma, model, rng, 1 if settings.quick else _DIRECTIONS)
        for key in STRAINED[:few]
        for kind in ("tension", "shear")
        for size in STRAINS[: 1 if settings.quick else None]
        for sigma in (0.0, 0.045)
    ]
    return Report(
        title="Orientations and strains",
        about=f"Crystals with white noise (rms per component over the shortest distance), turned at random. Angles in "
        f"degrees, up to the rotations of the crystal: median over the atoms with an orientation. Strained crystals: "
        f"{_DIRECTIONS} random directions each, worst and mean share of the atoms that keep the phase; error of the "
        "strain that comes out: median over the atoms.",
        numbers={"turned": turned, "strained": strained},
        tables=[
            Table(
                title="Orientations",
                header=("phase", "noise", "atoms with one", "from the rotation", "95 %", "PTM from it", "from PTM's"),
                rows=[
                    (
                        *(row["phase"], f"{row['noise']:g}", row["share"]),
                        *(_degrees(row[name]) for name in ("angle", "angle_95", "ptm", "from_ptm")),
                    )
                    for row in turned
                ],
            ),
            Table(
                title="Strained crystals",
                header=("phase", "strain", "noise", "keep it, mean", "worst direction", "error of the strain"),
                rows=[
                    (
                        *(row["phase"], f"{row['kind']} {row['size']:.0%}", f"{row['noise']:g}"),
                        *(row["kept"], row["worst"], "-" if row["error"] is None else f"{row['error']:.4f}"),
                    )
                    for row in strained
                ],
            ),
        ],
    )


def _degrees(angle: float | None) -> str:
    return "-" if angle is None else f"{angle:.3f}" if angle < 0.1 else f"{angle:.2f}"


def crystal(phase: Phase, sigma: float, change: Float, rng: np.random.Generator) -> Frame:
    """Return a periodic crystal with its cell changed by a (3, 3) matrix, and noise."""
    cell = phase.reference
    if cell is None:
        raise ValueError(f"{phase.key} has no reference cell")
    frame = repeated(cell.cell, cell.fractional, cell.species, _WIDTH)
    nearest = float(np.linalg.norm(neighbour_list(frame.positions, frame.cell, frame.pbc, 4.5).vectors, axis=1).min())
    moved = frame.positions @ change.T + rng.normal(0.0, sigma * nearest, frame.positions.shape)
    return dataclasses.replace(frame, positions=moved, cell=frame.cell @ change.T)


def angles(quaternions: Float, rotation: Rotation, phase: Phase) -> Float:
    """Return the angles, degrees, between orientations (n, 4) and a rotation, up to the rotations of the phase."""
    found = template(phase)
    if found is None:
        raise ValueError(f"{phase.key} has no template")
    both = rotation.inv() * Rotation.from_quat(quaternions)
    return np.min([np.degrees((both * Rotation.from_matrix(t)).magnitude()) for t in found.rotations], axis=0)


def _turned(key: str, sigma: float, model: PhaseModel, rng: np.random.Generator) -> dict:
    phase = phase_table().by_key(key)
    rotation = Rotation.random(rng=rng)
    frame = crystal(phase, sigma, rotation.as_matrix(), rng)
    result = classify_frame(frame, model, Settings())
    good = (result.phase == phase.id) & np.isfinite(result.orientation).all(axis=1)
    row = {"phase": key, "noise": sigma, "n_atoms": len(frame), "share": float(good.mean())}
    row |= dict.fromkeys(("angle", "angle_95", "ptm", "from_ptm"))
    if good.any():
        mine = angles(result.orientation[good], rotation, phase)
        row |= {"angle": float(np.median(mine)), "angle_95": float(np.quantile(mine, 0.95))}
    if key in OF_PTM:
        other = ovito_orientation(frame, key)
        both = good & np.isfinite(other).all(axis=1)
        row["ptm"] = float(np.median(angles(other[both], rotation, phase)))
        row["from_ptm"] = float(np.median(_between(result.orientation[both], other[both], phase)))
    return row


def _between(one: Float, other: Float, phase: Phase) -> Float:
    found = template(phase)
    if found is None:
        raise ValueError(f"{phase.key} has no template")
    both = Rotation.from_quat(one).inv() * Rotation.from_quat(other)
    return np.min([np.degrees((Rotation.from_matrix(t) * both).magnitude()) for t in found.rotations], axis=0)


def deformation(kind: str, size: float, rng: np.random.Generator) -> Float:
    """Return F of a tension or a simple shear in a random direction."""
    along, across = Rotation.random(rng=rng).as_matrix()[:2]
    if kind == "tension":
        return (1.0 - 0.3 * size) * np.eye(3) + 1.3 * size * np.outer(along, along)
    return np.eye(3) + size * np.outer(along, across)


def _strained(
    key: str, kind: str, size: float, sigma: float, model: PhaseModel, rng: np.random.Generator, n_directions: int
) -> dict:
    phase = phase_table().by_key(key)
    kept, errors = [], []
    for _ in range(n_directions):
        change = deformation(kind, size, rng)
        frame = crystal(phase, sigma, Rotation.random(rng=rng).as_matrix() @ change, rng)
        result = classify_frame(frame, model, Settings())
        good = result.phase == phase.id
        kept.append(float(good.mean()))
        if good.any():
            errors.append(np.abs(_stretches(result.deformation_gradient[good]) - _stretches(change[None])).max(axis=1))
    error = float(np.median(np.concatenate(errors))) if errors else None
    row = {"phase": key, "kind": kind, "size": size, "noise": sigma, "error": error}
    return row | {"kept": float(np.mean(kept)), "worst": float(min(kept))}


def _stretches(gradient: Float) -> Float:
    logs = np.log(np.linalg.svd(gradient, compute_uv=False))
    return logs - logs.mean(axis=1, keepdims=True)
