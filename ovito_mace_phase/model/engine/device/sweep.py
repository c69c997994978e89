"""Forward pass of a frame on a device: slab by slab, within a slab layer by layer, block by block.

    edges of the slab and around it -> layer 1 -> ... -> last layer, means -> what the head reads, to a consumer

Nothing waits for the device, so that the host runs ahead of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ovito_mace_phase.model.engine.evaluator import Evaluator
from ovito_mace_phase.model.network.layers import NetworkWeights, linear_messages
from ovito_mace_phase.model.network.operations.triton_operations import (
    EdgeList,
    launch_contract,
    launch_contract_message,
    launch_convolve,
    launch_invariants,
    launch_means,
)
from ovito_mace_phase.runtime.errors import CancelledError

from .cells import DeviceGrid
from .slabs import Cut, Slab, Span


@dataclass(frozen=True, kw_only=True)
class DeviceFrame:
    """A frame as the sweep reads it.

    Attributes
    ----------
    grid : DeviceGrid
        Cut at r_max, network units.
    slots : (n_atoms,) int32
        In the sorted order of the grid.
    present : tuple of int
        Slots that occur.
    """

    grid: DeviceGrid
    slots: Tensor
    present: tuple[int, ...]


Consume = Callable[[int, int, list[Tensor]], None]


class DeviceSweep:
    """One forward pass.

    Parameters
    ----------
    frame : DeviceFrame
    evaluator : Evaluator
    budget : int
        Bytes for what a slab holds.
    progress : callable, optional
        Called with the fraction handed to the device.
    cancelled : callable, optional
        Asked between blocks; True stops with `CancelledError`.
    """

    backward = False

    def __init__(
        self,
        frame: DeviceFrame,
        evaluator: Evaluator,
        budget: int,
        progress: Callable[[float], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self.frame, self.evaluator, self._progress, self._cancelled = frame, evaluator, progress, cancelled
        self.weights: NetworkWeights = evaluator.weights
        config = self.weights.config
        self.n_layers, self.channels, self.degrees = config.n_layers, config.n_channels, config.l_max + 1
        self.one_species = len(frame.present) == 1
        self.n_means = 1 if self.one_species and (evaluator.head is None or evaluator.head.folds) else 2
        self.r_max = torch.full((1,), config.r_max, dtype=evaluator.dtype, device=evaluator.device)
        self._prepare_first()
        itemsize = self.r_max.element_size()
        per_atom, per_edge = self._held(itemsize)
        self.cut = Cut(frame.grid, self.n_layers, per_atom, per_edge, budget)
        self._done = 0

    def run(self, consume: Consume) -> None:
        """Evaluate the frame.

        Parameters
        ----------
        consume : callable
            Called with first and last sorted atom of a block and the parts (n, n_values) of its features.
        """
        with torch.inference_mode():
            for slab in self.cut.slabs:
                self._slab(slab, consume)

    def _slab(self, slab: Slab, consume: Consume) -> None:
        """Evaluate a slab; what it holds is free again when this returns."""
        edges = self.cut.edges_of(slab, self.evaluator.dtype)
        values, sent = self._layers(slab, edges)
        inner = slab.inner
        for a, b in self._blocks(inner):
            block, first = self._block(slab, edges, a, b), inner.first + a
            last = self._later(self.n_layers - 1, slab, block, values, sent, a, b)
            averaged = launch_means(
                block,
                values[0],
                self.r_max,
                self.n_means,
                species=self.frame.slots,
                first_own=first,
                rows=slab.spans[0].rows,
            )
            held = [values[t][self._own(slab, t, a, b)] for t in range(self.n_layers - 1)]
            consume(first, first + b - a, [*held, last, *averaged.unbind(1)])
            self._report(b - a)

    def _held(self, itemsize: int) -> tuple[int, int]:
        """Return the bytes held for each atom of a slab, and for each edge."""
        layers = self.n_layers - 1
        return layers * (self.evaluator.n_values + self.channels) * itemsize, 4 + 3 * itemsize

    def _prepare_first(self) -> None:
        """Prepare tables of the first layer for the species that are present."""
        weights, present, device = self.weights, list(self.frame.present), self.evaluator.device
        self.skipped = (weights.embedding.unsqueeze(1) @ weights.layers[0].skip).squeeze(1).contiguous()
        self.by_species = weights.tables.by_species(len(present), self.channels)
        place = torch.zeros(len(weights.embedding), dtype=torch.int32)
        place[present] = torch.arange(len(present), dtype=torch.int32)
        self.species = place.to(device)[self.frame.slots]
        if self.by_species:
            self.first_matrices = [torch.cat([expand[z] for z in present]) for expand in weights.expand]
        else:
            self.first_matrices = list(weights.layers[0].linear)

    def _blocks(self, span: Span) -> Iterator[tuple[int, int]]:
        """Return first and last row of the blocks of a span, of nearly equal size."""
        count = -(-span.count // self.evaluator.block_size)
        for k in range(count):
            if self._cancelled is not None and self._cancelled():
                raise CancelledError("stopped by the caller")
            yield span.count * k // count, span.count * (k + 1) // count

    def _block(self, slab: Slab, edges: EdgeList, a: int, b: int, t: int = -1) -> EdgeList:
        """Return the edges of rows a to b - 1 of span t."""
        start = slab.spans[0].place(slab.spans[t])
        return EdgeList(offsets=edges.offsets[start + a : start + b + 1], index=edges.index, vectors=edges.vectors)

    def _own(self, slab: Slab, t: int, a: int, b: int, of: int = -1) -> slice:
        """Return where rows a to b - 1 of span `of` are in the arrays of layer t."""
        start = slab.spans[t].place(slab.spans[of])
        return slice(start + a, start + b)

    def _own_slots(self, span: Span, a: int, b: int) -> Tensor:
        return Span(first=(span.first + a) % span.ring, count=b - a, ring=span.ring).of(self.frame.slots)

    def _layers(self, slab: Slab, edges: EdgeList) -> tuple[list[Tensor], list[Tensor]]:
        """Return features and what is sent of all layers but the last, each on its span."""
        values: list[Tensor] = []
        sent: list[Tensor] = []
        for t, span in enumerate(slab.spans[:-1]):
            values.append(self.r_max.new_empty(span.count, self.evaluator.n_values))
            sent.append(self.r_max.new_empty(span.count, self.channels))
            for a, b in self._blocks(span):
                block = self._block(slab, edges, a, b, t)
                if t == 0:
                    self._first(span, block, a, b, values[0][a:b])
                else:
                    self._later(t, slab, block, values, sent, a, b, values[t][a:b])
                torch.mm(values[t][a:b, : self.channels], self.weights.layers[t + 1].up, out=sent[t][a:b])
        return values, sent

    def first_sums(self, block: EdgeList) -> Tensor:
        """Return sums over the neighbours of the first layer, (n_lm, n, C or n_species rank)."""
        tables = self.weights.tables
        if self.by_species and tables.first is not None:
            n = len(self.frame.present)
            return launch_convolve(block, tables.first, self.degrees, lookup=self.species, n_species=n)
        return launch_convolve(block, tables.layers[0], self.degrees, source=self.weights.sent, lookup=self.frame.slots)

    def later_sums(self, t: int, slab: Slab, block: EdgeList, sent: list[Tensor]) -> Tensor:
        """Return sums over the neighbours of layer t, (n_lm, n, C)."""
        return launch_convolve(
            block, self.weights.tables.layers[t], self.degrees, source=sent[t - 1], rows=slab.spans[t - 1].rows
        )

    def _first(self, span: Span, block: EdgeList, a: int, b: int, out: Tensor) -> None:
        mine = self._own_slots(span, a, b)
        self._finish(0, linear_messages(self.first_sums(block), self.first_matrices), mine, self.skipped[mine], out)

    def _later(
        self,
        t: int,
        slab: Slab,
        block: EdgeList,
        values: list[Tensor],
        sent: list[Tensor],
        a: int,
        b: int,
        out: Tensor | None = None,
    ) -> Tensor:
        """Return features (n, n_values) of layer t of rows a to b - 1 of its span."""
        mine = self._own_slots(slab.spans[t], a, b)
        message = linear_messages(self.later_sums(t, slab, block, sent), self.weights.layers[t].linear)
        return self._later_rest(t, slab, message, mine, values, a, b, out)

    def _later_rest(
        self,
        t: int,
        slab: Slab,
        message: Tensor,
        mine: Tensor,
        values: list[Tensor],
        a: int,
        b: int,
        out: Tensor | None = None,
    ) -> Tensor:
        node = values[t - 1][self._own(slab, t - 1, a, b, t), : self.channels]
        out = self.r_max.new_empty(b - a, self.evaluator.n_values) if out is None else out
        self._finish(t, message, mine, self.by_slot(t, node, mine), out)
        return out

    def by_slot(self, t: int, node: Tensor, mine: Tensor) -> Tensor:
        """Return node[a] @ skip[slots[a]], without asking the device which slots there are."""
        skip = self.weights.layers[t].skip
        if self.one_species:
            return node @ skip[self.frame.present[0]]
        parts = [torch.where((mine == z).unsqueeze(1), node @ skip[z], 0.0) for z in self.frame.present]
        return torch.stack(parts).sum(0)

    def _finish(self, t: int, message: Tensor, mine: Tensor, skipped: Tensor, out: Tensor) -> None:
        """Write products, skip connection and invariants of layer t into the rows of `out`."""
        layer = self.weights.layers[t]
        products = launch_contract(message, mine, layer.polynomial)
        torch.addmm(skipped, products, layer.product, out=out[:, : self.channels])
        launch_invariants(message, out[:, self.channels :])

    def layer_back(
        self, t: int, message: Tensor, matrices: list[Tensor], mine: Tensor, given: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return dL/d sums (n_lm, n, ...) and dL/d node of layer t for `given` dL/d features (n, n_values).

        The latter leaves out the skip connection.
        """
        layer = self.weights.layers[t]
        d_node = given[:, : self.channels]
        d_products = d_node @ layer.product.T
        d_message = launch_contract_message(message, mine, layer.polynomial, d_products, given[:, self.channels :])
        return linear_messages(d_message, [matrix.T for matrix in matrices]), d_node

    def skip_back(self, t: int, d_node: Tensor, mine: Tensor) -> Tensor:
        """Return what the skip connection of layer t passes on of dL/d node."""
        skip = self.weights.layers[t].skip
        if self.one_species:
            return d_node @ skip[self.frame.present[0]].T
        parts = [torch.where((mine == z).unsqueeze(1), d_node @ skip[z].T, 0.0) for z in self.frame.present]
        return torch.stack(parts).sum(0)

    def _report(self, amount: int) -> None:
        self._done += amount
        if self._progress is not None:
            self._progress(min(1.0, self._done / max(1, len(self.frame.grid))))
