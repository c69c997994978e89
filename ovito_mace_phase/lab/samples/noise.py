"""Thermal displacements of a crystal: white, or correlated as phonons make them.

White: independent normal numbers of amplitude sigma. Tightly bound groups (O-H and the like) share one on top.
Correlated: the classical thermal ensemble of an elastic network, springs of stiffness (2.5 A / r)^6 between all pairs
up to 4.2 A, with a transverse share t so that open structures do not collapse:

    K_ab = -k(r) [(1 - t) n n^T + t 1],  K_aa = -sum_b K_ab,     u ~ N(0, (K + e 1)^-1), scaled to the amplitude sigma

Neighbours then move together and long waves are soft, as in real frames, where the same sigma distorts bonds less than
white noise does. Source of the network: Atilgan et al., Biophys. J. 80 (2001) 505; Hinsen, Proteins 33 (1998) 417.
No crystal is displaced beyond melting (Lindemann): amplitudes are capped at 0.12 of the nearest-neighbour distance, or
relative amplitudes of neighbours at sqrt(2) times as much.

What depends on the crystal alone, pairs and factor of K, serves any number of displacements (`ThermalNoise`): fields
are one solution with many right-hand sides, L^T u = z with K + e 1 = L L^T.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.cell_grid import make_grid

from .kernels import add_springs

LINDEMANN = 0.12
_MOLECULE = 1.3
_REACH = 4.2
_PINNING = 0.02
_FARTHEST = 3.0  # largest distance that counts as that of nearest neighbours, A
_SPRING = 2.5
_SHORTEST = 1.15
_TRANSVERSE = (0.05, 0.4)  # t is drawn from this range, one for a crystal

Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Int = npt.NDArray[np.int64]


class ThermalNoise:
    """Displacements of one crystal.

    Parameters
    ----------
    positions : (n_atoms, 3) float64
        Of the clean crystal, A in network units.
    cell : (3, 3) float64
    together : int
        Correlated displacements that are made at a time.
    """

    def __init__(self, positions: Float, cell: Float, together: int = 1) -> None:
        self.n_atoms, self._together = len(positions), together
        grid = make_grid(positions, cell, np.ones(3, dtype=bool), _REACH)
        offsets, neighbour, vectors = grid.pairs(0, self.n_atoms)
        self._centre, self._neighbour = np.repeat(grid.order, np.diff(offsets)), grid.order[neighbour]
        self._distance = np.sqrt((vectors * vectors).sum(axis=1))
        self._direction = vectors / self._distance[:, None]
        self._nearest = np.full(self.n_atoms, _FARTHEST)
        np.minimum.at(self._nearest, self._centre, self._distance)
        self._fields: list[tuple[Float32, float]] = []
        self._root: Float32 | None = None

    def white(self, sigma: float, rng: np.random.Generator) -> Float:
        """Return displacements (n_atoms, 3), independent but for the share of tightly bound groups."""
        displacement = rng.normal(0.0, 1.0, (self.n_atoms, 3))
        displacement *= np.minimum(sigma, LINDEMANN * self._nearest)[:, None]
        if self._groups is not None:
            group, bound = self._groups
            displacement += (rng.normal(0.0, sigma, (len(bound), 3)) * bound[:, None])[group]
        return displacement

    def correlated(self, sigma: float, rng: np.random.Generator) -> Float:
        """Return displacements (n_atoms, 3) of the elastic network, mean removed."""
        if not self._fields:
            self._fields = self._drawn(rng)
        field, bonds = self._fields.pop()
        return field.astype(np.float64) * min(sigma, np.sqrt(2.0) * LINDEMANN / max(bonds, 1e-12))

    @cached_property
    def _groups(self) -> tuple[Int, npt.NDArray[np.bool_]] | None:
        """Group of each atom, and which groups have several; None where all atoms are alone."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        bound = self._distance < _MOLECULE
        if not bound.any():
            return None
        pairs = (self._centre[bound], self._neighbour[bound])
        graph = coo_array((np.ones(len(pairs[0])), pairs), shape=(self.n_atoms, self.n_atoms))
        _, group = connected_components(graph, directed=False)
        return group, np.bincount(group) > 1

    def _drawn(self, rng: np.random.Generator) -> list[tuple[Float32, float]]:
        """Return fields of unit amplitude, and the rms stretch of the shortest bonds in each."""
        from scipy.linalg import solve_triangular

        if self._root is None:
            self._root = self._factor(rng.uniform(*_TRANSVERSE))
        normal = rng.standard_normal((3 * self.n_atoms, self._together), dtype=np.float32)
        solved = solve_triangular(self._root, normal, lower=True, trans="T", check_finite=False)
        fields = np.ascontiguousarray(solved.T).reshape(self._together, self.n_atoms, 3)
        fields -= fields.mean(axis=1, keepdims=True)
        fields /= np.maximum(np.sqrt(np.mean(fields**2, axis=(1, 2))), 1e-12)[:, None, None]
        near = np.flatnonzero(self._distance < _SHORTEST * self._nearest[self._centre])
        relative = fields[:, self._neighbour[near]] - fields[:, self._centre[near]]
        along = (self._direction[near] / self._distance[near, None]).astype(np.float32)
        stretch = np.sqrt(np.mean(np.einsum("kpi,pi->kp", relative, along) ** 2, axis=1))
        return list(zip(fields, stretch.tolist(), strict=True))

    def _factor(self, transverse: float) -> Float32:
        """Return L, (3 n_atoms, 3 n_atoms), lower; single precision is enough, the condition is below 3 n / 0.02."""
        from scipy.linalg import cholesky

        matrix = np.zeros((3 * self.n_atoms, 3 * self.n_atoms))
        add_springs(self._centre, self._neighbour, self._distance, self._direction, transverse, _SPRING, matrix)
        diagonal = np.einsum("ii->i", matrix)
        diagonal += _PINNING * max(diagonal.mean(), 1e-3)
        return cholesky(matrix.astype(np.float32), lower=True, overwrite_a=True, check_finite=False)
