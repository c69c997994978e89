"""Neighbours of ranges of atoms, against the library's list of the whole frame."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from ovito_mace_phase.atoms import cell_sort
from ovito_mace_phase.atoms.cell_grid import make_grid, nearest_cubes
from ovito_mace_phase.atoms.neighbour_list import move_inside, neighbour_list
from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.runtime.threads import set_threads


def random_system(rng):
    while True:
        cell = np.diag(rng.uniform(1, 30, 3)) + rng.uniform(-2, 2, (3, 3)) * rng.integers(0, 2)
        n_atoms = int(rng.integers(1, 200))
        if abs(np.linalg.det(cell)) > max(5.0, n_atoms / 3):
            break
    positions = rng.uniform(-1, 2, (n_atoms, 3)) @ cell + rng.choice([0, 1e3])
    return positions, cell, rng.integers(0, 2, 3).astype(bool), rng.uniform(1, 7)


def listed(centre, neighbour, vectors):
    rows = np.column_stack([centre, neighbour, np.round(vectors, 6)])
    return rows[np.lexsort(rows.T[::-1])]


def test_same_edges_as_the_library(rng):
    for _ in range(150):
        positions, cell, pbc, cutoff = random_system(rng)
        grid = make_grid(positions, cell, pbc, cutoff)
        offsets, neighbour, vectors = grid.pairs(0, len(grid))
        edges = neighbour_list(positions, cell, pbc, cutoff)
        assert offsets[-1] == edges.n_edges
        mine = listed(grid.order[np.repeat(np.arange(len(grid)), np.diff(offsets))], grid.order[neighbour], vectors)
        theirs = listed(edges.centre, edges.neighbour, edges.vectors)
        assert not len(mine) or np.abs(mine - theirs).max() < 3e-6


def test_ranges_join_to_the_whole(rng):
    positions, cell, pbc, cutoff = random_system(rng)
    grid = make_grid(positions, cell, pbc, cutoff)
    whole = grid.pairs(0, len(grid))
    cuts = np.sort(rng.integers(0, len(grid) + 1, 4))
    parts = [grid.pairs(int(a), int(b)) for a, b in zip([0, *cuts], [*cuts, len(grid)], strict=True)]
    for k in (1, 2):
        np.testing.assert_array_equal(np.concatenate([part[k] for part in parts]), whole[k])


def test_layers_hold_all_neighbours(rng):
    positions, cell, pbc, cutoff = random_system(rng)
    grid = make_grid(positions, cell, pbc, cutoff)
    for layer in range(int(grid.shape[0])):
        first, last = int(grid.layers[layer]), int(grid.layers[layer + 1])
        _, neighbour, _ = grid.pairs(first, last)
        seen = np.unique(np.searchsorted(grid.layers, neighbour, side="right") - 1)
        # empty layers share their first atom with the next one that is not empty
        assert set(seen) <= set(grid.layers_around(layer, layer + 1))


def test_gas_in_a_large_box(rng):
    """Cells are no more than a few per atom, however large the box."""
    positions = np.concatenate([rng.uniform(0, 5, (30, 3)), rng.uniform(0, 1e6, (10, 3))])
    grid = make_grid(positions, np.eye(3) * 1e6, np.ones(3, bool), 3.0)
    assert len(grid.start) < 1000
    assert grid.pairs(0, 40)[0][-1] == neighbour_list(positions, np.eye(3) * 1e6, np.ones(3, bool), 3.0).n_edges


def test_flat_periodic_cell_is_refused():
    with pytest.raises(InputError, match="linearly dependent"):
        make_grid(np.zeros((1, 3)), np.array([[1.0, 0, 0], [1, 0, 0], [0, 0, 1]]), np.ones(3, bool), 3.0)


def test_sorted_like_numpy_in_pieces_of_any_size(rng, monkeypatch):
    """Cells by the formula, atoms of a cell in their order; for any number of threads, also for a lattice."""
    positions, cell, pbc, cutoff = random_system(rng)
    lattice = np.stack(np.meshgrid(*[np.arange(7.0)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    for given in ((positions, cell, pbc, cutoff), (lattice, np.eye(3) * 7.0, np.ones(3, bool), 1.5)):
        grid = make_grid(*given)
        fractional = move_inside(given[0], grid.box, grid.periodic)[0] @ np.linalg.inv(grid.box)
        place = np.clip((fractional * grid.shape).astype(int), 0, grid.shape - 1)
        strip = place[:, 1] - place[:, 1] % 4
        width = np.minimum(4, grid.shape[1] - strip)
        layer = place[:, 0] * grid.shape[1] + strip
        rank = layer * grid.shape[2] + place[:, 2] * width + place[:, 1] % 4
        np.testing.assert_array_equal(grid.order, np.argsort(rank, kind="stable"))
        np.testing.assert_array_equal(np.diff(grid.start), np.bincount(rank, minlength=len(grid.start) - 1))
        for rows, count in ((7, 1), (50, 2), (31, 5)):
            monkeypatch.setattr(cell_sort, "_ROWS", rows)
            set_threads(count)
            try:
                found = make_grid(*given)
            finally:
                set_threads(0)
            for name in ("positions", "order", "start", "layers"):
                np.testing.assert_array_equal(getattr(found, name), getattr(grid, name))


@pytest.mark.parametrize("k", [1, 3, 14])
def test_cubes_of_the_nearest(rng, k):
    """None, fewer than k, a few more, and very many neighbours; equal distances among them."""
    lengths = [0, 1, k, k + 1, 2 * k, 2 * k + 1, 200, 0, 500]
    offsets = np.append(0, np.cumsum(lengths))
    vectors = rng.normal(size=(offsets[-1], 3))
    vectors[offsets[6] : offsets[6] + 150] = rng.choice([-1.0, 1.0], (150, 3))
    neighbour = rng.integers(0, 99, offsets[-1])
    total, count = np.zeros(12), np.zeros(12, dtype=np.int64)
    shortest, partner = np.full(12, np.inf), np.zeros(12, dtype=np.int64)
    nearest_cubes(offsets, neighbour, vectors, k, 3, total, count, shortest, partner)
    np.testing.assert_array_equal(count[3:], lengths)
    for atom, (a, b) in enumerate(pairwise(offsets)):
        distance = np.linalg.norm(vectors[a:b], axis=1)
        assert total[3 + atom] == pytest.approx((np.sort(distance)[:k] ** 3).sum(), rel=1e-12)
        if a < b:
            assert shortest[3 + atom] == pytest.approx(distance.min() ** 2, rel=1e-12)
            assert partner[3 + atom] == neighbour[a + distance.argmin()]
    assert np.isinf(shortest[[0, 1, 2, 3, 10]]).all()
