"""Sites and rotations of a crystal without spglib, for phases that a model brings along.

    W a whole-numbered matrix that keeps the metric of the reduced lattice:  W^T G W = G,   |W_ij| <= 1
    {W | t} a symmetry where every atom is taken to an atom of its species;  t from the atoms of the rarest species

In a Minkowski-reduced basis the matrices of all symmetries have entries of -1, 0, 1.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from .record import ReferenceCell
from .shells import neighbours, shell_sizes

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
TOLERANCE = 0.02
"""Of the shortest distance between atoms."""
_METRIC = 0.01  # relative


def site_record(cell: ReferenceCell) -> dict[str, Any]:
    """Return sites, template sizes, seeds and rotations of a crystal, as `templates.template_of` wants them."""
    shortest = float(np.linalg.norm(neighbours(cell.cell, cell.fractional, 1)[2], axis=2).min())
    basis = _reduced(cell.cell)
    fractional = cell.fractional @ cell.cell @ np.linalg.inv(basis)
    site, orbit = np.arange(cell.n_atoms), np.arange(cell.n_atoms)
    proper: list[Int] = []
    handed = True
    for matrix in _lattice_symmetries(basis):
        for image in _operations(matrix, basis, fractional, cell.species, TOLERANCE * shortest):
            _join(site, image)
            if np.linalg.det(matrix) > 0:
                _join(orbit, image)
                if not any(np.array_equal(matrix, held) for held in proper):
                    proper.append(matrix)
            else:
                handed = False
    sites = np.unique(site, return_inverse=True)[1]
    seed = np.zeros(cell.n_atoms, dtype=bool)
    seed[np.unique(orbit)] = True
    to_cell = cell.cell @ np.linalg.inv(basis)  # rows: lattice vectors of the cell in the reduced basis
    rotations = [np.round(np.linalg.inv(to_cell.T) @ w @ to_cell.T).astype(np.int64) for w in proper]
    return {
        "site": sites.astype(np.int64),
        "wyckoff": np.full(cell.n_atoms, "?"),
        "size": shell_sizes(cell.cell, cell.fractional, sites),
        "seed": seed,
        "rotations": np.array(rotations),
        "handed": handed,
    }


def _reduced(cell: Float) -> Float:
    """Return a basis of the same lattice with vectors as short as can be."""
    basis = cell.copy()
    steps = np.array(list(itertools.product((-1, 0, 1), repeat=2)))
    for _ in range(100):
        basis = basis[np.argsort(np.linalg.norm(basis, axis=1), kind="stable")]
        before = basis.copy()
        shift = np.round(basis[1] @ basis[0] / (basis[0] @ basis[0]))
        basis[1] -= shift * basis[0]
        plane = np.linalg.lstsq(basis[:2].T, basis[2], rcond=None)[0]
        third = basis[2] - np.round(plane) @ basis[:2] + steps @ basis[:2]
        basis[2] = third[np.argmin(np.round(np.linalg.norm(third, axis=1), 9))]
        if np.linalg.norm(basis, axis=1).sum() > np.linalg.norm(before, axis=1).sum() - 1e-9:
            return before
    return basis


def _lattice_symmetries(basis: Float) -> Int:
    """Return the matrices W, (n, 3, 3), acting on columns of fractional coordinates."""
    every = np.array(list(itertools.product((-1, 0, 1), repeat=9))).reshape(-1, 3, 3)
    every = every[abs(np.round(np.linalg.det(every))) == 1]
    metric = basis @ basis.T
    turned = np.einsum("nki,kl,nlj->nij", every, metric, every)
    scale = np.sqrt(np.outer(np.diag(metric), np.diag(metric)))
    return every[(abs(turned - metric) < _METRIC * scale).all(axis=(1, 2))]


def _operations(matrix: Int, basis: Float, fractional: Float, species: Int, tolerance: float) -> list[Int]:
    """Return the images of all atoms under each symmetry with this matrix."""
    kinds, counts = np.unique(species, return_counts=True)
    few = np.flatnonzero(species == kinds[np.argmin(counts)])
    moved = fractional @ matrix.T
    found = []
    for target in few:
        apart = fractional[None] - (moved + fractional[target] - moved[few[0]])[:, None]
        apart -= np.round(apart)
        distance = np.linalg.norm(apart @ basis, axis=2)
        image = distance.argmin(axis=1)
        near = distance[np.arange(len(image)), image] < tolerance
        if near.all() and (species[image] == species).all() and len(np.unique(image)) == len(image):
            found.append(image)
    return found


def _join(group: Int, image: Int) -> None:
    """Give every atom and its image the same number, the smaller one."""
    for a, b in enumerate(image):
        low, high = sorted((group[a], group[b]))
        group[group == high] = low
