"""Derivatives of `register_sums.spline_sums` by one edge, sums in vector registers: a numba intrinsic.

    R_l[c] = sum_i h[i] t[k + i F + l n + c],   R'_l likewise with the slopes of h,   t_l[c] = sum_m Y_lm G[lm, c]
    along  = sum_lc R'_l s[c] t_l,   d_s[c] += sum_l R_l t_l,   dL/dY_lm = sum_c R_l s[c] G[lm, c]

`G` is the derivative by the sums of the centre. Without a source, s = 1 and all l have the same R.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from numba.core import types
from numba.extending import intrinsic

from .registers import FAST, Emitter, constants, data_of, groups, length_of


@intrinsic(prefer_literal=True)
def spline_slopes(
    typing,
    n_channels,
    n_degrees,
    gather,
    table,
    width,
    knot,
    blend,
    steep,
    edge,
    source,
    row,
    angles,
    g,
    place,
    stride,
    d_source,
    out,
):
    """Add to the flat `d_source`, and write `out` (17,): dL/dY_lm, and `along` at the end.

    Parameters
    ----------
    n_channels, n_degrees, gather
        As of `spline_sums`.
    table, width, knot, blend, steep, edge, source, row, angles, g, place, stride
        Flat table, F, the place in it, weights and their slopes (4, capacity) and harmonics (16, capacity) of which
        column `edge` is used, flat source and the place in it, and the flat G[lm, c] at `place + stride lm + c`.
    """
    given = (table, width, knot, blend, steep, edge, source, row, angles, g, place, stride, d_source, out)
    signature = types.void(n_channels, n_degrees, gather, *given)
    n_channels, n_degrees, gather = constants(n_channels, n_degrees, gather)

    def generate(context, builder, signature, values):
        data = [data_of(context, builder, kind, value) for kind, value in zip(given, values[3:], strict=True)]
        table, width, knot, blend, steep, edge, source, row, angles, g, place, stride, d_source, out = data
        capacity = length_of(context, builder, given[3], values[6], 1)
        emit = Emitter(context, builder, given[0].dtype, n_channels)
        column = [builder.add(edge, emit.times(capacity, k)) for k in range(n_degrees * n_degrees)]
        h = [emit.spread(blend, builder.add(edge, emit.times(capacity, k))) for k in range(4)]
        h_slope = [emit.spread(steep, builder.add(edge, emit.times(capacity, k))) for k in range(4)]
        along = emit.zero()
        for degrees in groups(n_degrees, 2):
            components = [lm for degree in degrees for lm in range(degree**2, (degree + 1) ** 2)]
            d_angles = {lm: emit.zero() for lm in components}
            with emit.vectors(1) as begin:
                radial = slope = None
                turned_all = None
                at_source = builder.add(row, begin)
                sent = emit.some(source, at_source, 1)[0] if gather else None
                by_sent = emit.some(d_source, at_source, 1)[0] if gather else None
                for degree in degrees:
                    if gather or radial is None:
                        at = builder.add(builder.add(knot, begin), emit.number(degree * n_channels if gather else 0))
                        radial, slope = _two_sums(emit, table, at, width, h, h_slope)
                    seen = builder.fmul(radial, sent, flags=FAST) if gather else radial
                    turned = None
                    for lm in range(degree**2, (degree + 1) ** 2):
                        at = builder.add(builder.add(place, begin), builder.mul(stride, emit.number(lm)))
                        mine = emit.some(g, at, 1)[0]
                        y = emit.spread(angles, column[lm])
                        turned = (
                            builder.fmul(y, mine, flags=FAST) if turned is None else emit.add_product(turned, y, mine)
                        )
                        builder.store(emit.add_product(builder.load(d_angles[lm]), seen, mine), d_angles[lm])
                    if gather:
                        steepness = builder.fmul(slope, sent, flags=FAST)
                        builder.store(emit.add_product(builder.load(along), steepness, turned), along)
                        by_sent = emit.add_product(by_sent, radial, turned)
                    else:
                        turned_all = turned if turned_all is None else builder.fadd(turned_all, turned, flags=FAST)
                if gather:
                    emit.write_vector(by_sent, d_source, at_source)
                else:
                    builder.store(emit.add_product(builder.load(along), slope, turned_all), along)
            for lm in components:
                emit.write_total(d_angles[lm], out, emit.number(lm))
        emit.write_total(along, out, emit.number(16))
        return context.get_dummy_value()

    return signature, generate


def _two_sums(emit, table, at, width, h, h_slope):
    """Return the radial functions of some channels and their slopes."""
    builder = emit.builder
    values = emit.some(table, at, 1)[0]
    radial, slope = builder.fmul(h[0], values, flags=FAST), builder.fmul(h_slope[0], values, flags=FAST)
    for k in range(1, 4):
        at = builder.add(at, width)
        values = emit.some(table, at, 1)[0]
        radial, slope = emit.add_product(radial, h[k], values), emit.add_product(slope, h_slope[k], values)
    return radial, slope
