"""Background: melts and glasses from molecular dynamics, random packings, crystals whose order was destroyed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ovito_mace_phase.atoms.cell_grid import make_grid
from ovito_mace_phase.atoms.frame import FloatArray, Frame, make_frame
from ovito_mace_phase.atoms.length_scale import TARGET_VOLUME, length_factor, local_spacing
from ovito_mace_phase.lab.data.structures import CrystalStructure

from .kernels import push
from .sampler import supercell

_TURNS = 40
_SKIN = 0.8  # A, pairs beyond the least distance that are kept in mind


def rattled_melt(frames: Sequence[Frame], rng: np.random.Generator) -> tuple[Frame, FloatArray]:
    """Return one of the snapshots, strained and rattled a little, so that no environment is seen twice.

    Also the displacements (n_atoms, 3) that were added.
    """
    frame = frames[int(rng.integers(len(frames)))]
    unit = length_factor(local_spacing(frame))
    strain = rng.uniform(-0.04, 0.04, (3, 3))
    cell = frame.cell @ (np.eye(3) + 0.5 * (strain + strain.T))
    positions = frame.positions @ (np.eye(3) + 0.5 * (strain + strain.T))
    displacement = rng.normal(0.0, rng.uniform(0.0, 0.2) / unit, positions.shape)
    return dataclasses.replace(frame, positions=positions + displacement, cell=cell), displacement


def random_packing(rng: np.random.Generator, n_species: int) -> Frame:
    """Return random points pushed apart to a random least distance: a liquid-like packing at unit density."""
    n_atoms = int(rng.integers(40, 90))
    cell = np.eye(3) * (TARGET_VOLUME * n_atoms) ** (1.0 / 3.0)
    positions = push_apart(rng.uniform(0.0, cell[0, 0], (n_atoms, 3)), cell, rng.uniform(1.2, 2.5))
    return make_frame(positions, rng.integers(0, n_species, n_atoms), cell, True)


def amorphised(structure: CrystalStructure, rng: np.random.Generator) -> Frame:
    """Displace atoms far beyond melting, then push them apart: the composition of a compound without its order."""
    cell, fractional, species = supercell(structure)
    positions = fractional @ cell + rng.normal(0.0, rng.uniform(0.5, 1.0), fractional.shape)
    return make_frame(push_apart(positions, cell, rng.uniform(1.4, 2.2)), species, cell, True)


def push_apart(positions: FloatArray, cell: FloatArray, least: float) -> FloatArray:
    """Move pairs nearer than `least` apart, forty times at most; periodic.

    Pairs are searched with a margin, and again when an atom has moved by half of it (Verlet, Phys. Rev. 159 (1967) 98).
    """
    positions = positions.copy()
    left, done = _TURNS, False
    while left and not done:
        grid = make_grid(positions, cell, np.ones(3, dtype=bool), least + _SKIN)
        moved = np.zeros_like(positions)
        turns, done = push(*grid.pairs(0, len(positions)), least, left, 0.5 * _SKIN, moved)
        positions[grid.order] += moved
        left -= turns
    return positions
