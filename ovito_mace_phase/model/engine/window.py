"""Features of the slabs that are still needed, in one array whose rows are re-used.

Row of sorted atom a of slab k: a - first_k + place_k, with place_k the slot the slab was given.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch


class Window:
    """Features of one layer.

    Parameters
    ----------
    bounds : (n_slabs + 1,) int64
        First sorted atom of each slab.
    n_slots : int
        Slabs held at once.
    widths : sequence of int
        Number of columns of each array, for example values and what the atoms send to the next layer.
    device, dtype
        Of the arrays.

    Attributes
    ----------
    arrays : list of Tensor
        (n_rows, width) each.
    """

    def __init__(
        self,
        bounds: npt.NDArray[np.int64],
        n_slots: int,
        widths: Sequence[int],
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> None:
        self._bounds = bounds
        self._rows = int(np.diff(bounds).max())
        self._free = list(range(n_slots))
        self._slot: dict[int, int] = {}
        self._delta = np.zeros(len(bounds) - 1, dtype=np.int64)
        self.arrays = [torch.empty(n_slots * self._rows, width, device=device, dtype=dtype) for width in widths]

    def claim(self, slab: int) -> slice:
        """Give a slab a place; return its rows."""
        slot = self._free.pop()
        self._slot[slab] = slot
        self._delta[slab] = slot * self._rows - self._bounds[slab]
        return self.slab_rows(slab)

    def release(self, slab: int) -> None:
        """Take the place back."""
        self._free.append(self._slot.pop(slab))

    def slab_rows(self, slab: int) -> slice:
        """Return the rows of a slab that is held."""
        first = self._slot[slab] * self._rows
        return slice(first, first + int(self._bounds[slab + 1] - self._bounds[slab]))

    def rows(self, atoms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the rows of sorted atoms of slabs that are held."""
        if len(self._delta) == 1:
            return atoms + self._delta[0] if self._delta[0] else atoms
        return atoms + self._delta[np.searchsorted(self._bounds, atoms, side="right") - 1]
