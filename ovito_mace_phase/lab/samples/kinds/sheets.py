"""Single layers: two-dimensional lattices in vacuum, labelled by their phase where the table has one, else Other.

Layers of which a crystal of the table consists (2H, 1T, black phosphorene) have complete first shells: without a phase
of their own they have no label, since the crystal's name and Other are both right.

    square, hexagonal       one kind of atom
    honeycomb, BN           flat, of one kind and of two (`GRAPHENE` is a phase from the start)
    buckled honeycomb       silicene, germanene: the two sublattices 0.15 to 0.35 bonds apart in height
    2H, 1T                  MX2: M between X above X, or between X staggered (MoS2, 1T')
    black phosphorene       puckered rectangular layer of four atoms

A layer may be bent by a wave, lie in a box of any height, and be shown with open or periodic boundaries along it.
"""

from __future__ import annotations

import numpy as np

from ovito_mace_phase.lab.crystals import Float, repeat, widths

from .made import OTHER, UNLABELLED, Made, made
from .stock import Stock

_HEX = np.array([[1.0, 0.0, 0.0], [-0.5, np.sqrt(3.0) / 2, 0.0], [0.0, 0.0, 1.0]])
_THIRD, _TWO = 1.0 / 3.0, 2.0 / 3.0
KEYS: dict[str, tuple[str, ...]] = {
    "square": ("MONO_SQUARE",),
    "hexagonal": ("MONO_HEXAGONAL",),
    "honeycomb": ("GRAPHENE",),
    "BN": ("MONO_BN",),
    "buckled honeycomb": ("MONO_SILICENE",),
    "2H": ("MONO_MOS2_2H",),
    "1T": ("MONO_MOS2_1T",),
    "black phosphorene": ("MONO_BLACK_P",),
}
"""Phases of each lattice, the first one that the table has is taken."""
_OF_CRYSTALS = ("2H", "1T", "black phosphorene")


def sheet(stock: Stock, rng: np.random.Generator) -> Made:
    """Return one layer between vacuum."""

    def plan(r: np.random.Generator) -> tuple[str, int, int]:
        return str(r.choice(list(KEYS))), int(r.integers(8)), int(r.integers(4))

    name, shape, bend = stock.plan("sheets", plan, rng)
    cell, fractional, species, height = _layer(name, shape / 7.0)
    scale = rng.uniform(0.9, 1.15)
    cell = cell * scale
    times = np.ones(3, dtype=np.int64)
    n_atoms = stock.size(rng)
    while len(fractional) * times.prod() < n_atoms:
        flat = np.where([True, True, False], widths(cell) * times, np.inf)
        times[np.argmin(flat)] += 1
    cell, fractional, species = repeat(cell, fractional, species, times)
    positions = fractional @ cell
    wave = cell[0] / (cell[0] @ cell[0])
    positions[:, 2] += np.tile(height * scale, times.prod())
    positions[:, 2] += bend / 3.0 * 0.03 * np.linalg.norm(cell[0]) * np.sin(2.0 * np.pi * positions @ wave)
    cell[2] = [0.0, 0.0, float(np.ptp(positions[:, 2])) + rng.uniform(8.0, 25.0)]
    positions[:, 2] += cell[2, 2] / 2
    pbc = (True, True, bool(rng.uniform() < 0.5))
    label = stock.column(*KEYS[name])
    label = UNLABELLED if label == OTHER and name in _OF_CRYSTALS else label
    return made(f"single layer: {name}", positions, species, cell, label, pbc=pbc)


def _layer(name: str, form: float) -> tuple[Float, Float, np.ndarray, Float]:
    """Return cell, fractional coordinates, species and heights of a layer; `form` in 0 ... 1 is its free parameter."""
    if name == "square":
        return np.diag([2.6, 2.6, 1.0]), np.zeros((1, 3)), np.zeros(1, dtype=np.int64), np.zeros(1)
    if name == "hexagonal":
        return _HEX * [2.6, 2.6, 1.0], np.zeros((1, 3)), np.zeros(1, dtype=np.int64), np.zeros(1)
    if name == "black phosphorene":
        long, short, step, thick = 4.4, 3.3, 0.085 + 0.01 * form, 2.1
        places = np.array([[step, 0.0, 0], [0.5 - step, 0.5, 0], [0.5 + step, 0.5, 0], [1.0 - step, 0.0, 0]])
        lift = thick / 2 * np.array([1.0, 1.0, -1.0, -1.0])
        return np.diag([long, short, 1.0]), places, np.zeros(4, dtype=np.int64), lift
    two = np.array([[_THIRD, _TWO, 0.0], [_TWO, _THIRD, 0.0]])
    if name in ("honeycomb", "BN", "buckled honeycomb"):
        buckled = name == "buckled honeycomb"
        bond = 2.3 if buckled else 1.42
        rise = bond * (0.15 + 0.2 * form) if buckled else 0.0
        edge = np.sqrt(3.0) * np.sqrt(bond**2 - rise**2)
        codes = np.array([0, int(name == "BN")])
        return _HEX * [edge, edge, 1.0], two, codes, np.array([rise / 2, -rise / 2])
    edge, reach = 3.16, 1.45 + 0.2 * form
    upper, lower = two[1], two[1] if name == "2H" else np.zeros(3)
    places = np.array([two[0], upper, lower])
    return _HEX * [edge, edge, 1.0], places, np.array([0, 1, 1]), np.array([0.0, reach, -reach])
