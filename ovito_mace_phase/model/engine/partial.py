"""Forward pass for some atoms of a frame: those asked for, and in the layers before the last what they need of others.

    last layer    the atoms asked for
    first layer   these and their neighbours                                    two layers

Exact: each of the atoms has the features that it has when the whole frame is evaluated (`sweep`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ovito_mace_phase.atoms.cell_grid import CellGrid
from ovito_mace_phase.atoms.some_pairs import pairs_of
from ovito_mace_phase.model.network.layers import first_layer, later_layer
from ovito_mace_phase.model.network.operations.protocol import BlockGraph, Operations
from ovito_mace_phase.runtime.errors import ModelFileError
from ovito_mace_phase.runtime.threads import BlockPool

from .evaluator import Evaluator

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Keep = Callable[[IntArray, npt.NDArray[np.float32], IntArray], None]
_LEAST = 64  # atoms that are not divided further


class Partial:
    """A network of two layers on some atoms of a frame.

    Parameters
    ----------
    grid : CellGrid
        All atoms of the frame, cut at r_max, network units.
    slots : (n_atoms,) int64
        Species slot of every atom, in the sorted order of the grid.
    evaluator : Evaluator
        On a CPU.
    pool : BlockPool
    budget : int
        Bytes for the features of the first layer; as many atoms are evaluated together as these allow.
    """

    def __init__(self, grid: CellGrid, slots: IntArray, evaluator: Evaluator, pool: BlockPool, budget: int) -> None:
        self.grid, self.evaluator, self.pool = grid, evaluator, pool
        self.most_held = budget // evaluator.bytes_per_atom(backward=False)
        self.present: list[int] = np.flatnonzero(np.bincount(slots)).tolist()
        self.slots = torch.from_numpy(slots)
        self._of_thread = threading.local()

    def run(self, wanted: IntArray, keep: Keep) -> None:
        """Evaluate some atoms.

        Parameters
        ----------
        wanted : (n,) int64
            Sorted numbers of atoms, ascending.
        keep : callable
            Called with the sorted numbers (n,) of a block, its logits (n, n_phases) float32 and the number of
            neighbours (n,), from several threads. The logits are overwritten by the next block.
        """
        parts = [wanted] if len(wanted) else []
        while parts:
            part = parts.pop()
            needed = self._needed(part)
            if len(needed) > self.most_held and len(part) > _LEAST:
                parts += np.array_split(part, 2)
            else:
                self._part(part, needed, keep)

    def _needed(self, wanted: IntArray) -> IntArray:
        """Return some atoms and their neighbours, ascending."""
        near = np.zeros(len(self.grid), dtype=bool)
        near[wanted] = True

        def look(block: IntArray) -> None:
            near[pairs_of(self.grid, block)[1]] = True

        for _ in self.pool.map(look, self._blocks(wanted)):
            pass
        return np.flatnonzero(near)

    def _part(self, wanted: IntArray, needed: IntArray, keep: Keep) -> None:
        weights, head = self.evaluator.weights, self.evaluator.head
        if head is None:
            raise ModelFileError("the model file holds a bare network without a phase head: train one")
        row = np.zeros(len(self.grid), dtype=np.int64)
        row[needed] = np.arange(len(needed))
        held = torch.empty(len(needed), self.evaluator.n_values, dtype=self.evaluator.dtype)
        up = torch.empty(len(needed), weights.config.n_channels, dtype=self.evaluator.dtype)

        def first(block: IntArray) -> None:
            with torch.inference_mode():
                graph = _graph(block, *pairs_of(self.grid, block))
                slots = self._slots_of(graph.index)
                layer = first_layer(self.operations, weights, graph, slots, self.slots[block], self.present)
                rows = row[block]
                held[rows] = layer.flatten(1)
                up[rows] = torch.mm(layer[:, 0], weights.layers[1].up)

        for _ in self.pool.map(first, self._blocks(needed)):
            pass

        def last(block: IntArray) -> None:
            with torch.inference_mode():
                offsets, neighbour, vectors = pairs_of(self.grid, block)
                graph = _graph(row[block], offsets, row[neighbour], vectors)
                own = held[row[block]]
                node = own[:, : weights.config.n_channels]
                mine = self.slots[block]
                layer = later_layer(self.operations, weights, 1, graph, up, node, mine).flatten(1)
                averaged = self.operations.means(
                    graph,
                    self._slots_of(torch.from_numpy(neighbour)),
                    mine,
                    held,
                    weights.config.r_max,
                    1 if len(self.present) == 1 else 2,
                )
                parts = [own, layer, *(part.contiguous() for part in averaged.unbind(1))]
                logits = head.logits(parts, len(self.present) == 1, self.operations.memory)
                keep(block, logits.float().numpy(), np.diff(offsets))

        for _ in self.pool.map(last, self._blocks(wanted)):
            pass

    @property
    def operations(self) -> Operations:
        """The operations for the calling thread."""
        if not hasattr(self._of_thread, "operations"):
            self._of_thread.operations = self.evaluator.operations.of_thread()
        return self._of_thread.operations

    def _blocks(self, atoms: IntArray) -> list[IntArray]:
        """Cut a list of atoms into blocks of nearly equal size, as many as fill the threads evenly."""
        count = -(-len(atoms) // self.evaluator.block_size)
        count = max(1, -(-count // self.pool.count) * self.pool.count)
        edges = np.linspace(0, len(atoms), count + 1).astype(int).tolist()
        return [atoms[a:b] for a, b in pairwise(edges) if b > a]

    def _slots_of(self, index: Tensor) -> Tensor:
        """Return the slots of neighbours, without looking them up where all are the same."""
        return self.slots[index] if len(self.present) > 1 else self.slots[:1].expand(len(index))


def _graph(own: IntArray, offsets: IntArray, neighbour: IntArray, vectors: FloatArray) -> BlockGraph:
    return BlockGraph(
        offsets=torch.from_numpy(offsets),
        index=torch.from_numpy(neighbour),
        vectors=torch.from_numpy(vectors),
        own=torch.from_numpy(own),
    )
