"""logP of a frame on a device and its gradient by the positions.

    logP = sum_a logsumexp_c l[a, c],      score = d logP / d r

For each slab S the sum over a in S is differentiated by all atoms it depends on, and the parts added up. Each layer is
differentiated by kernels and matrix products written out, the last layers of the head by autograd. What neighbours of
an atom say about what it sends is gathered, since every pair is listed from both sides.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ovito_mace_phase.model.network.layers import linear_messages
from ovito_mace_phase.model.network.operations.triton_operations import (
    EdgeList,
    launch_convolve_edges,
    launch_convolve_sources,
    launch_means,
    launch_means_edges,
    launch_means_norms,
    launch_means_sources,
    launch_standardise,
    launch_standardise_back,
)
from ovito_mace_phase.runtime.errors import ModelFileError

from . import search_kernels
from .slabs import Slab
from .sweep import DeviceSweep


class DeviceGradientSweep(DeviceSweep):
    """A sweep with its backward pass; see `DeviceSweep` for the parameters.

    Attributes
    ----------
    log_density : (n_atoms,) float64
    gradient : (n_atoms, 3) float64
        In sorted order, per network unit of length.
    """

    backward = True

    def run_backward(self) -> None:
        """Fill `log_density` and `gradient`."""
        n_atoms, device = len(self.frame.grid), self.evaluator.device
        self.log_density = torch.zeros(n_atoms, dtype=torch.float64, device=device)
        self.gradient = torch.zeros(n_atoms, 3, dtype=torch.float64, device=device)
        for slab in self.cut.slabs:
            self._differentiate(slab)

    def _held(self, itemsize: int) -> tuple[int, int]:
        per_atom, _ = super()._held(itemsize)
        given = self.degrees**2 * self.channels + self.n_means * self.evaluator.n_values
        return 2 * per_atom + given * itemsize, 4 + 6 * itemsize

    def _differentiate(self, slab: Slab) -> None:
        with torch.no_grad():
            edges = self.cut.edges_of(slab, self.evaluator.dtype)
            values, sent = self._layers(slab, edges)
            d_vectors = torch.zeros_like(edges.vectors)
            d_values = [torch.zeros_like(one) for one in values]
            given = self._last(slab, edges, values, sent, d_vectors, d_values)
            for t in range(self.n_layers - 2, -1, -1):
                span, below = slab.spans[t], slab.spans[t + 1]
                d_sent = torch.empty_like(sent[t])
                launch_convolve_sources(
                    self._block(slab, edges, 0, span.count, t),
                    self.weights.tables.layers[t + 1],
                    given,
                    reverse=True,
                    rows=below.rows,
                    out=d_sent,
                )
                given = self._below(t, slab, edges, values, sent, d_vectors, d_values, d_sent)
            add_forces(edges, d_vectors, slab.spans[0].first, self.gradient)

    def _last(
        self,
        slab: Slab,
        edges: EdgeList,
        values: list[Tensor],
        sent: list[Tensor],
        d_vectors: Tensor,
        d_values: list[Tensor],
    ) -> Tensor:
        """Both passes of the last layer, the means and the head; return dL/d sums of the slab."""
        head, t, inner = self.evaluator.head, self.n_layers - 1, slab.inner
        if head is None:
            raise ModelFileError("the model file holds a bare network without a phase head: train one")
        mean, weight, bias = head.density_entry(self.one_species)
        d_sums = self.r_max.new_empty(self.degrees**2, inner.count, self.channels)
        d_means = self.r_max.new_empty(inner.count, self.n_means, self.evaluator.n_values)
        norms = launch_means_norms(
            self._block(slab, edges, 0, inner.count),
            self.r_max,
            self.n_means,
            self.r_max.dtype,
            species=self.frame.slots,
            first_own=inner.first,
        )
        matrices = list(self.weights.layers[t].linear)
        for a, b in self._blocks(inner):
            block, first = self._block(slab, edges, a, b), inner.first + a
            mine, rows = self._own_slots(inner, a, b), [self._own(slab, k, a, b) for k in range(t)]
            message = linear_messages(self.later_sums(t, slab, block, sent), matrices)
            last = self._later_rest(t, slab, message, mine, values, a, b)
            averaged = launch_means(
                block,
                values[0],
                self.r_max,
                self.n_means,
                species=self.frame.slots,
                first_own=first,
                rows=slab.spans[0].rows,
            )
            parts = [*(values[k][rows[k]] for k in range(t)), last, *averaged.unbind(1)]
            features = launch_standardise(parts, mean, head.floor, head.n_plain)
            hidden = torch.addmm(bias, features, weight).requires_grad_()
            with torch.enable_grad():
                density = head.density_of(hidden)
                (d_hidden,) = torch.autograd.grad(density.sum(), hidden)
            self.log_density[first : first + b - a] = density.detach().double()
            d_features, d_last = d_hidden @ weight.T, torch.empty_like(last)
            by_means = d_means[a:b]
            targets = [*(d_values[k][rows[k]] for k in range(t)), d_last, *by_means.unbind(1)]
            for place, target in enumerate(targets):
                launch_standardise_back(features, mean, d_features, target, place, head.n_plain, add=place < t)
            d_values[0][rows[0]] += (by_means / norms[a:b].unsqueeze(2)).sum(1)
            by_sums, d_node = self.layer_back(t, message, matrices, mine, d_last)
            d_sums[:, a:b] = by_sums
            d_values[t - 1][rows[t - 1], : self.channels] += self.skip_back(t, d_node, mine)
            launch_means_edges(
                block,
                values[0],
                self.r_max,
                averaged,
                norms[a:b],
                by_means,
                d_vectors,
                add=False,
                species=self.frame.slots,
                first_own=first,
                rows=slab.spans[0].rows,
            )
            launch_convolve_edges(
                block,
                self.weights.tables.layers[t],
                by_sums,
                d_vectors,
                add=True,
                source=sent[t - 1],
                rows=slab.spans[t - 1].rows,
            )
            self._report(b - a)
        around = slab.spans[0]
        launch_means_sources(
            edges,
            self.r_max,
            norms,
            d_means,
            d_values[0],
            add=True,
            species=self.frame.slots,
            first_source=around.first,
            source_ring=around.ring,
            rows=inner.rows,
        )
        return d_sums

    def _below(
        self,
        t: int,
        slab: Slab,
        edges: EdgeList,
        values: list[Tensor],
        sent: list[Tensor],
        d_vectors: Tensor,
        d_values: list[Tensor],
        d_sent: Tensor,
    ) -> Tensor:
        """Layer t once more, and its backward pass; return dL/d sums on its span, nothing for the first layer."""
        span = slab.spans[t]
        d_sums = self.r_max.new_empty(self.degrees**2, span.count if t else 0, self.channels)
        for a, b in self._blocks(span):
            block, mine = self._block(slab, edges, a, b, t), self._own_slots(span, a, b)
            sums = self.later_sums(t, slab, block, sent) if t else self.first_sums(block)
            matrices = list(self.weights.layers[t].linear) if t else self.first_matrices
            given = d_values[t][a:b]
            given[:, : self.channels] += d_sent[a:b] @ self.weights.layers[t + 1].up.T
            by_sums, d_node = self.layer_back(t, linear_messages(sums, matrices), matrices, mine, given)
            tables = self.weights.tables
            if t == 0 and self.by_species and tables.first is not None:
                n = len(self.frame.present)
                launch_convolve_edges(
                    block, tables.first, by_sums, d_vectors, add=True, lookup=self.species, n_species=n
                )
            elif t == 0:
                launch_convolve_edges(
                    block,
                    tables.layers[0],
                    by_sums,
                    d_vectors,
                    add=True,
                    source=self.weights.sent,
                    lookup=self.frame.slots,
                )
            else:
                launch_convolve_edges(
                    block,
                    tables.layers[t],
                    by_sums,
                    d_vectors,
                    add=True,
                    source=sent[t - 1],
                    rows=slab.spans[t - 1].rows,
                )
                d_sums[:, a:b] = by_sums
                rows = self._own(slab, t - 1, a, b, t)
                d_values[t - 1][rows, : self.channels] += self.skip_back(t, d_node, mine)
        return d_sums


def add_forces(edges: EdgeList, d_vectors: Tensor, first: int, gradient: Tensor) -> None:
    """Add the derivatives by the edges of the atoms from `first` on, counted around the ring, to both ends."""
    if len(edges):
        search_kernels.add_forces[(len(edges),)](
            edges.offsets, edges.index, d_vectors, gradient, first, len(gradient), EDGES=32, num_warps=1
        )
