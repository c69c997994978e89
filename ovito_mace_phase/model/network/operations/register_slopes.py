"""Derivatives of `register_sums.spline_sums` by one edge, sums in vector registers: a numba intrinsic.

    R_l[c] = sum_i h[i] t[k + i F + l n + c],   R'_l likewise with the slopes of h,   t_l[c] = sum_m Y_lm G[lm, c]
    along  = sum_lc R'_l s[c] t_l,   d_s[c] += sum_l R_l t_l,   dL/dY_lm = sum_c R_l s[c] G[lm, c]

`G` is the derivative by the sums of the centre. Without a source, s = 1 and all l have the same R.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from functools import lru_cache
from typing import Any

from numba.core import types
from numba.extending import intrinsic

from .registers import FAST, Emitter, data_of, groups, length_of


@lru_cache(maxsize=32)
def spline_slopes(n_channels: int, n_degrees: int, *, gather: bool) -> Any:
    """Return a function of the arguments of `run` below.

    Parameters
    ----------
    n_channels, n_degrees, gather
        As of `spline_sums`.

    The function takes the flat `table`, F = `width`, the place `knot` in it, weights `blend` and their slopes `steep`
    (4, capacity) and the harmonics `angles` (16, capacity) of which column `edge` is used, the flat `source` and the
    place `row` in it, and the flat `g`, G[lm, c] at `place + stride lm + c`. It adds to the flat `d_source`, and writes
    `out` (17,): dL/dY_lm, and `along` at the end.
    """

    @intrinsic
    def run(typing, table, width, knot, blend, steep, edge, source, row, angles, g, place, stride, d_source, out):
        given = (table, width, knot, blend, steep, edge, source, row, angles, g, place, stride, d_source, out)
        signature = types.void(*given)

        def generate(context, builder, signature, values):
            data = [data_of(context, builder, kind, value) for kind, value in zip(signature.args, values, strict=True)]
            table, width, knot, blend, steep, edge, source, row, angles, g, place, stride, d_source, out = data
            capacity = length_of(context, builder, signature.args[3], values[3], 1)
            emit = Emitter(context, builder, signature.args[0].dtype, n_channels)
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
                            at = builder.add(
                                builder.add(knot, begin), emit.number(degree * n_channels if gather else 0)
                            )
                            radial, slope = _two_sums(emit, table, at, width, h, h_slope)
                        seen = builder.fmul(radial, sent, flags=FAST) if gather else radial
                        turned = None
                        for lm in range(degree**2, (degree + 1) ** 2):
                            at = builder.add(builder.add(place, begin), builder.mul(stride, emit.number(lm)))
                            mine = emit.some(g, at, 1)[0]
                            y = emit.spread(angles, column[lm])
                            turned = (
                                builder.fmul(y, mine, flags=FAST)
                                if turned is None
                                else emit.add_product(turned, y, mine)
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

    return run


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
