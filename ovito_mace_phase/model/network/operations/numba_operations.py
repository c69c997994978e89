"""The numba kernels as torch operations with analytic first derivatives.

Nothing but the inputs is kept for the backward pass, which evaluates splines and harmonics again: cheaper than storing
them, and nothing of size edges x channels exists in either pass.
"""
# mypy: disable-error-code="no-untyped-def, override"

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ovito_mace_phase.model.network.operations import kernels, kernels_backward

from .memory import Buffers, Memory, NewMemory
from .protocol import BlockGraph, Polynomial, Spline


class NumbaOperations:
    """`protocol.Operations` on the CPU; serial inside, so that threads may run blocks side by side."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = NewMemory() if memory is None else memory

    def of_thread(self) -> NumbaOperations:
        """See `protocol.Operations`."""
        return NumbaOperations(Buffers())

    def convolve(self, graph: BlockGraph, index: Tensor, source: Tensor, spline: Spline) -> Tensor:
        """See `protocol.Operations`."""
        return _Convolve.apply(graph.vectors, source, spline.values, graph.offsets, index, spline.grid, self.memory)

    def species_sums(self, graph: BlockGraph, species: Tensor, n_species: int, spline: Spline, n_lm: int) -> Tensor:
        """See `protocol.Operations`."""
        return _SpeciesSums.apply(graph.vectors, graph.offsets, species, n_species, spline, n_lm, self.memory)

    def contract(self, message: Tensor, slots: Tensor, polynomial: Polynomial) -> Tensor:
        """See `protocol.Operations`."""
        p = polynomial
        return _Contract.apply(message, p.linear, p.quadratic, p.cubic, slots, p.pairs, p.triples, self.memory)

    def contract_with_invariants(self, message: Tensor, slots: Tensor, polynomial: Polynomial) -> tuple[Tensor, Tensor]:
        """See `protocol.Operations`; one pass over the message where no gradient is wanted."""
        if torch.is_grad_enabled():
            return self.contract(message, slots, polynomial), self.invariants(message)
        n_lm, n_centres, channels = message.shape
        out = self.memory.take("contracted", (n_centres, channels), message)
        powers = self.memory.take("invariants", (n_centres, round(n_lm**0.5), channels), message)
        p = polynomial
        a, z, k1, i, k2, t, k3 = _arrays(message, slots, p.linear, p.pairs, p.quadratic, p.triples, p.cubic)
        kernels.contract(channels)(a, z, k1, i, k2, t, k3, out.numpy(), powers.numpy())
        return out, powers

    def invariants(self, message: Tensor) -> Tensor:
        """See `protocol.Operations`."""
        return _Invariants.apply(message, self.memory)

    def means(
        self, graph: BlockGraph, species: Tensor, mine: Tensor, values: Tensor, r_max: float, n_means: int
    ) -> Tensor:
        """See `protocol.Operations`."""
        g = graph
        return _Means.apply(g.vectors, values, g.offsets, g.index, g.own, species, mine, r_max, n_means, self.memory)


def _arrays(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    """Return the memory of the tensors, in one layout, so that each kernel is compiled once per precision."""
    return tuple(tensor.detach().contiguous().numpy() for tensor in tensors)


def first_order(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a backward pass that cannot be differentiated again; a graph through it would lack terms in silence."""

    @wraps(backward)
    def guarded(ctx: Any, *gradients: Tensor) -> Any:
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError(
                "these operations have first derivatives only; take the gradient without create_graph=True "
                "(lab/training/step.py shows how score matching does without second derivatives)"
            )
        return backward(ctx, *gradients)

    return guarded


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        source: Tensor,
        table: Tensor,
        offsets: Tensor,
        index: Tensor,
        grid: tuple[float, float, float],
        memory: Memory,
    ) -> Tensor:
        ctx.save_for_backward(vectors, source, table, offsets, index)
        ctx.grid = grid
        channels = source.shape[1]
        degrees = table.shape[2] // channels
        out = memory.take("sums", (degrees * degrees, len(offsets) - 1, channels), source)
        run = kernels.convolve(channels, degrees)
        o, i, v, s, t = _arrays(offsets, index, vectors, source, table)
        run(o, i, v, s, t, *grid, out.numpy())
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, g: Tensor):
        vectors, source, table, offsets, index = ctx.saved_tensors
        o, i, v, s, t, g_array = _arrays(offsets, index, vectors, source, table, g)
        shape = source.shape[1], table.shape[2] // source.shape[1]
        d_vectors, d_source, d_table = None, torch.zeros_like(source), None
        if ctx.needs_input_grad[2]:
            d_table = torch.zeros_like(table, memory_format=torch.contiguous_format)
            run = kernels_backward.convolve_weights(*shape)
            run(o, i, v, s, t, *ctx.grid, g_array, d_source.numpy(), d_table.numpy())
        if ctx.needs_input_grad[0] or d_table is None:
            d_vectors = torch.empty_like(vectors)
            d_source.zero_()
            run = kernels_backward.convolve(*shape)
            run(o, i, v, s, t, *ctx.grid, g_array, d_vectors.numpy(), d_source.numpy())
        return d_vectors, d_source, d_table, None, None, None, None


class _SpeciesSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        offsets: Tensor,
        species: Tensor,
        n_species: int,
        spline: Spline,
        n_lm: int,
        memory: Memory,
    ) -> Tensor:
        ctx.save_for_backward(vectors, offsets, species)
        ctx.spline = spline
        rank = spline.values.shape[2]
        out = memory.take("sums", (n_lm, len(offsets) - 1, n_species * rank), spline.values)
        o, s, v, t = _arrays(offsets, species, vectors, spline.values)
        kernels.species_sums(rank, n_species)(o, s, v, t, *spline.grid, out.numpy())
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, g: Tensor):
        vectors, offsets, species = ctx.saved_tensors
        spline = ctx.spline
        d_vectors = torch.empty_like(vectors)
        o, s, v, t, g_array = _arrays(offsets, species, vectors, spline.values, g)
        run = kernels_backward.species_sums(spline.values.shape[2], round(len(g) ** 0.5))
        run(o, s, v, t, *spline.grid, g_array, d_vectors.numpy())
        return d_vectors, None, None, None, None, None, None


class _Contract(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        message: Tensor,
        linear: Tensor,
        quadratic: Tensor,
        cubic: Tensor,
        slots: Tensor,
        pairs: Tensor,
        triples: Tensor,
        memory: Memory,
    ) -> Tensor:
        ctx.save_for_backward(message, linear, quadratic, cubic, slots, pairs, triples)
        out = memory.take("contracted", tuple(message.shape[1:]), message)
        a, z, k1, p, k2, t, k3 = _arrays(message, slots, linear, pairs, quadratic, triples, cubic)
        kernels.contract(out.shape[1])(a, z, k1, p, k2, t, k3, out.numpy(), np.empty((0, 0, 0), out.numpy().dtype))
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, g: Tensor):
        message, linear, quadratic, cubic, slots, pairs, triples = ctx.saved_tensors
        a, z, k1, p, k2, t, k3, g_array = _arrays(message, slots, linear, pairs, quadratic, triples, cubic, g)
        d_message = None
        if ctx.needs_input_grad[0]:
            d_message = torch.empty_like(message, memory_format=torch.contiguous_format)
            kernels_backward.contract(message.shape[2])(a, z, k1, p, k2, t, k3, g_array, d_message.numpy())
        if not any(ctx.needs_input_grad[1:4]):
            return d_message, None, None, None, None, None, None, None
        d_coefficients = [torch.zeros_like(k) for k in (linear, quadratic, cubic)]
        kernels_backward.contract_coefficients(a, z, p, t, g_array, *(d.numpy() for d in d_coefficients))
        return d_message, *d_coefficients, None, None, None, None


class _Invariants(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, message: Tensor, memory: Memory) -> Tensor:
        ctx.save_for_backward(message)
        n_lm, n_centres, channels = message.shape
        out = memory.take("invariants", (n_centres, round(n_lm**0.5), channels), message)
        kernels.invariants(*_arrays(message), out.numpy())
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, g: Tensor):
        (message,) = ctx.saved_tensors
        d_message = torch.empty_like(message, memory_format=torch.contiguous_format)
        kernels_backward.invariants(*_arrays(message, g), d_message.numpy())
        return d_message, None


class _Means(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0913 - torch wants tensors one by one
        ctx: Any,
        vectors: Tensor,
        values: Tensor,
        offsets: Tensor,
        index: Tensor,
        own: Tensor,
        species: Tensor,
        mine: Tensor,
        r_max: float,
        n_means: int,
        memory: Memory,
    ) -> Tensor:
        parts = memory.take("means", (n_means, len(own), values.shape[1]), values)  # each mean in one piece
        o, i, v, w, s, z, x = _arrays(offsets, index, vectors, own, species, mine, values)
        kernels.means(values.shape[1])(o, i, v, w, s, z, x, r_max, parts.numpy())
        out = parts.transpose(0, 1)
        ctx.save_for_backward(vectors, values, offsets, index, own, species, mine, out)
        ctx.r_max = r_max
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, g: Tensor):
        vectors, values, offsets, index, own, species, mine, out = ctx.saved_tensors
        d_vectors, d_values = torch.empty_like(vectors), torch.zeros_like(values)
        o, i, v, w, s, z, x, m, g_array = _arrays(offsets, index, vectors, own, species, mine, values, out, g)
        kernels_backward.means(o, i, v, w, s, z, x, ctx.r_max, m, g_array, d_vectors.numpy(), d_values.numpy())
        return d_vectors, d_values, None, None, None, None, None, None, None, None
