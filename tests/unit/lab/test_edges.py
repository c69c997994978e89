"""Edges of small frames side by side are those of the neighbour list, in the same order."""

from __future__ import annotations

import numpy as np

from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.atoms.neighbour_list import neighbour_list, side_by_side
from ovito_mace_phase.lab.features.edges import edges_of


def test_edges_are_those_of_the_neighbour_list(rng):
    """Skewed and small cells, open directions, a single atom; images of one neighbour in any order."""
    frames = []
    for n_atoms in (1, 7, 40, 90):
        cell = np.eye(3) * (13.0 * n_atoms) ** (1 / 3) + rng.uniform(-0.4, 0.4, (3, 3))
        positions = rng.uniform(-0.5, 1.5, (n_atoms, 3)) @ cell
        frames.append(make_frame(positions, None, cell, rng.uniform(size=3) < 0.7))
    found = edges_of(frames, 5.0)
    expected = side_by_side([neighbour_list(f.positions, f.cell, f.pbc, 5.0) for f in frames])
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    np.testing.assert_array_equal(found.neighbour, expected.neighbour)
    one, other = (
        edges.vectors[np.lexsort((*np.round(edges.vectors, 6).T, edges.neighbour, edges.centre))]
        for edges in (found, expected)
    )
    np.testing.assert_allclose(one, other, atol=1e-9)
