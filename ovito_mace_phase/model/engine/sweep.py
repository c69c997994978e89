"""Forward pass of a frame of any size; what the head reads of each block goes to a consumer and is forgotten.

    for step in schedule:  forward: layer t of a slab, block by block, into the window of layer t
                           last:    last layer and means of a slab, block by block, to the consumer

Exact for any cut into slabs and blocks: every layer of every atom is evaluated once, from all its neighbours.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ovito_mace_phase.atoms.bonds import BondCollector
from ovito_mace_phase.atoms.cell_grid import CellGrid
from ovito_mace_phase.atoms.listed_edges import ListedEdges
from ovito_mace_phase.model.network.layers import first_layer, later_layer
from ovito_mace_phase.model.network.operations.memory import Memory
from ovito_mace_phase.model.network.operations.protocol import BlockGraph, Operations
from ovito_mace_phase.runtime.threads import BlockPool

from .evaluator import Evaluator
from .schedule import Step, most_held, schedule
from .window import Window

_LAST_WEIGHT = 3.0  # of the last layer and the head in the progress, by time
_TINY = 16  # atoms
_SPARE_SLOTS = 5  # slabs held at once, by `schedule`, in a periodic frame and two layers


class Slabs:
    """The cut of a frame: `bounds` (n_slabs + 1,) first atoms; `around(k)` slabs with neighbours of slab k."""

    def __init__(self, grid: CellGrid | ListedEdges, most_atoms: int) -> None:
        layers = [0]
        for layer in range(1, int(grid.shape[0]) + 1):
            if grid.layers[layer] - grid.layers[layers[-1]] > most_atoms and layer - 1 > layers[-1]:
                layers.append(layer - 1)
        layers.append(int(grid.shape[0]))
        self._layers = np.array(layers, dtype=np.int64)
        self._grid = grid
        self.bounds = grid.layers[self._layers]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def around(self, slab: int) -> list[int]:
        """Return the slabs that hold neighbours of the atoms of a slab, itself among them."""
        found = self._grid.layers_around(int(self._layers[slab]), int(self._layers[slab + 1]))
        return np.unique(np.searchsorted(self._layers, found, side="right") - 1).tolist()

    def blocks(self, slab: int, size: int, stop: int, n_threads: int = 1) -> list[tuple[int, int]]:
        """Return (first, last) of the blocks of a slab, of nearly equal size, up to atom `stop`.

        As many as fill the threads evenly, unless that makes them tiny.
        """
        first, last = int(self.bounds[slab]), min(int(self.bounds[slab + 1]), stop)
        count = max(0, -(-(last - first) // size))
        if last - first >= _TINY * n_threads:
            count = -(-count // n_threads) * n_threads
        edges = np.linspace(first, last, count + 1).astype(int).tolist() if count else []
        return list(pairwise(edges))


def cut(grid: CellGrid | ListedEdges, evaluator: Evaluator, budget: int, *, backward: bool = False) -> Slabs:
    """Cut a frame into as few slabs as the memory budget (bytes) allows; at least a layer of cells each."""
    atoms = max(1, budget // evaluator.bytes_per_atom(backward=backward))
    return Slabs(grid, len(grid) if len(grid) <= atoms else max(1, atoms // _SPARE_SLOTS))


class Sweep:
    """One forward pass.

    Parameters
    ----------
    grid : CellGrid or ListedEdges
        Atoms sorted into cells, cut at r_max, network units.
    slots : (n_atoms,) int64
        Species slot of every atom, in the sorted order of the grid.
    evaluator : Evaluator
    slabs : Slabs
    pool : BlockPool
    progress : callable, optional
        Called with the fraction done.
    n_wanted : int, optional
        Evaluate the last layer for the first atoms of the order only; default all.
    bonds : BondCollector, optional
        Is handed the edges of the first layer: those of every atom, each once.
    """

    backward = False

    def __init__(
        self,
        grid: CellGrid | ListedEdges,
        slots: npt.NDArray[np.int64],
        evaluator: Evaluator,
        slabs: Slabs,
        pool: BlockPool,
        progress: Callable[[float], None] | None = None,
        n_wanted: int | None = None,
        bonds: BondCollector | None = None,
    ) -> None:
        self.grid, self.evaluator, self.slabs, self.pool, self._progress = grid, evaluator, slabs, pool, progress
        config = evaluator.weights.config
        self.n_layers = config.n_layers
        self.present: list[int] = np.flatnonzero(np.bincount(slots)).tolist()
        self.slots = torch.from_numpy(slots).to(evaluator.device)
        self.steps: list[Step] = schedule(len(slabs), self.n_layers, slabs.around, backward=self.backward)
        widths = (evaluator.n_values, config.n_channels) * (2 if self.backward else 1)
        self.windows = [
            Window(slabs.bounds, most_held(self.steps, t), widths, evaluator.device, evaluator.dtype)
            for t in range(self.n_layers - 1)
        ]
        self._bonds = bonds
        self._n_wanted = len(grid) if n_wanted is None else n_wanted
        self._of_thread = threading.local()
        self._done = 0.0
        self._total = len(grid) * (self.n_layers - 1) + self._n_wanted * _LAST_WEIGHT

    def run(self, consume: Callable[[int, int, list[Tensor], npt.NDArray[np.int64], Memory], None]) -> None:
        """Evaluate the frame.

        Parameters
        ----------
        consume : callable
            Called with first and last sorted atom of a block, parts (n, n_values) of the features, number of
            neighbours (n,) and the memory for what it makes of them, in inference mode, from the threads of the pool,
            several at once. The parts are overwritten by the next block.
        """

        def last(block: tuple[int, int]) -> None:
            with torch.inference_mode():
                graph, neighbour = self._edges(*block)
                parts = self._features(block, graph, neighbour)
                consume(*block, parts, np.diff(graph.offsets.cpu().numpy()), self.operations.memory)

        for kind, t, slab in self.steps:
            if kind == "forward":
                self.windows[t].claim(slab)
                self._each(slab, partial(self._forward, t), 1.0, len(self.grid))
            elif kind == "last":
                self._each(slab, last, _LAST_WEIGHT, self._n_wanted)
            elif kind == "release":
                self.windows[t].release(slab)

    @property
    def operations(self) -> Operations:
        """The operations for the calling thread: without gradients those that use their memory again."""
        if torch.is_grad_enabled():
            return self.evaluator.operations
        if not hasattr(self._of_thread, "operations"):
            self._of_thread.operations = self.evaluator.operations.of_thread()
        return self._of_thread.operations

    def _each(self, slab: int, work: Callable[[tuple[int, int]], None], weight: float, stop: int) -> None:
        """Work on the blocks of a slab, up to atom `stop`, in the pool and report."""
        blocks = self.slabs.blocks(slab, self.evaluator.block_size, stop, self.pool.count)
        for (first, last), _ in zip(blocks, self.pool.map(work, blocks), strict=True):
            self._report(weight * (last - first))

    def _report(self, amount: float) -> None:
        self._done += amount
        if self._progress is not None:
            self._progress(min(1.0, self._done / self._total))

    def _edges(self, first: int, last: int) -> tuple[BlockGraph, npt.NDArray[np.int64]]:
        """Edges of a block, and the sorted numbers of the neighbours; `index` and `own` of the graph are these too."""
        offsets, neighbour, vectors = self.grid.pairs(first, last)
        device = self.evaluator.device
        graph = BlockGraph(
            offsets=torch.from_numpy(offsets).to(device),
            index=torch.from_numpy(neighbour).to(device),
            vectors=torch.from_numpy(vectors).to(device),
            own=torch.arange(first, last, device=device),
        )
        return graph, neighbour

    def _forward(self, t: int, block: tuple[int, int]) -> None:
        """Layer t (0 is the first) of a block, into its window."""
        with torch.inference_mode():
            graph, neighbour = self._edges(*block)
            if t == 0 and self._bonds is not None:
                self._bonds.add(block[0], graph.offsets.cpu().numpy(), neighbour, graph.vectors.cpu().numpy())
            layer = self.first_layer(graph) if t == 0 else self._later_layer(t, block, graph, neighbour)
            rows = self._own_rows(t, block)
            self.windows[t].arrays[0][rows] = layer.flatten(1)
            torch.mm(layer[:, 0], self.evaluator.weights.layers[t + 1].up, out=self.windows[t].arrays[1][rows])

    def first_layer(self, graph: BlockGraph) -> Tensor:
        """Features of the first layer of a block, (n_centres, l_max + 2, C)."""
        neighbours, mine = self._slots_of(graph.index), self.slots[graph.own]
        return first_layer(self.operations, self.evaluator.weights, graph, neighbours, mine, self.present)

    def _slots_of(self, index: Tensor) -> Tensor:
        """Return the slots of neighbours, without looking them up where all are the same."""
        return self.slots[index] if len(self.present) > 1 else self.slots[:1].expand(len(index))

    def _later_layer(
        self, t: int, block: tuple[int, int], graph: BlockGraph, neighbour: npt.NDArray[np.int64]
    ) -> Tensor:
        window = self.windows[t - 1]
        node = window.arrays[0][self._own_rows(t - 1, block)][:, : self.evaluator.weights.config.n_channels]
        return later_layer(
            self.operations,
            self.evaluator.weights,
            t,
            self._in_window(t - 1, graph, neighbour),
            window.arrays[1],
            node,
            self.slots[graph.own],
        )

    def _features(self, block: tuple[int, int], graph: BlockGraph, neighbour: npt.NDArray[np.int64]) -> list[Tensor]:
        """All that the head reads of a block: (n_centres, n_values) of each layer, then of the means of the first."""
        held = [self.windows[t].arrays[0][self._own_rows(t, block)] for t in range(self.n_layers - 1)]
        last = self._later_layer(self.n_layers - 1, block, graph, neighbour).flatten(1)
        averaged = self.operations.means(
            self._in_window(0, graph, neighbour),
            self._slots_of(graph.index),
            self.slots[graph.own],
            self.windows[0].arrays[0],
            self.evaluator.weights.config.r_max,
            1 if len(self.present) == 1 else 2,
        )
        return [*held, last, *(part.contiguous() for part in averaged.unbind(1))]

    def _own_rows(self, t: int, block: tuple[int, int]) -> slice:
        """Rows of the atoms of a block in the window of layer t."""
        first = int(self.windows[t].rows(np.array([block[0]]))[0])
        return slice(first, first + block[1] - block[0])

    def _in_window(self, t: int, graph: BlockGraph, neighbour: npt.NDArray[np.int64]) -> BlockGraph:
        """Return the graph with rows of the window of layer t."""
        device = self.evaluator.device
        first, count = int(graph.own[0]), len(graph.own)
        own = self._own_rows(t, (first, first + count))
        return dataclasses.replace(
            graph,
            index=torch.from_numpy(self.windows[t].rows(neighbour)).to(device),
            own=torch.arange(own.start, own.stop, device=device),
        )
