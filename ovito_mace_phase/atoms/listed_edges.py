"""A graph with a ready list of edges, used instead of a cell grid: for training on many small frames."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .neighbour_list import Edges

IntArray = npt.NDArray[np.int64]


class ListedEdges:
    """All atoms in one layer.

    Parameters
    ----------
    edges : Edges
        Of any number of frames side by side.
    first : (n_first,) int64, optional
        Atoms to put first in the order, distinct.

    Attributes
    ----------
    order : (n_atoms,) int64
        Sorted atom k is atom `order[k]` of the edges.
    """

    def __init__(self, edges: Edges, first: IntArray | None = None) -> None:
        self._edges = edges
        n_atoms = edges.n_atoms
        rest = np.ones(n_atoms, dtype=bool)
        ahead = np.zeros(0, dtype=np.int64) if first is None else np.asarray(first, dtype=np.int64)
        rest[ahead] = False
        self.order = np.concatenate([ahead, np.flatnonzero(rest)])
        self._place = np.empty(n_atoms, dtype=np.int64)
        self._place[self.order] = np.arange(n_atoms)
        self.shape = np.ones(3, dtype=np.int64)
        self.layers = np.array([0, n_atoms], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.order)

    def pairs(self, first: int, last: int) -> tuple[IntArray, IntArray, npt.NDArray[np.float64]]:
        """See `cell_grid.CellGrid.pairs`."""
        atoms = self.order[first:last]
        count = self._edges.offsets[atoms + 1] - self._edges.offsets[atoms]
        offsets = np.concatenate([[0], np.cumsum(count)])
        picked = np.repeat(self._edges.offsets[atoms] - offsets[:-1], count) + np.arange(offsets[-1])
        return offsets, self._place[self._edges.neighbour[picked]], self._edges.vectors[picked]

    def layers_around(self, first: int, last: int) -> IntArray:
        """See `cell_grid.CellGrid.layers_around`."""
        return np.arange(first, last)
