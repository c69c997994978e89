"""Atoms in or beside vacuum that are no crystal: Other at every atom.

vapour     atoms at random, 0.3 to 8 % of the density of a solid, pairs among them
clusters   compact drops of 2 to 60 atoms, apart from each other or alone
molecules  one kind of molecule at random places and turned at random, as a gas or as dense as a liquid
chains     polymers, one alone or several side by side
cages      closed cages and tubes of a honeycomb, a few or one; a tube with a radius of WIDE bonds or more
           is as well called graphene: no label
"""

from __future__ import annotations

import numpy as np

from ovito_mace_phase.lab.crystals import Float, Int
from ovito_mace_phase.lab.samples.disorder import push_apart

from .made import OTHER, UNLABELLED, Made, made
from .molecules import cage, chain, random_topology, tree, tube
from .stock import Stock, random_turn

WIDE = 2.5
_MOST_TREE, _SHAPES, _SWEEPS = 12, 4, 80


def vapour(stock: Stock, rng: np.random.Generator) -> Made:
    """Return atoms far apart."""

    def plan(r: np.random.Generator) -> tuple[int, int]:
        return int(r.integers(1, 5)), int(r.integers(1, 16))

    n_species, density = stock.plan("vapour", plan, rng)
    n_atoms = stock.size(rng)
    width = (n_atoms * 12.0 / (0.005 * density)) ** (1.0 / 3.0)
    positions = rng.uniform(0.0, width, (n_atoms, 3))
    partners = rng.permutation(n_atoms)[: 2 * int(rng.uniform(0.0, 0.3) * n_atoms / 2)].reshape(-1, 2)
    bond = rng.uniform(2.2, 3.2)
    steps = np.array([random_turn(rng)[0] for _ in partners]).reshape(-1, 3)
    positions[partners[:, 1]] = positions[partners[:, 0]] + bond * steps
    cell = np.eye(3) * width
    positions = push_apart(positions, cell, 0.98 * bond)
    species = rng.integers(0, n_species, n_atoms)
    return made(f"vapour of {n_species} species", positions, species, cell, OTHER, still=False)


def clusters(stock: Stock, rng: np.random.Generator) -> Made:
    """Return drops of a few atoms."""

    def plan(r: np.random.Generator) -> tuple[int, int]:
        return int(r.integers(2, 61)), int(r.integers(1, 4))

    size, n_species = stock.plan("clusters", plan, rng)
    bond = rng.uniform(2.2, 3.2)
    number = max(stock.size(rng) // size, 1)
    shapes = [_drop(size, bond, rng) for _ in range(min(number, _SHAPES))]
    drops = [(shapes[k % _SHAPES] @ random_turn(rng).T, rng.integers(0, n_species, size)) for k in range(number)]
    positions, species, cell = _scattered(drops, rng.uniform(5.0, 12.0), rng)
    return made(f"clusters of {size} atoms", positions, species, cell, OTHER, still=False)


def molecules(stock: Stock, rng: np.random.Generator) -> Made:
    """Return molecules of one kind."""

    def plan(r: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
        parents = random_topology(r, _MOST_TREE if r.uniform() < 0.5 else 4)
        return parents, tuple(r.integers(0, 3, len(parents) + 1).tolist())

    parents, species = stock.plan("molecules", plan, rng)
    one = tree(parents, rng)
    gap = rng.uniform(2.6, 4.0) if rng.uniform() < 0.5 else rng.uniform(5.0, 14.0)
    number = max(stock.size(rng) // len(one), 2)
    parts = [(one @ random_turn(rng).T, np.array(species)) for _ in range(number)]
    positions, codes, cell = _scattered(parts, gap, rng)
    return made(f"molecules of {len(one)} atoms", positions, codes, cell, OTHER)


def chains(stock: Stock, rng: np.random.Generator) -> Made:
    """Return polymer chains."""

    def plan(r: np.random.Generator) -> tuple[int, int, bool]:
        return int(r.integers(8, 60)), int(r.integers(0, 3)), bool(r.uniform() < 0.5)

    n_links, side_atoms, together = stock.plan("chains", plan, rng)
    number = max(stock.size(rng) // (n_links * (1 + side_atoms)), 1)
    parts = [chain(n_links, side_atoms, rng) for _ in range(number)]
    gap = 3.5 if together else rng.uniform(6.0, 14.0)
    positions, species, cell = _scattered([(p @ random_turn(rng).T, s) for p, s in parts], gap, rng)
    return made(f"chains of {n_links} links, {side_atoms} atoms beside each", positions, species, cell, OTHER)


def cages(stock: Stock, rng: np.random.Generator) -> Made:
    """Return closed cages, or a tube."""

    def plan(r: np.random.Generator) -> tuple[str, int, int, bool]:
        what = str(r.choice(["cage", "tube"]))
        low, high = (10, 62) if what == "cage" else (3, 14)
        return what, int(r.integers(low, high)), int(r.integers(0, 8)), bool(r.uniform() < 0.3)

    what, n, m, two = stock.plan("cages", plan, rng)
    bond = rng.uniform(1.35, 1.55)
    if what == "cage":
        one = cage(n, bond, rng)
        number = max(min(stock.size(rng) // len(one), 8), 1)
        parts = [(one @ random_turn(rng).T, np.zeros(len(one), dtype=np.int64)) for _ in range(number)]
        positions, species, cell = _scattered(parts, rng.uniform(2.9, 8.0), rng)
        return made(f"cages of {len(one)} atoms", positions, species, cell, OTHER)
    positions, species, radius = tube(n, min(m, n), bond, stock.size(rng) * bond / (4.0 * n))
    cell = np.diag(np.ptp(positions, axis=0) + rng.uniform(7.0, 14.0))
    label = OTHER if radius < WIDE * bond else UNLABELLED
    name = f"tube ({n}, {min(m, n)}) of radius {radius:.1f} A"
    return made(name, positions + cell.sum(axis=0) / 2, species if two else None, cell, label)


def _drop(size: int, bond: float, rng: np.random.Generator) -> Float:
    """Return atoms drawn together, no two nearer than a bond."""
    positions = rng.normal(0.0, 0.45 * bond * size ** (1.0 / 3.0), (size, 3))
    for step in range(_SWEEPS):
        apart = positions[:, None] - positions[None]
        distance = np.linalg.norm(apart, axis=2) + np.eye(size)
        push = 0.5 * np.clip(bond / distance - 1.0, 0.0, 1.0) * (1.0 - np.eye(size))
        positions += np.einsum("ij,ijk->ik", push, apart)
        if step < _SWEEPS // 2:  # drawn together, then left to come apart
            positions *= 0.98
    return np.asarray(positions - positions.mean(axis=0))


def _scattered(parts: list[tuple[Float, Int]], gap: float, rng: np.random.Generator) -> tuple[Float, Int, Float]:
    """Put groups of atoms on the points of a disturbed grid, `gap` between their spheres on average."""
    radius = np.array([np.linalg.norm(positions, axis=1).max() for positions, _ in parts])
    pitch = 2.0 * float(np.quantile(radius, 0.7)) + gap
    times = int(np.ceil(len(parts) ** (1.0 / 3.0)))
    corners = rng.permutation(times**3)[: len(parts)]
    places = np.stack(np.unravel_index(corners, (times,) * 3), axis=1) * pitch
    places = places + rng.uniform(-0.1, 0.1, places.shape) * gap
    positions = np.concatenate([p + place for (p, _), place in zip(parts, places, strict=True)])
    return positions, np.concatenate([s for _, s in parts]), np.eye(3) * pitch * times
