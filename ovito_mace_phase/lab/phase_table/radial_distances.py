"""Partial radial distributions at one volume per atom: a cheap distance between reference cells.

``g[a, b](r) = (1 / n) sum_ij exp(-(r - r_ij)^2 / 2 w^2) / r_ij^2`` over pairs of species a and b, with the cell scaled
to one atom per unit volume. Used to order species and to skip pairs before an exact matcher looks at them.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np

from ovito_mace_phase.phases.record import ReferenceCell

R_MAX = 2.6
GRID = np.linspace(0.5, R_MAX, 64)
WIDTH = 0.06


def partial_distributions(cell: ReferenceCell, n_species: int | None = None) -> np.ndarray:
    """Return ``(n_species, n_species, n_grid) float64`` distributions of a reference cell."""
    n_species = n_species or int(cell.species.max()) + 1
    scale = (abs(np.linalg.det(cell.cell)) / cell.n_atoms) ** (-1 / 3)
    lattice = cell.cell * scale
    heights = abs(np.linalg.det(lattice)) / np.linalg.norm(np.cross(lattice[[1, 2, 0]], lattice[[2, 0, 1]]), axis=1)
    reach = np.ceil((R_MAX + 3 * WIDTH) / heights).astype(int) + 1
    shifts = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    fractional = cell.fractional - np.floor(cell.fractional)
    images = shifts @ lattice
    result = np.zeros((n_species, n_species, len(GRID)))
    for centre, at in zip(fractional, cell.species, strict=True):
        vectors = ((fractional - centre) @ lattice)[:, None, :] + images[None]
        distances = np.sqrt((vectors**2).sum(axis=-1))
        atom, image = np.nonzero((distances > 1e-3) & (distances < R_MAX + 3 * WIDTH))
        found = distances[atom, image]
        smeared = np.exp(-((GRID[None] - found[:, None]) ** 2) / (2 * WIDTH**2)) / found[:, None] ** 2
        kinds = cell.species[atom]
        for kind in np.unique(kinds):
            result[at, kind] += smeared[kinds == kind].sum(axis=0)
    return result / cell.n_atoms


def distribution_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the relative difference of two sets of distributions, 0 ... about 2."""
    return float(np.abs(first - second).sum() / (0.5 * (first.sum() + second.sum())))


def best_order(
    cell: ReferenceCell, target: np.ndarray, target_counts: np.ndarray
) -> tuple[float, tuple[int, ...] | None]:
    """Find the order of species that brings the distributions of a cell nearest to the target's.

    Returns
    -------
    distance, order
        ``order[a]`` is the species of the cell to be called a; None where the composition differs.
    """
    counts = np.bincount(cell.species)
    if len(counts) != len(target_counts):
        return np.inf, None
    return match_orders(partial_distributions(cell), counts, target, target_counts)


def match_orders(
    own: np.ndarray, counts: np.ndarray, target: np.ndarray, target_counts: np.ndarray
) -> tuple[float, tuple[int, ...] | None]:
    """Do what `best_order` does with the distributions and the number of atoms of each species at hand."""
    best: tuple[float, tuple[int, ...] | None] = (np.inf, None)
    for order in permutations(range(len(counts))):
        if not np.array_equal(counts[list(order)] * target_counts.sum(), target_counts * counts.sum()):
            continue
        distance = distribution_distance(own[np.ix_(order, order)], target)
        if distance < best[0]:
            best = (distance, order)
    return best
