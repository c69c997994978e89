"""Thermal displacements of a crystal: white, or correlated as phonons make them.

White: independent normal numbers of amplitude sigma. Tightly bound groups (O-H and the like) share one on top.
Correlated: the classical thermal ensemble of an elastic network, springs of stiffness (2.5 A / r)^6 between all pairs
up to 4.2 A, with a transverse share t so that open structures do not collapse:

    K_ab = -k(r) [(1 - t) n n^T + t 1],  K_aa = -sum_b K_ab,     u ~ N(0, (K + e 1)^-1), scaled to the amplitude sigma

Neighbours then move together and long waves are soft, as in real frames, where the same sigma distorts bonds less than
white noise does. Source of the network: Atilgan et al., Biophys. J. 80 (2001) 505; Hinsen, Proteins 33 (1998) 417.
No crystal is displaced beyond melting (Lindemann): amplitudes are capped at 0.12 of the nearest-neighbour distance, or
relative amplitudes of neighbours at sqrt(2) times as much.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.neighbour_list import neighbour_list

LINDEMANN = 0.12
_MOLECULE = 1.3
_REACH = 4.2
_PINNING = 0.02

Float = npt.NDArray[np.float64]


def white(positions: Float, cell: Float, sigma: float, rng: np.random.Generator) -> Float:
    """Return displacements (n_atoms, 3), independent but for the share of tightly bound groups."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n_atoms = len(positions)
    centre, neighbour, distance, _ = _pairs(positions, cell, 3.0)
    displacement = rng.normal(0.0, 1.0, (n_atoms, 3))
    displacement *= np.minimum(sigma, LINDEMANN * _nearest(centre, distance, n_atoms))[:, None]
    bound = distance < _MOLECULE
    if bound.any():
        graph = coo_array((np.ones(bound.sum()), (centre[bound], neighbour[bound])), shape=(n_atoms, n_atoms))
        n_groups, group = connected_components(graph, directed=False)
        displacement += (rng.normal(0.0, sigma, (n_groups, 3)) * (np.bincount(group) > 1)[:, None])[group]
    return displacement


def correlated(positions: Float, cell: Float, sigma: float, rng: np.random.Generator) -> Float:
    """Return displacements (n_atoms, 3) of the elastic network, mean removed."""
    from scipy.linalg import cholesky, solve_triangular

    n_atoms = len(positions)
    centre, neighbour, distance, direction = _pairs(positions, cell, _REACH)
    transverse = rng.uniform(0.05, 0.4)
    blocks = (1.0 - transverse) * direction[:, :, None] * direction[:, None, :] + transverse * np.eye(3)
    blocks *= ((2.5 / distance) ** 6)[:, None, None]
    stiffness = np.zeros((n_atoms, n_atoms, 3, 3))
    np.add.at(stiffness, (centre, neighbour), -blocks)
    np.add.at(stiffness, (centre, centre), blocks)
    matrix = stiffness.transpose(0, 2, 1, 3).reshape(3 * n_atoms, 3 * n_atoms)
    pinning = _PINNING * max(np.trace(matrix) / (3 * n_atoms), 1e-3)
    factor = cholesky(matrix + pinning * np.eye(3 * n_atoms), lower=True)
    displacement = solve_triangular(factor, rng.normal(size=3 * n_atoms), lower=True, trans="T").reshape(n_atoms, 3)
    displacement -= displacement.mean(axis=0)
    stretch = ((displacement[neighbour] - displacement[centre]) * direction).sum(axis=1) / distance
    shortest = distance < 1.15 * _nearest(centre, distance, n_atoms)[centre]
    amplitude, bonds = np.sqrt(np.mean(displacement**2)), np.sqrt(np.mean(stretch[shortest] ** 2))
    return displacement * min(sigma / max(amplitude, 1e-12), np.sqrt(2.0) * LINDEMANN / max(bonds, 1e-12))


def _pairs(
    positions: Float, cell: Float, reach: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Float, Float]:
    """Centres, neighbours, distances and unit vectors of all pairs, images included."""
    edges = neighbour_list(positions, cell, np.ones(3, dtype=bool), reach)
    distance = np.linalg.norm(edges.vectors, axis=1)
    centre = np.repeat(np.arange(len(positions)), np.diff(edges.offsets))
    return centre, edges.neighbour, distance, edges.vectors / distance[:, None]


def _nearest(centre: npt.NDArray[np.int64], distance: Float, n_atoms: int) -> Float:
    nearest = np.full(n_atoms, 3.0)
    np.minimum.at(nearest, centre, distance)
    return nearest
