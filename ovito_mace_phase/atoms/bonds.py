"""Bonds: the nearest neighbours of every atom, up to 1.35 V^(1/3), V the volume per atom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.runtime.threads import BlockPool

from .cell_grid import CellGrid

Int32 = npt.NDArray[np.int32]
_ROWS = 4096
BOND = 1.35
"""Longest bond, in V^(1/3): 12 neighbours in fcc and hcp, 14 in bcc, 6 in simple cubic, 4 in diamond."""


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


def find_bonds(grid: CellGrid, cancelled: Callable[[], bool] | None = None) -> Bonds:
    """Return the bonds of a frame sorted into cells, cut at the longest bond.

    `cancelled` is asked between blocks; True raises `CancelledError`.
    """
    n_atoms = len(grid)
    if n_atoms == 0:
        return Bonds(
            order=np.zeros(0, dtype=np.int32),
            offsets=np.zeros(1, dtype=np.int64),
            neighbour=np.zeros(0, dtype=np.int32),
        )

    def work(first: int) -> tuple[npt.NDArray[np.int64], Int32]:
        offsets, neighbour, _ = grid.pairs(first, min(first + _ROWS, n_atoms))
        return np.diff(offsets), neighbour.astype(np.int32)

    with BlockPool(cancelled=cancelled) as pool:
        parts = list(pool.map(work, range(0, n_atoms, _ROWS)))
    offsets = np.zeros(n_atoms + 1, dtype=np.int64)
    np.cumsum(np.concatenate([count for count, _ in parts]), out=offsets[1:])
    neighbour = np.empty(offsets[-1], dtype=np.int32)
    parts.reverse()
    end = 0
    while parts:  # each is dropped once it is copied
        found = parts.pop()[1]
        neighbour[end : end + len(found)] = found
        end += len(found)
    return Bonds(order=grid.order.astype(np.int32), offsets=offsets, neighbour=neighbour)
