"""Liquids and glasses by short molecular dynamics from random packings: Other at every atom.

mixture      1 to 4 species of sizes 0.7 to 1.3; powers of the repulsion 8 to 16; like pairs may repel (molten salts)
tetrahedral  Stillinger-Weber with a three-body strength of 18 to 25: silicon is 21, water (mW) 23.15
             V. Molinero, E. B. Moore, J. Phys. Chem. B 113 (2009) 4008

    state        end temperature (mixture; tetrahedral)
    hot          1.2 to 3;       0.12 to 0.2          well above melting
    undercooled  0.3 to 0.6;     0.06 to 0.09         below melting, too short a time to freeze
    glass        0.02;           0.005                quenched

Reduced units, mass 1, steps of 0.004; a few hundred steps, a hundredth of the time that these need to freeze.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ovito_mace_phase.atoms.neighbour_list import Edges, neighbour_list
from ovito_mace_phase.lab.crystals import Float
from ovito_mace_phase.lab.samples.disorder import push_apart

from .kernels_liquid import run_pairs, run_triplets
from .made import OTHER, Made, made
from .stock import Stock

_SKIN, _REACH = 0.45, 2.3
_HOT, _MIXING, _SETTLING = 2.5, 120, 300
_ENDS = {"hot": (1.2, 3.0), "undercooled": (0.3, 0.6), "glass": (0.02, 0.02)}
_TETRAHEDRAL_ENDS = {"hot": (0.12, 0.2), "undercooled": (0.06, 0.09), "glass": (0.005, 0.005)}
Advance = Callable[[Float, Float, Float, Float, Edges, Float], int]


def mixture(stock: Stock, rng: np.random.Generator) -> Made:
    """Return a liquid of 1 to 4 species."""

    def plan(r: np.random.Generator) -> tuple[int, str, int, bool, int]:
        n_species = int(r.integers(1, 5))
        return n_species, str(r.choice(list(_ENDS))), int(r.integers(4, 9)), bool(r.uniform() < 0.4), int(r.integers(6))

    n_species, state, power, ionic, number = stock.plan("mixture", plan, rng)
    shape = np.random.default_rng(number)
    sizes = np.ones(1) if n_species == 1 else shape.uniform(0.75, 1.25, n_species)
    size = (sizes[:, None] + sizes) / 2
    attraction = np.ones((n_species, n_species))
    if ionic and n_species > 1:
        charge = np.where(np.arange(n_species) % 2, 1.0, -1.0)
        attraction -= np.outer(charge, charge) * 1.3
    share = shape.dirichlet(np.full(n_species, 3.0)) if n_species > 1 else np.ones(1)
    n_atoms = stock.size(rng)
    species = rng.choice(n_species, size=n_atoms, p=share)
    volume = float((sizes[species] ** 3).sum()) / rng.uniform(0.85, 1.2)
    low, high = _ENDS[state]

    def advance(x: Float, v: Float, listed: Float, shift: Float, edges: Edges, aims: Float) -> int:
        where = (x, v, listed, shift, edges.offsets, edges.neighbour)
        return int(run_pairs(*where, species, size, attraction, power, _REACH, aims, _SKIN / 2))

    positions, cell = _run(n_atoms, volume, 0.8 * sizes.min(), _REACH, advance, rng.uniform(low, high), _HOT, rng)
    unit = rng.uniform(2.4, 3.4)
    name = f"{state} {'ionic ' if ionic else ''}liquid of {n_species} species"
    return made(name, positions * unit, species, cell * unit, OTHER, still=False)


def tetrahedral(stock: Stock, rng: np.random.Generator) -> Made:
    """Return a tetrahedral liquid of one species."""

    def plan(r: np.random.Generator) -> tuple[str, int]:
        return str(r.choice(list(_TETRAHEDRAL_ENDS))), int(r.integers(18, 26))

    state, strength = stock.plan("tetrahedral", plan, rng)
    positions, cell = tetrahedral_net(stock.size(rng), state, strength, rng)
    return made(f"{state} tetrahedral liquid, strength {strength}", positions, None, cell, OTHER, still=False)


def tetrahedral_net(n_atoms: int, state: str, strength: float, rng: np.random.Generator) -> tuple[Float, Float]:
    """Return positions and cell of a tetrahedral liquid with neighbours about 2.75 A apart, as in water."""
    low, high = _TETRAHEDRAL_ENDS[state]

    def advance(x: Float, v: Float, listed: Float, shift: Float, edges: Edges, aims: Float) -> int:
        where = (x, v, listed, shift, edges.offsets, edges.neighbour)
        return int(run_triplets(*where, float(strength), aims, _SKIN / 2))

    volume = n_atoms / rng.uniform(0.42, 0.52)
    positions, cell = _run(n_atoms, volume, 0.8, 1.8, advance, rng.uniform(low, high), 0.3, rng)
    return positions * 2.39, cell * 2.39


def _run(
    n_atoms: int,
    volume: float,
    least: float,
    reach: float,
    advance: Advance,
    end: float,
    start: float,
    rng: np.random.Generator,
) -> tuple[Float, Float]:
    """Mix at the temperature `start`, cool to `end` and stay there: positions and cubic cell in reduced units."""
    width = volume ** (1.0 / 3.0)
    cell = np.eye(3) * width
    x = push_apart(rng.uniform(0.0, width, (n_atoms, 3)), cell, least)
    v = rng.normal(0.0, np.sqrt(start), x.shape)
    step = np.arange(_MIXING + _SETTLING)
    aims = start + (end - start) * np.clip((step - _MIXING) / (_SETTLING / 2), 0.0, 1.0)
    done = 0
    while done < len(aims):
        edges = neighbour_list(x, cell, np.ones(3, dtype=bool), reach + _SKIN)
        shift = edges.vectors - x[edges.neighbour] + x[edges.centre]
        done += advance(x, v, x.copy(), shift, edges, aims[done:])
    return x, cell
