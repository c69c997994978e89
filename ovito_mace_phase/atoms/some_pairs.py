"""Edges of some atoms of a grid, and which atoms they go to."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .cell_grid import CellGrid

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


def pairs_of(grid: CellGrid, atoms: IntArray) -> tuple[IntArray, IntArray, FloatArray]:
    """Return the edges of some sorted atoms (n,), ascending numbers, as `CellGrid.pairs` does those of a range."""
    ends = np.flatnonzero(np.diff(atoms) != 1) + 1
    firsts, lasts = atoms[np.append(0, ends)], atoms[np.append(ends - 1, len(atoms) - 1)] + 1
    found = [grid.pairs(int(a), int(b)) for a, b in zip(firsts, lasts, strict=True)]
    if len(found) == 1:
        return found[0]
    counts = np.concatenate([np.diff(offsets) for offsets, _, _ in found])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return offsets, np.concatenate([one for _, one, _ in found]), np.concatenate([one for _, _, one in found])
