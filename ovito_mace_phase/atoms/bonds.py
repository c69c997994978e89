"""Bonds: the nearest neighbours of every atom, up to 1.35 V^(1/3), V the volume per atom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.runtime.compiling import COMPILED, kernel
from ovito_mace_phase.runtime.threads import BlockPool

from .cell_grid import CellGrid
from .frame import FloatArray
from .length_scale import TARGET_VOLUME

Int32 = npt.NDArray[np.int32]
_ROWS = 4096
BOND = 1.35
"""Longest bond, in V^(1/3): 12 neighbours in fcc and hcp, 14 in bcc, 6 in simple cubic, 4 in diamond."""
BOND_LENGTH = BOND * TARGET_VOLUME ** (1.0 / 3.0)
"""The same in network units."""


@dataclass(frozen=True, kw_only=True)
class Bonds:
    """Nearest neighbours of every atom, in an order in which atoms near each other are near in space.

    Attributes
    ----------
    order : (n_atoms,) int32
        Atom k of this order is atom `order[k]` of the frame.
    offsets : (n_atoms + 1,) int64
        The neighbours of k are `neighbour[offsets[k]:offsets[k + 1]]`.
    neighbour : (n_bonds,) int32
        In this order; every bond from both sides.
    """

    order: Int32
    offsets: npt.NDArray[np.int64]
    neighbour: Int32

    def __len__(self) -> int:
        return len(self.order)

    @property
    def nbytes(self) -> int:
        """Memory taken, bytes."""
        return self.order.nbytes + self.offsets.nbytes + self.neighbour.nbytes


class BondCollector:
    """Bonds out of edges that are found for something else, block by block.

    Parameters
    ----------
    grid : CellGrid
        The atoms, in network units, cut at no less than `BOND_LENGTH`.
    """

    def __init__(self, grid: CellGrid) -> None:
        self._order = grid.order
        self._parts: dict[int, tuple[Int32, Int32]] = {}

    def clear(self) -> None:
        """Forget what was collected: the frame is begun again, perhaps in other blocks."""
        self._parts.clear()

    def add(
        self, first: int, offsets: npt.NDArray[np.int64], neighbour: npt.NDArray[np.int64], vectors: FloatArray
    ) -> None:
        """Take the edges (`CellGrid.pairs`) of a block of sorted atoms from `first` on; safe from several threads."""
        count, found = np.empty(len(offsets) - 1, dtype=np.int32), np.empty(len(neighbour), dtype=np.int32)
        n_bonds = _shorter(offsets, neighbour, vectors, BOND_LENGTH, count, found)
        self._parts[first] = count, found[:n_bonds].copy()

    def bonds(self) -> Bonds:
        """Return the bonds, and forget the parts.

        Raises
        ------
        RuntimeError
            When blocks are missing.
        """
        parts = [self._parts[first] for first in sorted(self._parts)]
        self._parts.clear()
        n_known = sum(len(count) for count, _ in parts)
        if n_known != len(self._order):
            raise RuntimeError(f"edges of {n_known} atoms were collected, of {len(self._order)}")
        return _joined(self._order, parts)


def find_bonds(grid: CellGrid, cancelled: Callable[[], bool] | None = None) -> Bonds:
    """Return the bonds of a frame sorted into cells, cut at the longest bond.

    `cancelled` is asked between blocks; True raises `CancelledError`.
    """
    n_atoms = len(grid)
    if n_atoms == 0:
        return _joined(grid.order, [])

    def work(first: int) -> tuple[Int32, Int32]:
        offsets, neighbour, _ = grid.pairs(first, min(first + _ROWS, n_atoms))
        return np.diff(offsets).astype(np.int32), neighbour.astype(np.int32)

    with BlockPool(cancelled=cancelled) as pool:
        return _joined(grid.order, list(pool.map(work, range(0, n_atoms, _ROWS))))


def _joined(order: npt.NDArray[np.int64], parts: list[tuple[Int32, Int32]]) -> Bonds:
    """Put together the numbers of bonds and the neighbours of blocks of atoms, in their order; empties the list."""
    offsets = np.zeros(len(order) + 1, dtype=np.int64)
    if parts:
        np.cumsum(np.concatenate([count for count, _ in parts]), out=offsets[1:])
    neighbour = np.empty(offsets[-1], dtype=np.int32)
    parts.reverse()
    end = 0
    while parts:  # each is dropped once it is copied
        found = parts.pop()[1]
        neighbour[end : end + len(found)] = found
        end += len(found)
    return Bonds(order=order.astype(np.int32), offsets=offsets, neighbour=neighbour)


@kernel(**COMPILED)
def _shorter(offsets, neighbour, vectors, length, count, found):  # type: ignore[no-untyped-def]
    """Write the edges that are shorter, and how many each atom has; return how many these are."""
    square = length * length
    n_found = 0
    for atom in range(len(count)):
        before = n_found
        for edge in range(offsets[atom], offsets[atom + 1]):
            x, y, z = vectors[edge, 0], vectors[edge, 1], vectors[edge, 2]
            found[n_found] = neighbour[edge]
            n_found += x * x + y * y + z * z < square
        count[atom] = n_found - before
    return n_found
