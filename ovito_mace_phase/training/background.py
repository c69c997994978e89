"""What is no crystal: melts and glasses from molecular dynamics, random packings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ovito_mace_phase.errors import InputError
from ovito_mace_phase.frame import Frame, make_frame
from ovito_mace_phase.lengths import TARGET_VOLUME
from ovito_mace_phase.neighbours import neighbour_list


def load_melts(folder: Path | None) -> dict[str, list[Frame]]:
    """Read snapshots made by `sample_dumps/make_melts.py`: name of the system -> frames.

    Each npz, `liquid_Cu_1.20Tm_0.npz` for example, holds positions (n, 3), cell (3, 3), species (n,) and pbc (3,).
    """
    if folder is None:
        return {}
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise InputError(f"no melt snapshots (*.npz) in {folder}; make them with `python sample_dumps/make_melts.py`")
    melts: dict[str, list[Frame]] = {}
    for path in files:
        with np.load(path, allow_pickle=False) as archive:
            frame = make_frame(archive["positions"], archive["species"], archive["cell"], archive["pbc"])
        melts.setdefault("_".join(path.stem.split("_")[:2]), []).append(frame)
    return melts


def random_packing(rng: np.random.Generator, n_species: int) -> Frame:
    """Random points pushed apart to a random least distance: a liquid-like packing at unit density."""
    n_atoms = int(rng.integers(40, 90))
    cell = np.eye(3) * (TARGET_VOLUME * n_atoms) ** (1.0 / 3.0)
    positions = rng.uniform(0.0, cell[0, 0], (n_atoms, 3))
    least = rng.uniform(1.2, 2.5)
    for _ in range(40):
        edges = neighbour_list(positions, cell, np.ones(3, dtype=bool), least)
        if len(edges.neighbour) == 0:
            break
        distance = np.linalg.norm(edges.vectors, axis=1)
        push = edges.vectors * (0.5 * (distance - least) / np.maximum(distance, 1e-3))[:, None]
        centre = np.repeat(np.arange(n_atoms), np.diff(edges.offsets))
        for axis in range(3):
            positions[:, axis] += np.bincount(centre, weights=push[:, axis], minlength=n_atoms)
    return make_frame(positions, rng.integers(0, n_species, n_atoms), cell, True)
