"""The cut of a frame into slabs that fit the memory of a device, each with the atoms around it.

    slab S = layers [i, j) of cells;   layer t of the network is evaluated on S and (n_layers - 1 - t) reaches around it

The atoms of every such range follow each other in the sorted order, counted around the ring where the layered direction
is periodic. Layers around a slab are evaluated again for the next slab: a few per cent of the work, and nothing has to
be kept between slabs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ovito_mace_phase.model.network.operations.triton_operations import EdgeList, Rows

from .cells import DeviceGrid, sums_of


@dataclass(frozen=True, kw_only=True)
class Span:
    """Atoms `first` to `first + count - 1` of a ring of `ring` atoms."""

    first: int
    count: int
    ring: int

    @property
    def rows(self) -> Rows:
        """Where these atoms are in an array of their own."""
        return Rows(shift=self.first, ring=self.ring)

    def place(self, inner: Span) -> int:
        """Return the row of the first atom of another span that lies within this one."""
        return (inner.first - self.first) % self.ring if self.ring else 0

    def of(self, values: Tensor) -> Tensor:
        """Return the rows of these atoms of an array of all."""
        if self.first + self.count <= len(values):
            return values[self.first : self.first + self.count]
        return torch.cat([values[self.first :], values[: self.first + self.count - self.ring]])


@dataclass(frozen=True, kw_only=True)
class Slab:
    """One slab: `spans[t]` are the atoms on which layer t is evaluated, the last one the slab itself."""

    spans: tuple[Span, ...]
    n_edges: int
    """Edges of the atoms of the first span."""

    @property
    def inner(self) -> Span:
        """The slab itself."""
        return self.spans[-1]


class Cut:
    """A frame cut into as few slabs as fit the budget; at least a layer of cells each.

    Parameters
    ----------
    grid : DeviceGrid
    n_layers : int
        Of the network.
    per_atom, per_edge : int
        Bytes held for each atom of a slab and around it, and for each of their edges.
    budget : int
        Bytes.
    """

    def __init__(self, grid: DeviceGrid, n_layers: int, per_atom: int, per_edge: int, budget: int) -> None:
        self._grid, self._n_layers = grid, n_layers
        self.counts = grid.counts()
        offsets = sums_of(self.counts)
        each = grid.start[:: int(grid.shape[1] * grid.shape[2])].long()
        atoms, edges = torch.stack([each, offsets[each]]).cpu().numpy()  # the one wait of a frame
        self._atoms, self._edges = atoms, edges
        held = per_atom * np.diff(atoms).astype(np.float64) + per_edge * np.diff(edges).astype(np.float64)
        self.slabs = self._slabs(held, budget)

    def edges_of(self, slab: Slab, dtype: torch.dtype) -> EdgeList:
        """Return the edges of the atoms of a slab and around it."""
        span = slab.spans[0]
        return self._grid.edges(span.first, sums_of(span.of(self.counts)), slab.n_edges, dtype)

    def _slabs(self, held: npt.NDArray[np.float64], budget: int) -> list[Slab]:
        n, reach = len(held), int(self._grid.reach[0]) * (self._n_layers - 1)
        if held.sum() <= budget or n <= 2 * reach + 1:
            return [self._slab(0, n)]
        around = np.concatenate([held[-reach:], held, held[:reach]]) if reach else held
        total = np.concatenate([[0.0], np.cumsum(around)])
        slabs, first = [], 0
        while first < n:
            last = first + 1
            while last < n and total[last + 1 + 2 * reach] - total[first] <= budget:
                last += 1
            slabs.append(self._slab(first, last))
            first = last
        return slabs

    def _slab(self, first: int, last: int) -> Slab:
        spans, n_edges = [], 0
        for t in range(self._n_layers):
            spans.append(self._span(first, last, int(self._grid.reach[0]) * (self._n_layers - 1 - t)))
            if t == 0:
                n_edges = self._sum(first, last, int(self._grid.reach[0]) * (self._n_layers - 1))
        return Slab(spans=tuple(spans), n_edges=n_edges)

    def _range(self, first: int, last: int, more: int) -> tuple[int, int]:
        """Return first and last layer, the last perhaps beyond the number of layers."""
        n = len(self._atoms) - 1
        if last - first == n:
            return 0, n
        if not self._grid.periodic[0]:
            return max(0, first - more), min(n, last + more)
        if last - first + 2 * more >= n:
            return 0, n
        low = (first - more) % n
        return low, low + last - first + 2 * more

    def _span(self, first: int, last: int, more: int) -> Span:
        low, high = self._range(first, last, more)
        n, ring = len(self._atoms) - 1, int(self._atoms[-1])
        begin = int(self._atoms[low])
        end = int(self._atoms[high]) if high <= n else ring + int(self._atoms[high - n])
        return Span(first=begin, count=end - begin, ring=ring)

    def _sum(self, first: int, last: int, more: int) -> int:
        low, high = self._range(first, last, more)
        n = len(self._atoms) - 1
        end = self._edges[high] if high <= n else self._edges[-1] + self._edges[high - n]
        return int(end - self._edges[low])
