"""Prior of the surroundings: beforehand an atom is of the phases that it and its nearest neighbours are of.

    p0[a, c] = softmax_c(l[a, c] / T)
    w[a, c]  = mean of p[b, c] over a and its bonded neighbours b          bond: shorter than 1.35 V^(1/3), V per atom
    p[a, c]  ~ p0[a, c] (w[a, c] + floor)                                  N_SWEEPS times, starting with p = p0
    label    = argmax_c p
    confidence = mean of p0[b, label] over a and those of its neighbours that have its label

Crystals come in regions: of two phases that an atom's own logits hardly tell apart it is more likely of the one around
it. A layer of a twin, or a nucleus of some atoms, supports itself, which it cannot do against the whole frame
(`prior.py`). The confidence is not p: the errors of neighbours are not independent, a crystal that the model mistakes
it mistakes everywhere, and p would be near one.
Source: Besag, J. R. Stat. Soc. B 48 (1986) 259, for labels that depend on those of the neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .threads import BlockPool, over_rows

if TYPE_CHECKING:
    from .frame import Frame
    from .model import Units

BOND = 1.35
"""Longest bond, in V^(1/3): 12 neighbours in fcc and hcp, 14 in bcc, 6 in simple cubic, 4 in diamond."""
N_SWEEPS = 5
N_RIVALS = 4
"""So many of the best phases of an atom are looked at."""
_FLOOR = 1e-7  # a phase that none of the neighbours holds
_ROWS = 4096

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]


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


def find_bonds(frame: Frame, units: Units, cancelled: Callable[[], bool] | None = None) -> Bonds:
    """Return the bonds of a frame whose lengths `units.factor` turns into network units.

    `cancelled` is asked between blocks; True raises `CancelledError`.
    """
    from .cell_grid import make_grid  # here, since the panel opens without numba
    from .lengths import TARGET_VOLUME

    n_atoms = len(frame)
    if n_atoms == 0:
        return Bonds(
            order=np.zeros(0, dtype=np.int32),
            offsets=np.zeros(1, dtype=np.int64),
            neighbour=np.zeros(0, dtype=np.int32),
        )
    reach = BOND * TARGET_VOLUME ** (1.0 / 3.0)
    grid = make_grid(frame.positions * units.factor, frame.cell * units.factor, frame.pbc, reach)

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


def local_labels(
    columns: npt.NDArray[np.int16], probability: Float32, bonds: Bonds
) -> tuple[npt.NDArray[np.int64], Float32]:
    """Return label and confidence of every atom.

    Parameters
    ----------
    columns : (n_atoms, n_best) int16
        The best phases of each atom; others count as impossible.
    probability : (n_atoms, n_best) float32
        p0 of those.
    bonds : Bonds

    Returns
    -------
    place : (n_atoms,) int64
        The label of atom a is `columns[a, place[a]]`.
    confidence : (n_atoms,) float32
    """
    from .readout_kernels import agreement, spread

    held, own = columns[bonds.order], probability[bonds.order]
    present = own.copy()
    for _ in range(N_SWEEPS):
        following = np.empty_like(present)
        over_rows(
            lambda a, b: spread(held, own, present, bonds.offsets, bonds.neighbour, _FLOOR, a, b, following),  # noqa: B023 - used up at once
            len(bonds),
            _ROWS,
        )
        present = following
    best = present.argmax(axis=1)
    sure = np.empty(len(bonds), dtype=np.float32)
    over_rows(lambda a, b: agreement(held, own, best, bonds.offsets, bonds.neighbour, a, b, sure), len(bonds), _ROWS)
    place, confidence = np.empty_like(best), np.empty_like(sure)
    place[bonds.order], confidence[bonds.order] = best, sure
    return place, confidence
