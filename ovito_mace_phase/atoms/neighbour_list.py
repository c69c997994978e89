"""All pairs of atoms closer than a cutoff, sorted by centre.

    vectors[e] = positions[neighbour[e]] + shifts[e] @ cell - positions[centre],   |vectors[e]| < cutoff

Every pair appears from both sides, also as images of one atom in a cell smaller than the cutoff. The cells of the
list that vesin builds are made of complete lattice vectors: non-periodic directions get one of our own, orthogonal to
the periodic ones and long enough for all atoms, so that slabs, chains and boxes with zero vectors need no special case.
Source of the pair search: G. Fraux et al., vesin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ovito_mace_phase.runtime.errors import InputError

_FLAT = 1e-6  # volume of a unit-edged parallelepiped below which periodic vectors count as linearly dependent


@dataclass(frozen=True, kw_only=True)
class Edges:
    """Neighbour list in compressed rows: the edges of centre a are `offsets[a]:offsets[a + 1]`."""

    offsets: np.ndarray  # (n_atoms + 1,) int64
    neighbour: np.ndarray  # (n_edges,) int64
    vectors: np.ndarray  # (n_edges, 3) float64, neighbour minus centre, A
    shifts: np.ndarray | None  # (n_edges, 3) int64 cell shifts; None when not kept

    @property
    def n_atoms(self) -> int:
        """Number of centres."""
        return len(self.offsets) - 1

    @property
    def n_edges(self) -> int:
        """Number of edges, each pair counted from both sides."""
        return len(self.neighbour)

    @property
    def centre(self) -> np.ndarray:
        """Centre of each edge, (n_edges,) int64, ascending."""
        return np.repeat(np.arange(self.n_atoms), np.diff(self.offsets))


def neighbour_list(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> Edges:
    """Return all edges shorter than `cutoff`.

    Parameters
    ----------
    positions
        (n_atoms, 3) A; atoms may lie outside the cell.
    cell
        (3, 3) A, rows are lattice vectors; rows of non-periodic directions are ignored and may be zero.
    pbc
        (3,) bool, or one bool for all.
    cutoff
        A.

    Raises
    ------
    InputError
        Positions or cell not finite, cutoff not positive, or periodic vectors zero or linearly dependent.
    """
    positions = np.ascontiguousarray(positions, dtype=np.float64).reshape(-1, 3)
    pbc = np.broadcast_to(np.asarray(pbc, dtype=bool), 3)
    if not (np.isfinite(cutoff) and cutoff > 0):
        raise InputError(f"cutoff is {cutoff}: give a positive length in A")
    if not np.isfinite(positions).all():
        atom = int(np.flatnonzero(~np.isfinite(positions).all(axis=1))[0])
        raise InputError(f"atom {atom} has position {positions[atom]}: positions must be finite numbers")
    box = complete_cell(positions, np.asarray(cell, dtype=np.float64).reshape(3, 3), pbc, cutoff)
    return _search(positions, box, pbc, cutoff)


def side_by_side(parts: Sequence[Edges]) -> Edges:
    """Put the edges of several frames into one list, atoms numbered on; without shifts."""
    offsets, neighbour, n_atoms, n_edges = [np.zeros(1, dtype=np.int64)], [], 0, 0
    for edges in parts:
        offsets.append(edges.offsets[1:] + n_edges)
        neighbour.append(edges.neighbour + n_atoms)
        n_atoms += edges.n_atoms
        n_edges += edges.n_edges
    return Edges(
        offsets=np.concatenate(offsets),
        neighbour=np.concatenate(neighbour),
        vectors=np.concatenate([edges.vectors for edges in parts]),
        shifts=None,
    )


def complete_cell(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> np.ndarray:
    """Return the cell with non-periodic rows replaced by orthogonal ones that hold all atoms."""
    if not np.isfinite(cell[pbc]).all():
        raise InputError(f"the cell has entries that are not finite: {cell.tolist()}")
    lengths = np.linalg.norm(cell, axis=1)
    for axis in np.flatnonzero(pbc & (lengths == 0)):
        raise InputError(f"direction {axis} is periodic but cell vector {axis} is zero: set the cell or its pbc")
    periodic = cell[pbc] / lengths[pbc, None]
    if pbc.all():
        volume = abs(np.linalg.det(periodic))
    else:
        volume = np.linalg.svd(periodic, compute_uv=False).prod() if pbc.any() else 1.0
    if volume < _FLAT:
        raise InputError(f"the periodic cell vectors {cell[pbc].tolist()} are linearly dependent: correct the cell")
    box = cell.copy()
    if pbc.all():
        return box
    # the last right-singular vectors are orthogonal to all periodic directions
    free = np.linalg.svd(periodic)[2][pbc.sum() :] if pbc.any() else np.eye(3)
    for axis, direction in zip(np.flatnonzero(~pbc), free, strict=True):
        extent = np.ptp(positions @ direction) if len(positions) else 0.0
        box[axis] = direction * (extent + 2 * cutoff)
    return box


def _search(positions: np.ndarray, box: np.ndarray, pbc: np.ndarray, cutoff: float) -> Edges:
    from vesin import NeighborList  # imported late: it loads torch where torch is installed

    n_atoms = len(positions)
    inside, turns = move_inside(positions, box, pbc)
    search = NeighborList(cutoff=cutoff, full_list=True)
    pairs, shifts, vectors = search.compute(inside, box, pbc, "PSD")
    pairs = pairs.astype(np.int64)
    # one sort by (centre, neighbour): sums over neighbours are then the same in every run
    order = np.argsort(pairs[:, 0] * n_atoms + pairs[:, 1], kind="stable")
    centre, neighbour = pairs[order].T
    shifts = shifts[order].astype(np.int64)
    if turns.any():  # the caller's atoms, not their images inside the cell
        shifts += turns[centre] - turns[neighbour]
    offsets = np.zeros(n_atoms + 1, dtype=np.int64)
    np.cumsum(np.bincount(centre, minlength=n_atoms), out=offsets[1:])
    return Edges(offsets=offsets, neighbour=neighbour.copy(), vectors=vectors[order], shifts=shifts)


def move_inside(positions: np.ndarray, box: np.ndarray, pbc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return positions inside the box, and the periodic vectors subtracted from each atom, (n_atoms, 3) int64.

    Along the other directions all atoms move together.
    """
    if not len(positions):
        return positions, np.zeros((0, 3), dtype=np.int64)
    fractional = positions @ np.linalg.inv(box)
    turns = np.where(pbc, np.floor(fractional), 0.0)
    origin = np.where(pbc, 0.0, fractional.min(axis=0))
    return positions - (turns + origin) @ box, turns.astype(np.int64)
