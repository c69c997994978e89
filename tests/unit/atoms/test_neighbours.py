"""The neighbour list against all images and against ase, over system x cutoff x rotation.

ase 3.29.0 misses edges of skewed slabs whose non-periodic cell vector is zero: there, only the images are the judge.
"""

from __future__ import annotations

import ase
import numpy as np
import pytest
from ase.build import bulk
from ase.neighborlist import neighbor_list

from ovito_mace_phase.atoms.neighbour_list import Edges, neighbour_list
from ovito_mace_phase.runtime.errors import InputError

TOLERANCE = 1e-10  # A


def systems(rng: np.random.Generator) -> dict[str, ase.Atoms]:
    """Random structures; all atoms also outside of the cell."""
    cell = np.diag(rng.uniform(4, 7, 3)) + rng.uniform(-2, 2, (3, 3))
    return {
        "triclinic": ase.Atoms("Cu12", scaled_positions=rng.uniform(-3, 3, (12, 3)), cell=cell, pbc=True),
        "left-handed": ase.Atoms("Cu5", scaled_positions=rng.uniform(-1, 1, (5, 3)), cell=cell[[1, 0, 2]], pbc=True),
        "one atom": bulk("Cu", "fcc", a=3.6),
        "needle": ase.Atoms("Cu", cell=[2.0, 2.5, 60.0], pbc=True),
        "flat cell": ase.Atoms(
            "Cu3", positions=rng.uniform(0, 3, (3, 3)), cell=[[3, 0, 0], [8, 3, 0], [7, -8, 3]], pbc=1
        ),
        "slab": ase.Atoms("Cu9", positions=rng.uniform(-5, 9, (9, 3)), cell=cell, pbc=(True, False, True)),
        "slab, zero row": ase.Atoms(
            "Cu9", positions=rng.uniform(0, 6, (9, 3)), cell=[5, 6, 0], pbc=(True, True, False)
        ),
        "chain": ase.Atoms("Cu7", positions=rng.uniform(-3, 3, (7, 3)), cell=[0, 4, 0], pbc=(False, True, False)),
        "cluster": ase.Atoms("Cu20", positions=rng.uniform(-50, -41, (20, 3))),
        "cluster, small cell": ase.Atoms("Cu20", positions=rng.uniform(-8, 8, (20, 3)), cell=[1.0, 2.0, 0.1]),
        "degenerate cell": ase.Atoms("Cu4", positions=rng.uniform(0, 5, (4, 3)), cell=np.ones((3, 3))),
        "far from origin": ase.Atoms("Cu20", positions=rng.uniform(0, 8, (20, 3)) + 1e5, cell=[8.0, 8, 8], pbc=True),
        "on the faces": bulk("NaCl", "rocksalt", a=5.6, cubic=True),
        "one plane": ase.Atoms("Cu9", positions=rng.uniform(0, 9, (9, 3)) * [1, 1, 0]),
        "one point": ase.Atoms("Cu"),
        "no atoms": ase.Atoms(cell=[5, 5, 5], pbc=True),
    }


def edge_table(centre: np.ndarray, neighbour: np.ndarray, shifts: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """All edges as rows in an order of their own, (n_edges, 8)."""
    order = np.lexsort((*shifts.T, neighbour, centre))
    return np.column_stack([centre, neighbour, shifts, vectors])[order]


def our_table(edges: Edges) -> np.ndarray:
    return edge_table(edges.centre, edges.neighbour, edges.shifts, edges.vectors)


def all_images(atoms: ase.Atoms, cutoff: float) -> np.ndarray:
    """Try every pair with every image that could be near."""
    cell = np.where(atoms.pbc[:, None], np.array(atoms.cell), 0.0)
    inverse = np.linalg.pinv(cell)  # columns: reciprocal vectors, whose lengths are one over the heights of the cell
    spread = np.ptp(atoms.positions @ inverse, axis=0) if len(atoms) else np.zeros(3)
    reach = np.where(atoms.pbc, np.ceil(cutoff * np.linalg.norm(inverse, axis=0) + spread), 0).astype(int)
    shifts = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij"), axis=-1).reshape(-1, 3)
    vectors = atoms.positions[None, None] - atoms.positions[None, :, None] + (shifts @ cell)[:, None, None]
    near = np.linalg.norm(vectors, axis=-1) < cutoff
    near[(shifts == 0).all(axis=1)] &= ~np.eye(len(atoms), dtype=bool)
    image, centre, neighbour = np.nonzero(near)
    return edge_table(centre, neighbour, shifts[image], vectors[near])


def ase_table(atoms: ase.Atoms, cutoff: float) -> np.ndarray:
    return edge_table(*neighbor_list("ijSD", atoms, cutoff))


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("cutoff", [2.9, 6.0])
@pytest.mark.parametrize("name", list(systems(np.random.default_rng(0))))
def test_equals_all_images_and_ase(name: str, cutoff: float, rotated: bool) -> None:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    atoms = systems(rng)[name]
    if rotated:
        rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        atoms.set_cell(np.array(atoms.cell) @ rotation)
        atoms.positions = atoms.positions @ rotation
    edges = neighbour_list(atoms.positions, np.array(atoms.cell), atoms.pbc, cutoff)
    expected = all_images(atoms, cutoff)
    assert edges.offsets.shape == (len(atoms) + 1,)
    assert edges.offsets[0] == 0
    assert edges.offsets[-1] == edges.n_edges
    tolerance = TOLERANCE * max(1.0, np.abs(atoms.positions).max(initial=0.0))
    np.testing.assert_allclose(our_table(edges), expected, rtol=0, atol=tolerance)
    if np.linalg.matrix_rank(np.array(atoms.cell)) == 3 and len(atoms):
        np.testing.assert_allclose(our_table(edges), ase_table(atoms, cutoff), rtol=0, atol=tolerance)
    again = atoms.positions[edges.neighbour] - atoms.positions[edges.centre]
    cell = np.where(atoms.pbc[:, None], np.array(atoms.cell), 0.0)
    np.testing.assert_allclose(edges.vectors, again + edges.shifts @ cell, rtol=0, atol=tolerance)


def test_types_and_order() -> None:
    atoms = bulk("Cu", cubic=True) * (3, 3, 3)
    edges = neighbour_list(atoms.positions, np.array(atoms.cell), True, 6.0)
    assert {a.dtype for a in (edges.offsets, edges.neighbour, edges.shifts)} == {np.dtype(np.int64)}
    assert edges.vectors.dtype == np.float64
    assert all(a.flags.c_contiguous for a in (edges.offsets, edges.neighbour, edges.shifts, edges.vectors))
    np.testing.assert_array_equal(np.diff(edges.offsets), 78)
    for start, end in zip(edges.offsets[:-1], edges.offsets[1:], strict=True):
        assert (np.diff(edges.neighbour[start:end]) >= 0).all()


def test_many_atoms_without_boundary() -> None:
    """More than one search cell in each direction, and a box far from the origin."""
    rng = np.random.default_rng(5)
    atoms = ase.Atoms(positions=rng.uniform(-300, -260, (2000, 3)))
    edges = neighbour_list(atoms.positions, np.zeros((3, 3)), atoms.pbc, 4.0)
    np.testing.assert_allclose(our_table(edges), all_images(atoms, 4.0), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("cell", "pbc", "message"),
    [
        (np.diag([5.0, 5.0, 0.0]), True, "direction 2 .*zero"),
        (np.array([[5.0, 0, 0], [5.0, 0, 0], [0, 0, 5.0]]), True, "linearly dependent"),
        (np.array([[5.0, 0, 0], [-7.0, 0, 0], [0, 0, 0]]), (True, True, False), "linearly dependent"),
        (np.diag([5.0, np.nan, 5.0]), True, "not finite"),
    ],
)
def test_bad_cell(cell: np.ndarray, pbc: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        neighbour_list(np.zeros((1, 3)), cell, pbc, 6.0)


def test_bad_positions_and_cutoff() -> None:
    positions = np.zeros((3, 3))
    positions[1, 2] = np.inf
    with pytest.raises(InputError, match="atom 1"):
        neighbour_list(positions, np.eye(3), False, 6.0)
    with pytest.raises(InputError, match="cutoff is -1"):
        neighbour_list(np.zeros((1, 3)), np.eye(3), False, -1)
