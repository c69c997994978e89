"""Atoms sorted into cells, and the edges of any range of them: neighbour lists of a frame in pieces.

    cell of atom a = floor(s_a n),   s_a its fractional coordinates, n_d = floor(height_d / cutoff) cells along d
    edges of a: atoms of the cells within reach, every periodic image counted, |r_b + shift - r_a| < cutoff

The sorted order runs layer by layer along the longest direction, so that the neighbours of a layer of cells are in the
next layers; and within a layer in strips, so that atoms near each other in the order are near each other in space.
Works for any cell and any periodicity, also where the cell is smaller than the cutoff. Differences are taken in
float64.

`neighbour_list.neighbour_list` gives the same edges for a whole frame by a library; this one is for frames whose edges
do not fit in memory, and five to ten times faster.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from ovito_mace_phase.runtime.compiling import COMPILED, kernel

from .cell_sort import STRIP, rank_of, sort_into_cells
from .neighbour_list import complete_cell

_MOST_CELLS = 1 << 24
_MARGIN = 1.0 + 1e-9  # cells a little larger than the cutoff, against rounding of the coordinates

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class CellGrid:
    """Sorted atoms of a frame.

    Attributes
    ----------
    cutoff : float
    positions : (n_atoms, 3) float64
        In sorted order, moved inside the cell.
    order : (n_atoms,) int64
        Sorted atom k is atom `order[k]` of the caller.
    box : (3, 3) float64
        Rows are lattice vectors, the layered direction first.
    shape, reach : (3,) int64
        Cells along each direction; cells to look at on either side.
    periodic : (3,) bool
    start : (n_cells + 1,) int64
        First atom of each cell, cells in sorted order.
    layers : (shape[0] + 1,) int64
        First atom of each layer of cells.
    """

    cutoff: float
    positions: FloatArray
    order: IntArray
    box: FloatArray
    shape: IntArray
    reach: IntArray
    periodic: npt.NDArray[np.bool_]
    start: IntArray
    layers: IntArray

    def __len__(self) -> int:
        return len(self.positions)

    def pairs(self, first: int, last: int) -> tuple[IntArray, IntArray, FloatArray]:
        """Return the edges of the sorted atoms `first` to `last - 1`.

        Returns
        -------
        offsets : (last - first + 1,) int64
        neighbour : (n_edges,) int64
            Sorted numbers of the neighbours.
        vectors : (n_edges, 3) float64
            Neighbour minus centre.
        """
        given = (self.positions, self.box, self.shape, self.reach, self.periodic, self.start, self.cutoff, first, last)
        capacity = 128 * (last - first) + 1024
        while True:
            offsets = np.zeros(last - first + 1, dtype=np.int64)
            neighbour = np.empty(capacity, dtype=np.int64)
            vectors = np.empty((capacity, 3), dtype=np.float64)
            needed = _find_pairs(*given, offsets, neighbour, vectors)
            if needed <= capacity:
                return offsets, neighbour[:needed], vectors[:needed]
            capacity = needed

    def layers_around(self, first: int, last: int) -> IntArray:
        """Return the layers that hold neighbours of the layers `first` to `last - 1`, ascending."""
        found = np.arange(first - self.reach[0], last + self.reach[0])
        if self.periodic[0]:
            return np.unique(found % self.shape[0])
        return found[(found >= 0) & (found < self.shape[0])]


def make_grid(positions: FloatArray, cell: FloatArray, pbc: npt.NDArray[np.bool_], cutoff: float) -> CellGrid:
    """Sort atoms into cells.

    Parameters
    ----------
    positions : (n_atoms, 3) float64
        Atoms may lie outside the cell.
    cell : (3, 3) float64
        Rows are lattice vectors; those of non-periodic directions are ignored and may be zero.
    pbc : (3,) bool
    cutoff : float

    Raises
    ------
    InputError
        When the cell is degenerate along periodic directions.
    """
    positions = np.ascontiguousarray(positions, dtype=np.float64)
    pbc = np.asarray(pbc, dtype=bool)
    box = complete_cell(positions, np.asarray(cell, dtype=np.float64), pbc, cutoff)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(box), axis=0)
    axes = np.argsort(-heights, kind="stable")
    box, pbc, heights = np.ascontiguousarray(box[axes]), pbc[axes], heights[axes]
    shape = cells_along(heights, cutoff, len(positions))
    reach = np.ceil(cutoff * shape / heights).astype(np.int64)
    inside, order, start = sort_into_cells(positions, box, pbc, shape)
    return CellGrid(
        cutoff=float(cutoff),
        positions=inside,
        order=order,
        box=box,
        shape=shape,
        reach=reach,
        periodic=pbc,
        start=start,
        layers=start[:: int(shape[1] * shape[2])].copy(),
    )


def cells_along(heights: FloatArray, cutoff: float, n_atoms: int) -> IntArray:
    """Cells along each direction: no smaller than the cutoff, and not many more than atoms (gas in a large box)."""
    most = min(_MOST_CELLS, 8 * n_atoms + 64)
    wanted = np.maximum(1.0, np.floor(heights / (cutoff * _MARGIN)))
    if wanted.prod() > most:
        wanted = np.maximum(1.0, np.floor(wanted * (most / wanted.prod()) ** (1.0 / 3.0)))
        while wanted.prod() > most:  # directions already down to one cell
            wanted[np.argmax(wanted)] = max(1.0, wanted.max() // 2)
    return wanted.astype(np.int64)


@numba.njit(**COMPILED, inline="always")
def _wrap(place, count, periodic):
    """Cell number inside the box and lattice vectors passed; -1 for a cell that does not exist."""
    turns = place // count
    if turns != 0 and not periodic:
        return -1, 0
    return place - turns * count, turns


@kernel(**COMPILED)
def _find_pairs(  # noqa: PLR0913 - compiled, see kernels*.py in pyproject.toml
    positions, box, shape, reach, periodic, start, cutoff, first, last, offsets, neighbour, vectors
):
    """Write the edges; return how many there are, even when the arrays are too small for them.

    The atoms of a cell share their candidates: those of the cells within reach that lie within the cutoff of the box
    around the cell's own atoms, gathered once, x, y and z apart, so that the distances to an atom are one vectorised
    loop.
    """
    square = cutoff * cutoff
    capacity = len(neighbour)
    found = 0
    images = (2 * reach[0] + 1) * (2 * reach[1] + 1) * (2 * reach[2] + 1)
    begin, end = np.empty(images, dtype=np.int64), np.empty(images, dtype=np.int64)
    shift = np.empty((images, 3), dtype=np.float64)
    place = np.empty((3, 0), dtype=np.float64)
    number, hit = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    distance = np.empty(0, dtype=np.float64)
    cell = np.searchsorted(start, first, side="right") - 1
    offsets[0] = 0
    atom = first
    while atom < last:
        while start[cell + 1] <= atom:
            cell += 1
        n_images, home = _images(cell, box, shape, reach, periodic, start, begin, end, shift)
        total = 1
        for image in range(n_images):
            total += end[image] - begin[image]
        if total > len(number):
            place = np.empty((3, 2 * total), dtype=np.float64)
            number, hit = np.empty(2 * total, dtype=np.int64), np.empty(2 * total, dtype=np.int64)
            distance = np.empty(2 * total, dtype=np.float64)
        n_near, own = _gather(
            positions, start[cell], start[cell + 1], square, n_images, home, begin, end, shift, place, number
        )
        stop = min(last, start[cell + 1])
        for centre in range(atom, stop):
            x, y, z = positions[centre, 0], positions[centre, 1], positions[centre, 2]
            for m in range(n_near):
                dx, dy, dz = place[0, m] - x, place[1, m] - y, place[2, m] - z
                distance[m] = dx * dx + dy * dy + dz * dz
            distance[own + centre - start[cell]] = square
            hits = 0
            for m in range(n_near):
                hit[hits] = m
                hits += distance[m] < square
            if found + hits <= capacity:
                for h in range(hits):
                    m = hit[h]
                    neighbour[found + h] = number[m]
                    vectors[found + h, 0] = place[0, m] - x
                    vectors[found + h, 1] = place[1, m] - y
                    vectors[found + h, 2] = place[2, m] - z
            found += hits
            offsets[centre - first + 1] = found
        atom = stop
    return found


@numba.njit(**COMPILED)
def _images(cell, box, shape, reach, periodic, start, begin, end, shift):
    """Write the atoms of the cells within reach of a cell that are not empty, and how far they are shifted.

    Returns
    -------
    n_images : int
    home : int
        Which of them is the cell itself.
    """
    layer_cells = shape[1] * shape[2]
    i = cell // layer_cells
    rest = cell - i * layer_cells
    strip = rest // (STRIP * shape[2])
    rest -= strip * STRIP * shape[2]
    width = min(STRIP, shape[1] - strip * STRIP)
    k = rest // width
    j = strip * STRIP + rest - k * width
    n_images, home = 0, -1
    for di in range(-reach[0], reach[0] + 1):
        ci, ti = _wrap(i + di, shape[0], periodic[0])
        if ci < 0:
            continue
        for dj in range(-reach[1], reach[1] + 1):
            cj, tj = _wrap(j + dj, shape[1], periodic[1])
            if cj < 0:
                continue
            for dk in range(-reach[2], reach[2] + 1):
                ck, tk = _wrap(k + dk, shape[2], periodic[2])
                if ck < 0:
                    continue
                other = rank_of(ci, cj, ck, shape)
                if start[other] == start[other + 1]:
                    continue
                begin[n_images], end[n_images] = start[other], start[other + 1]
                for d in range(3):
                    shift[n_images, d] = ti * box[0, d] + tj * box[1, d] + tk * box[2, d]
                if ti == 0 and tj == 0 and tk == 0 and other == cell:
                    home = n_images
                n_images += 1
    return n_images, home


@numba.njit(**COMPILED)
def _gather(positions, first, last, square, n_images, home, begin, end, shift, place, number):  # noqa: PLR0913
    """Write places and numbers of the atoms of some images within the cutoff of the box around the atoms of a cell.

    Returns
    -------
    n_near : int
    own : int
        Where the cell's own atoms begin among them; none of these is left out.
    """
    low, high = np.empty(3), np.empty(3)
    for d in range(3):
        low[d] = high[d] = positions[first, d]
        for atom in range(first + 1, last):
            low[d] = min(low[d], positions[atom, d])
            high[d] = max(high[d], positions[atom, d])
    n_near, own = 0, 0
    x_low, y_low, z_low, x_high, y_high, z_high = low[0], low[1], low[2], high[0], high[1], high[2]
    limit = square * _MARGIN
    for image in range(n_images):
        if image == home:
            own = n_near
        x_shift, y_shift, z_shift = shift[image, 0], shift[image, 1], shift[image, 2]
        for other in range(begin[image], end[image]):
            x, y, z = positions[other, 0] + x_shift, positions[other, 1] + y_shift, positions[other, 2] + z_shift
            dx = max(x_low - x, x - x_high, 0.0)
            dy = max(y_low - y, y - y_high, 0.0)
            dz = max(z_low - z, z - z_high, 0.0)
            place[0, n_near], place[1, n_near], place[2, n_near] = x, y, z
            number[n_near] = other
            n_near += dx * dx + dy * dy + dz * dz < limit
    return n_near, own


@kernel(**COMPILED)
def nearest_cubes(offsets, neighbour, vectors, k, first, total, count, shortest, partner):
    """Measure the neighbourhoods of the atoms from `first` on.

    Writes the sum of the cubed distances to the k nearest neighbours, the number of neighbours, the least squared
    distance and the neighbour it belongs to.
    """
    squares = np.empty(64, dtype=np.float64)
    for centre in range(len(offsets) - 1):
        begin, held = offsets[centre], offsets[centre + 1] - offsets[centre]
        count[first + centre] = held
        if held > len(squares):
            squares = np.empty(2 * held, dtype=np.float64)
        least = np.inf
        for m in range(held):
            x, y, z = vectors[begin + m, 0], vectors[begin + m, 1], vectors[begin + m, 2]
            squares[m] = x * x + y * y + z * z
            least = min(least, squares[m])
        if least < shortest[first + centre]:
            nearest = 0
            while squares[nearest] > least:
                nearest += 1
            shortest[first + centre], partner[first + centre] = least, neighbour[begin + nearest]
        if held > 2 * k:
            _split(squares, held, k)
            held = k
        while held > k:  # a few too many: the largest goes
            most = squares[0]
            for m in range(1, held):
                most = max(most, squares[m])
            held -= 1
            last = squares[held]
            for m in range(held):
                if squares[m] == most:
                    squares[m] = last
                    break
        cubes = 0.0
        for m in range(held):
            cubes += squares[m] * np.sqrt(squares[m])
        total[first + centre] = cubes


@numba.njit(**COMPILED)
def _split(values, n, k):
    """Move the k smallest of the first n values to the front: quickselect, k < n."""
    low, high = 0, n - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k - 1 <= j:
            high = j
        elif k - 1 >= i:
            low = i
        else:
            return
