"""The Triton kernels as torch operations with analytic first derivatives: the operations of a CUDA device.

`launch_*` run one kernel each on tensors that are there already, for the sweep over a frame (`model/engine/device`);
`TritonOperations` wraps them for autograd. Every sum is a gather over the edges of one atom, in the order in which they
are listed, so that values are the same in every run; only derivatives by coefficients are added up atomically.
"""
# mypy: disable-error-code="no-untyped-def, override"

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import triton
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from . import triton_backward as backward
from . import triton_forward as forward
from .memory import Memory, NewMemory
from .numba_operations import first_order
from .protocol import BlockGraph, Polynomial, Spline
from .torch_operations import TorchOperations

_VALUES_BLOCK, _FEATURES_BLOCK = 128, 1024
_MANY_EDGES, _PIECE = 1000, 128  # of one source; of a piece
_ROWS, _TILES = 4, 64  # of centres, for derivatives by coefficients
_scales = WeakTensorKeyDictionary()
_derivatives = WeakTensorKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How a kernel is launched: edges taken together, whether they are added up at once, channels, warps."""

    edges: int
    fold: bool
    block: int
    warps: int


INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Kernels run line by line in Python, on the CPU: for tests."""
_MEANS_EDGES = 64 if INTERPRETED else 4
EDGES = {"convolve": 1, "convolve_edges": 1, "convolve_sources": 1}
"""Edges taken together by a kernel where one warp holds 128 channels."""


@lru_cache
def shape_of(channels: int, kernel: str = "") -> Shape:
    """Return the launch shape for a number of channels: four to a lane, one warp where that will do."""
    block = max(16, triton.next_power_of_2(channels))
    warps = max(1, min(8, block // 128))
    beside = max(1, 128 // block)  # edges that a warp holds side by side
    edges = 64 if INTERPRETED else EDGES.get(kernel, 1) * beside
    return Shape(edges=edges, fold=beside == 1, block=block, warps=warps)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Row of an atom in an array: its number minus `shift`, plus `ring` where that is negative."""

    shift: int = 0
    ring: int = 0


@dataclass(frozen=True, kw_only=True)
class EdgeList:
    """Edges of consecutive centres.

    Attributes
    ----------
    offsets : (n_centres + 1,) int64
    index : (n_edges,) int32 or int64
    vectors : (n_edges, 3)
    """

    offsets: Tensor
    index: Tensor
    vectors: Tensor

    def __len__(self) -> int:
        return len(self.offsets) - 1


def scale_of(spline: Spline) -> Tensor:
    """Return scale, stretch and cutoff on the device of the spline, in its precision."""
    if spline.values not in _scales:
        _scales[spline.values] = spline.values.new_tensor(spline.grid)
    found: Tensor = _scales[spline.values]
    return found


def launch_convolve(
    edges: EdgeList,
    spline: Spline,
    degrees: int,
    *,
    source: Tensor | None = None,
    lookup: Tensor | None = None,
    per_edge: bool = False,
    n_species: int = 1,
    rows: Rows | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Return A, (degrees^2, n_centres, C or n_species F); see `triton_forward.convolve`."""
    rows, n = rows or Rows(), len(edges)
    channels = spline.values.shape[2] if source is None else source.shape[1]
    table, shape = spline.values, shape_of(channels, "convolve")
    out = table.new_empty(degrees**2, n, channels * n_species) if out is None else out
    if n:
        forward.convolve[(n, n_species)](
            edges.offsets,
            edges.index,
            edges.vectors,
            table if source is None else source,
            edges.index if lookup is None else lookup,
            table,
            scale_of(spline),
            out,
            n,
            table.shape[0],
            channels,
            rows.shift,
            rows.ring,
            HAS_SOURCE=source is not None,
            LOOKUP=0 if lookup is None else 2 if per_edge else 1,
            L=degrees - 1,
            FOLD=shape.fold,
            EDGES=shape.edges,
            BLOCK=shape.block,
            num_warps=shape.warps,
        )
    return out


def launch_convolve_edges(
    edges: EdgeList,
    spline: Spline,
    given: Tensor,
    d_vectors: Tensor,
    *,
    add: bool,
    source: Tensor | None = None,
    lookup: Tensor | None = None,
    per_edge: bool = False,
    n_species: int = 1,
    rows: Rows | None = None,
) -> None:
    """Write or add dL/dv for `given` (n_lm, n_centres, ...); see `triton_backward.convolve_edges`."""
    rows, n = rows or Rows(), len(edges)
    channels = spline.values.shape[2] if source is None else source.shape[1]
    table, shape = spline.values, shape_of(channels, "convolve_edges")
    if n:
        backward.convolve_edges[(n, n_species)](
            edges.offsets,
            edges.index,
            edges.vectors,
            table if source is None else source,
            edges.index if lookup is None else lookup,
            table,
            scale_of(spline),
            given,
            d_vectors,
            n,
            table.shape[0],
            channels,
            rows.shift,
            rows.ring,
            HAS_SOURCE=source is not None,
            LOOKUP=0 if lookup is None else 2 if per_edge else 1,
            ADD=add,
            L=round(len(given) ** 0.5) - 1,
            EDGES=shape.edges,
            BLOCK=shape.block,
            num_warps=shape.warps,
        )


def launch_convolve_sources(
    edges: EdgeList, spline: Spline, given: Tensor, *, reverse: bool, rows: Rows | None = None, out: Tensor
) -> None:
    """Write dL/d source to `out` (n_sources, C); see `triton_backward.convolve_sources`."""
    rows, n = rows or Rows(), len(edges)
    n_lm, n_centres, channels = given.shape
    shape = shape_of(channels, "convolve_sources")
    if n:
        backward.convolve_sources[(n,)](
            edges.offsets,
            edges.index,
            edges.vectors,
            spline.values,
            scale_of(spline),
            given,
            out,
            n_centres,
            spline.values.shape[0],
            channels,
            rows.shift,
            rows.ring,
            REVERSED=reverse,
            L=round(n_lm**0.5) - 1,
            FOLD=shape.fold,
            EDGES=shape.edges,
            BLOCK=shape.block,
            num_warps=shape.warps,
        )


def launch_contract(message: Tensor, slots: Tensor, polynomial: Polynomial) -> Tensor:
    """Return B, (n_centres, C)."""
    _, n, channels = message.shape
    p, shape = polynomial, shape_of(channels)
    out = message.new_empty(n, channels)
    if n:
        forward.contract[(n,)](
            message,
            slots,
            p.linear,
            p.pairs,
            p.quadratic,
            p.triples,
            p.cubic,
            out,
            n,
            len(p.pairs),
            len(p.triples),
            channels,
            BLOCK=shape.block,
            num_warps=shape.warps,
        )
    return out


def launch_contract_message(
    message: Tensor, slots: Tensor, polynomial: Polynomial, given: Tensor, invariants: Tensor | None = None
) -> Tensor:
    """Return dL/dA for `given` dL/dB, and for dL/dP in rows of `invariants` (n_centres, >= (L + 1) C)."""
    n_lm, n, channels = message.shape
    p, shape, d_message = polynomial, shape_of(channels), torch.empty_like(message)
    starts, terms = _terms(p.pairs, p.triples, n_lm)
    if n:
        backward.contract_message[(n,)](
            message,
            slots,
            p.linear,
            p.quadratic,
            p.cubic,
            starts,
            terms,
            given,
            given if invariants is None else invariants,
            d_message,
            n,
            len(p.pairs),
            len(p.triples),
            channels,
            channels if invariants is None else invariants.stride(0),
            HAS_INVARIANTS=invariants is not None,
            N_LM=n_lm,
            BLOCK=shape.block,
            num_warps=shape.warps,
        )
    return d_message


def launch_invariants(message: Tensor, out: Tensor) -> None:
    """Write A of l = 0 and the powers to `out` (n_centres, >= L + 1, C), whose rows may be part of longer ones."""
    n_lm, n, channels = message.shape
    shape = shape_of(channels)
    if n:
        forward.invariants[(n,)](
            message, out, n, channels, out.stride(0), L=round(n_lm**0.5) - 1, BLOCK=shape.block, num_warps=shape.warps
        )


def launch_means(
    edges: EdgeList,
    values: Tensor,
    r_max: Tensor,
    n_means: int,
    *,
    species: Tensor,
    mine: Tensor | None = None,
    own: Tensor | None = None,
    first_own: int = 0,
    rows: Rows | None = None,
) -> Tensor:
    """Return means (n_centres, n_means, F); with `mine` species are per edge, with `own` rows of centres are given."""
    rows, n = rows or Rows(), len(edges)
    n_values = values.shape[1]
    out = values.new_empty(n, n_means, n_values)
    if n:
        forward.means[(n, triton.cdiv(n_values, _VALUES_BLOCK))](
            edges.offsets,
            edges.index,
            edges.vectors,
            edges.offsets if own is None else own,
            species,
            species if mine is None else mine,
            values,
            r_max,
            out,
            n_values,
            rows.shift,
            rows.ring,
            first_own,
            PER_EDGE=mine is not None,
            HAS_OWN=own is not None,
            SPLIT=n_means == 2,
            EDGES=_MEANS_EDGES,
            BLOCK=_VALUES_BLOCK,
            num_warps=1,
        )
    return out


def launch_means_norms(
    edges: EdgeList,
    r_max: Tensor,
    n_means: int,
    dtype: torch.dtype,
    *,
    species: Tensor,
    mine: Tensor | None = None,
    first_own: int = 0,
) -> Tensor:
    """Return sum_b w, (n_centres, n_means)."""
    n = len(edges)
    norms = torch.empty(n, n_means, dtype=dtype, device=edges.offsets.device)
    if n:
        backward.means_norms[(n,)](
            edges.offsets,
            edges.index,
            edges.vectors,
            species,
            species if mine is None else mine,
            r_max,
            norms,
            first_own,
            PER_EDGE=mine is not None,
            SPLIT=n_means == 2,
            EDGES=32,
            num_warps=1,
        )
    return norms


def launch_means_edges(
    edges: EdgeList,
    values: Tensor,
    r_max: Tensor,
    found: Tensor,
    norms: Tensor,
    given: Tensor,
    d_vectors: Tensor,
    *,
    add: bool,
    species: Tensor,
    mine: Tensor | None = None,
    first_own: int = 0,
    rows: Rows | None = None,
) -> None:
    """Write or add dL/dv for `given` dL/dm; see `triton_backward.means_edges`."""
    rows, n = rows or Rows(), len(edges)
    n_values = values.shape[1]
    if n:
        backward.means_edges[(n,)](
            edges.offsets,
            edges.index,
            edges.vectors,
            species,
            species if mine is None else mine,
            values,
            r_max,
            found,
            norms,
            given,
            d_vectors,
            n_values,
            rows.shift,
            rows.ring,
            first_own,
            PER_EDGE=mine is not None,
            ADD=add,
            SPLIT=given.shape[1] == 2,
            TILES=triton.cdiv(n_values, _VALUES_BLOCK),
            EDGES=_MEANS_EDGES,
            BLOCK=_VALUES_BLOCK,
            num_warps=1,
        )


def launch_means_sources(
    edges: EdgeList,
    r_max: Tensor,
    norms: Tensor,
    given: Tensor,
    d_values: Tensor,
    *,
    add: bool,
    species: Tensor,
    same_kind: Tensor | None = None,
    first_source: int = 0,
    source_ring: int = 0,
    rows: Rows | None = None,
) -> None:
    """Write or add dL/dv of the neighbours' values; see `triton_backward.means_sources`."""
    rows, n = rows or Rows(), len(edges)
    n_centres, n_means, n_values = given.shape
    if n:
        backward.means_sources[(n, triton.cdiv(n_values, _VALUES_BLOCK))](
            edges.offsets,
            edges.index,
            edges.vectors,
            species if same_kind is None else same_kind,
            species,
            r_max,
            norms,
            given,
            d_values,
            n_centres,
            n_values,
            first_source,
            source_ring,
            rows.shift,
            rows.ring,
            PER_EDGE=same_kind is not None,
            ADD=add,
            SPLIT=n_means == 2,
            EDGES=_MEANS_EDGES,
            BLOCK=_VALUES_BLOCK,
            num_warps=1,
        )


def launch_standardise(parts: Sequence[Tensor], mean: Tensor, floor: Tensor, n_plain: int) -> Tensor:
    """Return g(f) - mean, (n, n_features), of parts (n, width) whose rows may be part of longer ones."""
    width = parts[0].shape[1]
    features = mean.new_empty(len(parts[0]), len(mean))
    for place, part in enumerate(parts):
        if len(part):
            forward.standardise[(len(part), triton.cdiv(width, _FEATURES_BLOCK))](
                part,
                mean,
                floor,
                features,
                part.stride(0),
                n_plain,
                width,
                len(mean),
                place * width,
                BLOCK=_FEATURES_BLOCK,
                num_warps=4,
            )
    return features


def launch_standardise_back(
    features: Tensor, mean: Tensor, given: Tensor, d_part: Tensor, place: int, n_plain: int, *, add: bool
) -> None:
    """Write or add dL/d part number `place` to `d_part` (n, width), for `given` dL/d features."""
    n, width = d_part.shape
    if n:
        backward.standardise[(n, triton.cdiv(width, _FEATURES_BLOCK))](
            features,
            mean,
            given,
            d_part,
            d_part.stride(0),
            n_plain,
            width,
            len(mean),
            place * width,
            ADD=add,
            BLOCK=_FEATURES_BLOCK,
            num_warps=4,
        )


class TritonOperations:
    """`protocol.Operations` on a CUDA device, or anywhere under Triton's interpreter."""

    memory: Memory = NewMemory()

    def of_thread(self) -> TritonOperations:
        """See `protocol.Operations`."""
        return self

    def convolve(self, graph: BlockGraph, index: Tensor, source: Tensor, spline: Spline) -> Tensor:
        """See `protocol.Operations`; radial functions that are trained have no kernel, and go through plain torch."""
        if spline.values.requires_grad:
            return TorchOperations().convolve(graph, index, source, spline)
        return _Convolve.apply(graph.vectors, source.contiguous(), graph.offsets, index, spline)

    def species_sums(self, graph: BlockGraph, species: Tensor, n_species: int, spline: Spline, n_lm: int) -> Tensor:
        """See `protocol.Operations`."""
        return _SpeciesSums.apply(graph.vectors, graph.offsets, species, n_species, spline, n_lm)

    def contract(self, message: Tensor, slots: Tensor, polynomial: Polynomial) -> Tensor:
        """See `protocol.Operations`."""
        p = polynomial
        coefficients = (p.linear.contiguous(), p.quadratic.contiguous(), p.cubic.contiguous())
        return _Contract.apply(message.contiguous(), *coefficients, slots, p.pairs, p.triples)

    def contract_with_invariants(self, message: Tensor, slots: Tensor, polynomial: Polynomial) -> tuple[Tensor, Tensor]:
        """See `protocol.Operations`."""
        return self.contract(message, slots, polynomial), self.invariants(message)

    def invariants(self, message: Tensor) -> Tensor:
        """See `protocol.Operations`."""
        return _Invariants.apply(message.contiguous())

    def means(
        self, graph: BlockGraph, species: Tensor, mine: Tensor, values: Tensor, r_max: float, n_means: int
    ) -> Tensor:
        """See `protocol.Operations`."""
        g = graph
        return _Means.apply(
            g.vectors, values.contiguous(), g.offsets, g.index, g.own, species, mine, float(r_max), n_means
        )


def _list(vectors: Tensor, offsets: Tensor, index: Tensor) -> EdgeList:
    return EdgeList(offsets=offsets, index=index, vectors=vectors.detach().contiguous())


def _ending_at(edges: EdgeList, n_sources: int) -> tuple[EdgeList, Tensor]:
    """Return the edges listed by where they end, centres in the place of neighbours, and their numbers."""
    order = torch.argsort(edges.index, stable=True)
    centre = torch.repeat_interleave(
        torch.arange(len(edges), device=order.device), edges.offsets.diff(), output_size=len(order)
    )
    offsets = torch.zeros(n_sources + 1, dtype=torch.int64, device=order.device)
    torch.cumsum(torch.bincount(edges.index, minlength=n_sources), 0, out=offsets[1:])
    return EdgeList(offsets=offsets, index=centre[order], vectors=edges.vectors[order]), order


def _by_source(ending: EdgeList, spline: Spline, given: Tensor, source: Tensor) -> Tensor:
    """Return dL/d source; where few sources have most of the edges, as rows of species do, in pieces."""
    if len(ending.index) <= _MANY_EDGES * len(source):
        d_source = torch.empty_like(source)
        launch_convolve_sources(ending, spline, given, reverse=False, out=d_source)
        return d_source
    starts = torch.arange(0, len(ending.index), _PIECE, device=source.device)
    offsets = torch.unique(torch.cat([ending.offsets, starts]))
    of = torch.searchsorted(ending.offsets, offsets[:-1], right=True) - 1
    parts = source.new_empty(len(of), source.shape[1])
    pieces = EdgeList(offsets=offsets, index=ending.index, vectors=ending.vectors)
    launch_convolve_sources(pieces, spline, given, reverse=False, out=parts)
    return torch.zeros_like(source).index_add_(0, of, parts)


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, source: Tensor, offsets: Tensor, index: Tensor, spline: Spline) -> Tensor:
        ctx.save_for_backward(vectors, source, offsets, index)
        ctx.spline = spline
        degrees = spline.values.shape[2] // source.shape[1]
        return launch_convolve(_list(vectors, offsets, index), spline, degrees, source=source)

    @staticmethod
    @first_order
    def backward(ctx: Any, given: Tensor):
        vectors, source, offsets, index = ctx.saved_tensors
        edges, given = _list(vectors, offsets, index), given.contiguous()
        d_vectors = d_source = None
        if ctx.needs_input_grad[0]:
            d_vectors = torch.empty(edges.vectors.shape, dtype=source.dtype, device=source.device)
            launch_convolve_edges(edges, ctx.spline, given, d_vectors, add=False, source=source)
            d_vectors = d_vectors.to(vectors.dtype)
        if ctx.needs_input_grad[1]:
            d_source = _by_source(_ending_at(edges, len(source))[0], ctx.spline, given, source)
        return d_vectors, d_source, None, None, None


class _SpeciesSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, vectors: Tensor, offsets: Tensor, species: Tensor, n_species: int, spline: Spline, n_lm: int
    ) -> Tensor:
        ctx.save_for_backward(vectors, offsets, species)
        ctx.n_species, ctx.spline = n_species, spline
        edges = _list(vectors, offsets, species)
        return launch_convolve(edges, spline, round(n_lm**0.5), lookup=species, per_edge=True, n_species=n_species)

    @staticmethod
    @first_order
    def backward(ctx: Any, given: Tensor):
        vectors, offsets, species = ctx.saved_tensors
        kind = ctx.spline.values
        d_vectors = torch.empty(vectors.shape, dtype=kind.dtype, device=kind.device)
        launch_convolve_edges(
            _list(vectors, offsets, species),
            ctx.spline,
            given.contiguous(),
            d_vectors,
            add=False,
            lookup=species,
            per_edge=True,
            n_species=ctx.n_species,
        )
        return d_vectors.to(vectors.dtype), None, None, None, None, None


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
    ) -> Tensor:
        ctx.save_for_backward(message, linear, quadratic, cubic, slots, pairs, triples)
        return launch_contract(
            message,
            slots,
            Polynomial(pairs=pairs, triples=triples, linear=linear, quadratic=quadratic, cubic=cubic),
        )

    @staticmethod
    @first_order
    def backward(ctx: Any, given: Tensor):
        message, linear, quadratic, cubic, slots, pairs, triples = ctx.saved_tensors
        given = given.contiguous()
        d_message = d_linear = d_quadratic = d_cubic = None
        if ctx.needs_input_grad[0]:
            polynomial = Polynomial(pairs=pairs, triples=triples, linear=linear, quadratic=quadratic, cubic=cubic)
            d_message = launch_contract_message(message, slots, polynomial, given)
        if any(ctx.needs_input_grad[1:4]):
            single = torch.zeros(1, 1, dtype=torch.int64, device=message.device)
            d_linear, d_quadratic, d_cubic = (
                _coefficients(message, slots, factors, given, like)
                for factors, like in ((single, linear), (pairs, quadratic), (triples, cubic))
            )
        return d_message, d_linear, d_quadratic, d_cubic, None, None, None


def _coefficients(message: Tensor, slots: Tensor, factors: Tensor, given: Tensor, like: Tensor) -> Tensor:
    out = torch.zeros_like(like)
    n_slots, n_monomials, channels = like.shape
    shape, n = shape_of(channels), message.shape[1]
    if n and n_monomials:
        grid = (n_monomials, n_slots, triton.cdiv(n, _ROWS * _TILES))
        backward.contract_coefficients[grid](
            message,
            slots,
            factors,
            given,
            out,
            n,
            n_monomials,
            channels,
            ORDER=factors.shape[1],
            ROWS=_ROWS,
            TILES=min(_TILES, triton.next_power_of_2(triton.cdiv(n, _ROWS))),
            BLOCK=shape.block,
            num_warps=shape.warps,
        )
    return out


def _terms(pairs: Tensor, triples: Tensor, n_lm: int) -> tuple[Tensor, Tensor]:
    """Return the monomials of the derivative by each component, see `triton_backward.contract_message`."""
    if triples not in _derivatives:
        lists: Sequence[list[list[int]]] = [[] for _ in range(2 * n_lm)]
        for kind, factors in enumerate((pairs.tolist(), triples.tolist())):
            for m, monomial in enumerate(factors):
                for lm in sorted(set(monomial)):
                    rest = list(monomial)
                    rest.remove(lm)
                    lists[2 * lm + kind].append([monomial.count(lm), m, *rest, *[-1] * (2 - len(rest))])
        starts = [0]
        for one in lists:
            starts.append(starts[-1] + len(one))
        flat = [term for one in lists for term in one] or [[0, 0, 0, 0]]
        _derivatives[triples] = (
            torch.tensor(starts, dtype=torch.int32, device=triples.device),
            torch.tensor(flat, dtype=torch.int32, device=triples.device),
        )
    found: tuple[Tensor, Tensor] = _derivatives[triples]
    return found


class _Invariants(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, message: Tensor) -> Tensor:
        ctx.save_for_backward(message)
        n_lm, n, channels = message.shape
        out = message.new_empty(n, round(n_lm**0.5), channels)
        launch_invariants(message, out)
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, given: Tensor):
        (message,) = ctx.saved_tensors
        n_lm, n, channels = message.shape
        shape, d_message = shape_of(channels), torch.empty_like(message)
        if n:
            backward.invariants[(n,)](
                message,
                given.contiguous(),
                d_message,
                n,
                channels,
                L=round(n_lm**0.5) - 1,
                BLOCK=shape.block,
                num_warps=shape.warps,
            )
        return d_message


class _Means(torch.autograd.Function):
    @staticmethod
    def forward(
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
    ) -> Tensor:
        edges = _list(vectors, offsets, index)
        found = launch_means(edges, values, values.new_tensor([r_max]), n_means, species=species, mine=mine, own=own)
        ctx.save_for_backward(vectors, values, offsets, index, own, species, mine, found)
        ctx.r_max, ctx.n_means = r_max, n_means
        return found

    @staticmethod
    @first_order
    def backward(ctx: Any, given: Tensor):
        vectors, values, offsets, index, own, species, mine, found = ctx.saved_tensors
        edges, given = _list(vectors, offsets, index), given.contiguous()
        r_max = values.new_tensor([ctx.r_max])
        norms = launch_means_norms(edges, r_max, ctx.n_means, values.dtype, species=species, mine=mine)
        d_vectors = d_values = None
        if ctx.needs_input_grad[0]:
            d_vectors = torch.empty(vectors.shape, dtype=values.dtype, device=values.device)
            launch_means_edges(
                edges, values, r_max, found, norms, given, d_vectors, add=False, species=species, mine=mine
            )
            d_vectors = d_vectors.to(vectors.dtype)
        if ctx.needs_input_grad[1]:
            ending, order = _ending_at(edges, len(values))
            same = (species[order] == mine[ending.index]).to(torch.int8)
            d_values = torch.empty_like(values)
            launch_means_sources(ending, r_max, norms, given, d_values, add=False, species=species, same_kind=same)
            d_values.index_add_(0, own, (given / norms.unsqueeze(2)).sum(1))
        return d_vectors, d_values, None, None, None, None, None, None, None
