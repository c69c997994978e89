"""Sums of one centre that stay in vector registers: numba intrinsics for the kernels of the forward pass.

    spline_sums    out[lm, c] = sum_e Y[lm, e] (sum_i h[i, e] t[k_e + i F, c]) s[r_e, c],   i = 0 .. 3
    weighted_sums  out[c]     = sum_e w[e] s[r_e, c]
    monomial_sums  out[c]     = sum_m k[m, c] prod over i in m of a[i, c]

For a few vectors of channels at a time all edges, or monomials, are gone through, with one register for each sum; loops
that numba compiles go through all channels for each edge, and load and store the sums every time. Lists of edges (k_e
and r_e count numbers of flat arrays; h, w, Y one row each) are made by the caller. A register holds 16, 8 or 4 float32,
whatever the machine has.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic

from .registers import FAST, Emitter, constants, data_of, groups, length_of, n_registers


@intrinsic(prefer_literal=True)
def spline_sums(
    typing,
    n_channels,
    n_degrees,
    gather,
    table,
    width,
    knots,
    blend,
    source,
    rows,
    angles,
    start,
    stop,
    out,
    place,
    stride,
):
    """Write the sums to the flat `out` at `place + stride lm + c`.

    Parameters
    ----------
    n_channels, n_degrees : int, constants
        Channels c, of which the table has one set per degree l; without `gather` one set for all l, and no source.
    gather : bool, constant
        Whether there is a factor s.
    table, width, knots, blend, source, rows, angles, start, stop
        Flat table, F, (capacity,) int64, (4, capacity), flat source, (capacity,) int64, (n_lm, capacity), first edge
        and end.
    """
    given = (table, width, knots, blend, source, rows, angles, start, stop, out, place, stride)
    signature = types.void(n_channels, n_degrees, gather, *given)
    n_channels, n_degrees, gather = constants(n_channels, n_degrees, gather)

    def generate(context, builder, signature, values):
        data = [data_of(context, builder, kind, value) for kind, value in zip(given, values[3:], strict=True)]
        table, width, knots, blend, source, rows, angles, start, stop, out, place, stride = data
        capacity = length_of(context, builder, given[2], values[5])  # as of all lists
        emit = Emitter(context, builder, given[0].dtype, n_channels)
        together = emit.together(2 if n_registers() > 16 else 1)
        for degrees in groups(n_degrees, together):
            components = [lm for degree in degrees for lm in range(degree**2, (degree + 1) ** 2)]
            with emit.vectors(together) as begin:
                sums = {lm: [emit.zero() for _ in range(together)] for lm in components}
                with emit.steps(start, stop, 1) as edge:
                    first = builder.add(emit.item(knots, edge), begin)
                    factor = emit.some(source, builder.add(emit.item(rows, edge), begin), together) if gather else []
                    h = [emit.spread(blend, builder.add(edge, emit.times(capacity, k))) for k in range(4)]
                    weights: list[Any] = []
                    for degree in degrees:
                        if gather or not weights:
                            at = builder.add(first, emit.number(degree * n_channels if gather else 0))
                            weights = [builder.fmul(h[0], v, flags=FAST) for v in emit.some(table, at, together)]
                            for k in range(1, 4):
                                at = builder.add(at, width)
                                knot = emit.some(table, at, together)
                                weights = [emit.add_product(w, h[k], v) for w, v in zip(weights, knot, strict=True)]
                            if gather:
                                weights = [builder.fmul(w, f, flags=FAST) for w, f in zip(weights, factor, strict=True)]
                        for lm in range(degree**2, (degree + 1) ** 2):
                            y = emit.spread(angles, builder.add(edge, emit.times(capacity, lm)))
                            for total, weight in zip(sums[lm], weights, strict=True):
                                builder.store(emit.add_product(builder.load(total), y, weight), total)
                for lm in components:
                    at = builder.add(builder.add(place, begin), builder.mul(stride, emit.number(lm)))
                    emit.write(sums[lm], out, at)
        return context.get_dummy_value()

    return signature, generate


@intrinsic(prefer_literal=True)
def monomial_sums(typing, n_channels, a, linear, pairs, quadratic, triples, cubic, slot, out, place):
    """Write the sums to the flat `out` at `place + c`; `n_channels` is a constant.

    `a` (n_lm C,) are the components of one centre, `pairs` and `triples` (M, 2) and (M, 3) int64, coefficients
    (n_slots, M, C).
    """
    given = (a, linear, pairs, quadratic, triples, cubic, slot, out, place)
    signature = types.void(n_channels, *given)
    (n_channels,) = constants(n_channels)

    def generate(context, builder, signature, values):
        data = [data_of(context, builder, kind, value) for kind, value in zip(given, values[1:], strict=True)]
        a, linear, pairs, quadratic, triples, cubic, slot, out, place = data
        emit = Emitter(context, builder, given[0].dtype, n_channels)
        together = emit.together(4)
        with emit.vectors(together) as begin:
            sums = [emit.zero() for _ in range(together)]
            factors = emit.some(linear, builder.add(emit.times(slot, n_channels), begin), together)
            for total, factor, value in zip(sums, factors, emit.some(a, begin, together), strict=True):
                builder.store(builder.fmul(factor, value, flags=FAST), total)
            for degree, index, coefficients, kind in (
                (2, pairs, quadratic, given[2]),
                (3, triples, cubic, given[4]),
            ):
                length = length_of(context, builder, kind, values[2 * degree - 1])
                row = builder.add(emit.times(builder.mul(slot, length), n_channels), begin)
                with emit.steps(emit.number(0), length, 1) as monomial:
                    factors = emit.some(coefficients, builder.add(row, emit.times(monomial, n_channels)), together)
                    for k in range(degree):
                        lm = emit.item(index, builder.add(emit.times(monomial, degree), emit.number(k)))
                        part = emit.some(a, builder.add(emit.times(lm, n_channels), begin), together)
                        factors = [builder.fmul(f, v, flags=FAST) for f, v in zip(factors, part, strict=True)]
                    for total, factor in zip(sums, factors, strict=True):
                        builder.store(builder.fadd(builder.load(total), factor, flags=FAST), total)
            emit.write(sums, out, builder.add(place, begin))
        return context.get_dummy_value()

    return signature, generate


@intrinsic(prefer_literal=True)
def weighted_sums(typing, n_values, source, rows, weights, count, out):
    """Write the sums to `out` (n_values,), a constant; `rows` int64 and `weights` (capacity,) of `count` edges."""
    given = (source, rows, weights, count, out)
    signature = types.void(n_values, *given)
    (n_values,) = constants(n_values)

    def generate(context, builder, signature, values):
        data = [data_of(context, builder, kind, value) for kind, value in zip(given, values[1:], strict=True)]
        source, rows, weights, count, out = data
        emit = Emitter(context, builder, given[0].dtype, n_values)
        together = emit.together(8)
        with emit.vectors(together) as begin:
            sums = [emit.zero() for _ in range(together)]
            with emit.steps(emit.number(0), count, 1) as edge:
                row = emit.some(source, builder.add(emit.item(rows, edge), begin), together)
                weight = emit.spread(weights, edge)
                for total, value in zip(sums, row, strict=True):
                    builder.store(emit.add_product(builder.load(total), weight, value), total)
            emit.write(sums, out, begin)
        return context.get_dummy_value()

    return signature, generate
