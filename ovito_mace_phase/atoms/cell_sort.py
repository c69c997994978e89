"""Atoms sorted by the cells of a box: a counting sort in pieces, for several threads at once.

    s_a = B^-1 r_a,   inside: s_a - floor(s_a) along periodic directions, s_a - min s along others
    cell = min(floor(s n), n - 1) along each direction,   rank of a cell: `rank_of`

Each piece of atoms counts its atoms of every cell; the sum over earlier cells, and over earlier pieces of the same
cell, is where they go. The order within a cell is that of the atoms, whatever the pieces.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from ovito_mace_phase.runtime.compiling import COMPILED, kernel
from ovito_mace_phase.runtime.threads import over_rows

STRIP = 4
"""Cells across a strip."""
_ROWS = 16384
_MOST_PIECES = 64
_MOST_COUNTS = 8  # numbers of all pieces together, per atom

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def sort_into_cells(
    positions: FloatArray, box: FloatArray, periodic: npt.NDArray[np.bool_], shape: IntArray
) -> tuple[FloatArray, IntArray, IntArray]:
    """Sort atoms by the cells they are in.

    Parameters
    ----------
    positions : (n_atoms, 3) float64
        Atoms may lie outside the box.
    box : (3, 3) float64
        Rows are vectors; along those that are not periodic the atoms move together, none below the origin.
    periodic : (3,) bool
    shape : (3,) int64
        Cells along each direction.

    Returns
    -------
    inside : (n_atoms, 3) float64
        Positions inside the box, in the sorted order.
    order : (n_atoms,) int64
        Sorted atom k is atom `order[k]` of the caller.
    start : (n_cells + 1,) int64
        First atom of each cell.
    """
    n_atoms, n_cells = len(positions), int(shape.prod())
    inverse = np.linalg.inv(box)
    origin = np.zeros(3)
    if n_atoms and not periodic.all():
        lowest = np.array(over_rows(lambda a, b: _lowest(positions, inverse, a, b), n_atoms, _ROWS)).min(axis=0)
        origin = np.where(periodic, 0.0, lowest)
    n_pieces = max(1, min(_MOST_PIECES, -(-n_atoms // _ROWS), _MOST_COUNTS * n_atoms // n_cells))
    size = max(1, -(-n_atoms // n_pieces))
    moved, rank = np.empty((n_atoms, 3)), np.empty(n_atoms, dtype=np.int32)
    counts = np.zeros((n_pieces, n_cells), dtype=np.int32)
    over_rows(
        lambda a, b: _count(positions, box, inverse, origin, periodic, shape, a, b, moved, rank, counts[a // size]),
        n_atoms,
        size,
    )
    start = np.empty(n_cells + 1, dtype=np.int64)
    _places(counts, start)
    inside, order = np.empty((n_atoms, 3)), np.empty(n_atoms, dtype=np.int64)
    over_rows(lambda a, b: _put(moved, rank, counts[a // size], a, b, inside, order), n_atoms, size)
    return inside, order, start


@numba.njit(**COMPILED, inline="always")
def rank_of(i, j, k, shape):
    """Place of cell (i, j, k) in the order: layer i, strip of j, k along the strip, j across it."""
    strip = j - j % STRIP
    return (i * shape[1] + strip) * shape[2] + k * min(STRIP, shape[1] - strip) + j % STRIP


@kernel(nogil=True, error_model="numpy")
def _lowest(positions, inverse, first, last):
    """Return the least coordinates along the vectors of the box, (3,)."""
    least = np.full(3, np.inf)
    for atom in range(first, last):
        x, y, z = positions[atom, 0], positions[atom, 1], positions[atom, 2]
        for d in range(3):
            least[d] = min(least[d], x * inverse[0, d] + y * inverse[1, d] + z * inverse[2, d])
    return least


@kernel(nogil=True, error_model="numpy")
def _count(  # noqa: PLR0913 - compiled, see kernels*.py in pyproject.toml
    positions, box, inverse, origin, periodic, shape, first, last, moved, rank, counts
):
    """Write positions inside the box and the rank of their cells, and count the atoms of each cell."""
    back, cell = np.empty(3), np.empty(3, dtype=np.int64)
    for atom in range(first, last):
        x, y, z = positions[atom, 0], positions[atom, 1], positions[atom, 2]
        for d in range(3):
            back[d] = origin[d]
            if periodic[d]:
                back[d] = np.floor(x * inverse[0, d] + y * inverse[1, d] + z * inverse[2, d])
        x -= back[0] * box[0, 0] + back[1] * box[1, 0] + back[2] * box[2, 0]
        y -= back[0] * box[0, 1] + back[1] * box[1, 1] + back[2] * box[2, 1]
        z -= back[0] * box[0, 2] + back[1] * box[1, 2] + back[2] * box[2, 2]
        for d in range(3):
            along = (x * inverse[0, d] + y * inverse[1, d] + z * inverse[2, d]) * shape[d]
            cell[d] = min(max(np.int64(along), 0), shape[d] - 1)
        moved[atom, 0], moved[atom, 1], moved[atom, 2] = x, y, z
        place = rank_of(cell[0], cell[1], cell[2], shape)
        rank[atom] = place
        counts[place] += 1


@kernel(nogil=True, error_model="numpy")
def _places(counts, start):
    """Write the first atom of each cell, and in place of the counts where the atoms of each piece go."""
    at = 0
    for cell in range(counts.shape[1]):
        start[cell] = at
        for piece in range(counts.shape[0]):
            here = counts[piece, cell]
            counts[piece, cell] = at
            at += here
    start[counts.shape[1]] = at


@kernel(nogil=True, error_model="numpy")
def _put(moved, rank, places, first, last, inside, order):
    """Write the atoms of a piece to their places."""
    for atom in range(first, last):
        place = places[rank[atom]]
        places[rank[atom]] += 1
        order[place] = atom
        inside[place, 0], inside[place, 1], inside[place, 2] = moved[atom, 0], moved[atom, 1], moved[atom, 2]
