"""The operations in plain torch, for any device and precision: neighbours padded, sums as batched products.

    A[lm, a, c] = sum_k Y[a, k, lm] w[a, k, c],     w = R_lc(r) source[index, c],   k = 1 .. most neighbours of a centre

A padded slot holds a vector of length r_max, at which every radial function vanishes. Memory is n_centres x k x 4 C for
the block at hand; autograd differentiates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ovito_mace_phase.model.network.harmonics import spherical_harmonics

from .memory import Memory, NewMemory
from .protocol import BlockGraph, Polynomial, Spline


class TorchOperations:
    """`protocol.Operations` for CUDA, MPS and, to check them, the CPU."""

    memory: Memory = NewMemory()

    def of_thread(self) -> TorchOperations:
        """See `protocol.Operations`."""
        return self

    def convolve(self, graph: BlockGraph, index: Tensor, source: Tensor, spline: Spline) -> Tensor:
        """See `protocol.Operations`."""
        channels = source.shape[1]
        degrees = spline.values.shape[2] // channels
        vectors, slots = _padded(graph, spline.r_max)
        radial, harmonics = _edge_functions(vectors, spline, degrees - 1)
        sent = source[_take(index, slots)]
        parts = []
        for degree, part in enumerate(harmonics.split([2 * d + 1 for d in range(degrees)], dim=-1)):
            weighted = radial[..., degree * channels : (degree + 1) * channels] * sent
            parts.append(torch.bmm(part.transpose(1, 2), weighted))
        return torch.cat(parts, dim=1).transpose(0, 1).contiguous()

    def species_sums(self, graph: BlockGraph, species: Tensor, n_species: int, spline: Spline, n_lm: int) -> Tensor:
        """See `protocol.Operations`."""
        vectors, slots = _padded(graph, spline.r_max)
        radial, harmonics = _edge_functions(vectors, spline, round(n_lm**0.5) - 1)
        which = _take(species, slots)
        parts = [
            torch.bmm(harmonics.transpose(1, 2), radial * (which == one).unsqueeze(-1)) for one in range(n_species)
        ]
        return torch.cat(parts, dim=2).transpose(0, 1).contiguous()

    def contract(self, message: Tensor, slots: Tensor, polynomial: Polynomial) -> Tensor:
        """See `protocol.Operations`."""
        p = polynomial
        total = torch.zeros_like(message[0])
        for z in torch.unique(slots).tolist():
            mine = torch.nonzero(slots == z).squeeze(1)
            a = message[:, mine]
            value = a[0] * p.linear[z, 0]
            for index, weight in ((p.pairs, p.quadratic[z]), (p.triples, p.cubic[z])):
                if len(index):
                    product = a[index[:, 0]] * a[index[:, 1]]
                    product = product * a[index[:, 2]] if index.shape[1] == 3 else product
                    value = value + (product * weight.unsqueeze(1)).sum(0)
            total = total.index_copy(0, mine, value)
        return total

    def contract_with_invariants(self, message: Tensor, slots: Tensor, polynomial: Polynomial) -> tuple[Tensor, Tensor]:
        """See `protocol.Operations`."""
        return self.contract(message, slots, polynomial), self.invariants(message)

    def invariants(self, message: Tensor) -> Tensor:
        """See `protocol.Operations`."""
        degrees = round(len(message) ** 0.5)
        powers = [message[d * d : (d + 1) ** 2].square().mean(0) for d in range(1, degrees)]
        return torch.stack([message[0], *powers], dim=1)

    def means(
        self, graph: BlockGraph, species: Tensor, mine: Tensor, values: Tensor, r_max: float, n_means: int
    ) -> Tensor:
        """See `protocol.Operations`."""
        vectors, slots = _padded(graph, r_max)
        weight = (1.0 - vectors.square().sum(-1) / r_max**2).clamp_min(0.0).pow(3).to(values.dtype)
        neighbours = values[_take(graph.index, slots)]
        own = values[graph.own]
        chosen = [torch.ones_like(weight)]
        if n_means == 2:
            chosen.insert(0, (_take(species, slots) == mine.unsqueeze(1)).to(weight.dtype))
        found = []
        for mask in chosen:
            part = weight * mask
            total = own + torch.bmm(part.unsqueeze(1), neighbours).squeeze(1)
            found.append(total / (1.0 + part.sum(1, keepdim=True)))
        return torch.stack(found, dim=1)


def _padded(graph: BlockGraph, r_max: float) -> tuple[Tensor, Tensor]:
    """Return vectors (n_centres, k, 3) and the edge of each slot (n_centres, k), -1 where there is none."""
    count = graph.offsets[1:] - graph.offsets[:-1]
    most = max(1, int(count.max())) if len(count) else 1
    slot = torch.arange(most, device=count.device)
    edge = torch.where(slot < count.unsqueeze(1), graph.offsets[:-1].unsqueeze(1) + slot, -1)
    absent = torch.zeros(3, dtype=graph.vectors.dtype, device=count.device)
    absent[0] = r_max
    vectors = torch.cat([graph.vectors, absent.unsqueeze(0)])[edge]
    return vectors, edge


def _take(values: Tensor, slots: Tensor) -> Tensor:
    """Values of edges in their slots; any valid value in empty slots."""
    if len(values) == 0:
        return torch.zeros_like(slots)
    return values[slots.clamp_min(0)]


def _edge_functions(vectors: Tensor, spline: Spline, l_max: int) -> tuple[Tensor, Tensor]:
    """Return radial functions (n, k, F) and harmonics (n, k, n_lm) in the precision of the spline."""
    table, n_knots = spline.values, spline.values.shape[0]
    distance = torch.linalg.vector_norm(vectors, dim=-1)
    harmonics = spherical_harmonics((vectors / distance.unsqueeze(-1)).flatten(0, 1), l_max).to(table.dtype)
    inside = distance < spline.r_max
    position = spline.scale * distance / (distance + spline.stretch)
    knot = position.detach().floor().long().clamp_max(n_knots - 2)
    t = (position - knot).to(table.dtype).unsqueeze(-1)
    s = 1.0 - t
    radial = (
        (1.0 + 2.0 * t) * s * s * table[knot, 0]
        + t * s * s * table[knot, 1]
        + t * t * (3.0 - 2.0 * t) * table[knot + 1, 0]
        - t * t * s * table[knot + 1, 1]
    )
    return radial * inside.unsqueeze(-1), harmonics.unflatten(0, distance.shape)
