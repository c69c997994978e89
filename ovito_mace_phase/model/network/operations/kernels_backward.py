"""Numba kernels of the backward pass: from dL/d(result) to dL/d(inputs) of the operations of `kernels.py`.

    convolve      t_l[c] = sum_m Y_lm G[lm, a, c];     dL/d source[b, c] += sum_l R_lc t_l[c]
                  dL/dr = sum_lc R'_lc source[b, c] t_l[c],   dL/dY_lm = sum_c R_lc source[b, c] G[lm, a, c]
    species_sums  the same with phi_q in place of R_lc source[b, c]
    contract      product rule, for messages and coefficients
    means         dL/d v[b] = (w / W) G,   dL/dw = G . (v[b] - m) / W

`G` is the derivative by the result. Results are added to arrays that belong to the block at hand, so a block needs no
lock.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from ovito_mace_phase.runtime.compiling import COMPILED, kernel

from .angles import harmonics, hermite, hermite_slope, pull_back


@lru_cache(maxsize=8)
def convolve(n_channels: int, n_degrees: int) -> Callable[..., None]:
    """Return `convolve(offsets, index, vectors, source, table, scale, stretch, r_max, g, d_vectors, d_source)`.

    The sums over the components of each l are written out: with constant places in one array they stay in registers.
    """
    n, n_lm, width = n_channels, n_degrees * n_degrees, n_degrees * n_channels

    @kernel(**COMPILED)
    def run(offsets, index, vectors, source, table, scale, stretch, r_max, g, d_vectors, d_source):
        n_knots = table.shape[0]
        kind = source.dtype
        mine = np.empty(n_lm * n, dtype=kind)
        radial, steep = np.empty(width, dtype=kind), np.empty(width, dtype=kind)
        turned = np.empty(width, dtype=kind)
        angle, d_angle = np.empty(16, dtype=kind), np.zeros(16, dtype=kind)
        spline, slope = np.empty(4, dtype=kind), np.empty(4, dtype=kind)
        for centre in range(len(offsets) - 1):
            for lm in range(n_lm):
                part = g[lm, centre]
                for c in range(n):
                    mine[lm * n + c] = part[c]
            for edge in range(offsets[centre], offsets[centre + 1]):
                dx, dy, dz = vectors[edge, 0], vectors[edge, 1], vectors[edge, 2]
                r = np.sqrt(dx * dx + dy * dy + dz * dz)
                if r >= r_max:
                    d_vectors[edge] = 0
                    continue
                harmonics(dx / r, dy / r, dz / r, angle)
                position = scale * r / (r + stretch)
                knot = hermite(position, n_knots, spline)
                hermite_slope(position, n_knots, slope)
                row, d_row = source[index[edge]], d_source[index[edge]]
                h0, h1, h2, h3 = spline[0], spline[1], spline[2], spline[3]
                s0, s1, s2, s3 = slope[0], slope[1], slope[2], slope[3]
                v0, d0, v1, d1 = table[knot, 0], table[knot, 1], table[knot + 1, 0], table[knot + 1, 1]
                for c in range(width):
                    radial[c] = h0 * v0[c] + h1 * d0[c] + h2 * v1[c] + h3 * d1[c]
                for c in range(width):
                    steep[c] = s0 * v0[c] + s1 * d0[c] + s2 * v1[c] + s3 * d1[c]
                # t_l[c]
                y0 = angle[0]
                for c in range(n):
                    turned[c] = y0 * mine[c]
                if n_degrees > 1:
                    y0, y1, y2 = angle[1], angle[2], angle[3]
                    for c in range(n):
                        turned[n + c] = y0 * mine[n + c] + y1 * mine[2 * n + c] + y2 * mine[3 * n + c]
                if n_degrees > 2:
                    y0, y1, y2, y3, y4 = angle[4], angle[5], angle[6], angle[7], angle[8]
                    for c in range(n):
                        turned[2 * n + c] = (
                            y0 * mine[4 * n + c]
                            + y1 * mine[5 * n + c]
                            + y2 * mine[6 * n + c]
                            + y3 * mine[7 * n + c]
                            + y4 * mine[8 * n + c]
                        )
                if n_degrees > 3:
                    y0, y1, y2, y3 = angle[9], angle[10], angle[11], angle[12]
                    y4, y5, y6 = angle[13], angle[14], angle[15]
                    for c in range(n):
                        turned[3 * n + c] = (
                            y0 * mine[9 * n + c]
                            + y1 * mine[10 * n + c]
                            + y2 * mine[11 * n + c]
                            + y3 * mine[12 * n + c]
                            + y4 * mine[13 * n + c]
                            + y5 * mine[14 * n + c]
                            + y6 * mine[15 * n + c]
                        )
                # dL/dr and dL/d source
                along = kind.type(0)
                for degree in range(n_degrees):
                    for c in range(n):
                        along += row[c] * steep[degree * n + c] * turned[degree * n + c]
                for degree in range(n_degrees):
                    for c in range(n):
                        d_row[c] += radial[degree * n + c] * turned[degree * n + c]
                # dL/dY_lm
                for degree in range(n_degrees):
                    for c in range(n):
                        radial[degree * n + c] *= row[c]
                t0 = kind.type(0)
                for c in range(n):
                    t0 += radial[c] * mine[c]
                d_angle[0] = t0
                if n_degrees > 1:
                    t0 = t1 = t2 = kind.type(0)
                    for c in range(n):
                        w = radial[n + c]
                        t0 += w * mine[n + c]
                        t1 += w * mine[2 * n + c]
                        t2 += w * mine[3 * n + c]
                    d_angle[1], d_angle[2], d_angle[3] = t0, t1, t2
                if n_degrees > 2:
                    t0 = t1 = t2 = t3 = t4 = kind.type(0)
                    for c in range(n):
                        w = radial[2 * n + c]
                        t0 += w * mine[4 * n + c]
                        t1 += w * mine[5 * n + c]
                        t2 += w * mine[6 * n + c]
                        t3 += w * mine[7 * n + c]
                        t4 += w * mine[8 * n + c]
                    d_angle[4], d_angle[5], d_angle[6], d_angle[7], d_angle[8] = t0, t1, t2, t3, t4
                if n_degrees > 3:
                    t0 = t1 = t2 = t3 = t4 = t5 = t6 = kind.type(0)
                    for c in range(n):
                        w = radial[3 * n + c]
                        t0 += w * mine[9 * n + c]
                        t1 += w * mine[10 * n + c]
                        t2 += w * mine[11 * n + c]
                        t3 += w * mine[12 * n + c]
                        t4 += w * mine[13 * n + c]
                        t5 += w * mine[14 * n + c]
                        t6 += w * mine[15 * n + c]
                    d_angle[9], d_angle[10], d_angle[11], d_angle[12] = t0, t1, t2, t3
                    d_angle[13], d_angle[14], d_angle[15] = t4, t5, t6
                pull_back(
                    dx / r, dy / r, dz / r, r, along * scale * stretch / (r + stretch) ** 2, d_angle, d_vectors[edge]
                )

    return run


@lru_cache(maxsize=8)
def species_sums(n_functions: int) -> Callable[..., None]:
    """Return `species_sums(offsets, species, vectors, table, scale, stretch, r_max, g, d_vectors)`."""

    @kernel(**COMPILED)
    def run(offsets, species, vectors, table, scale, stretch, r_max, g, d_vectors):
        n_knots, n_lm = table.shape[0], g.shape[0]
        kind = table.dtype
        phi, turned = np.empty(n_functions, dtype=kind), np.empty(n_functions, dtype=kind)
        angle, d_angle = np.empty(16, dtype=kind), np.zeros(16, dtype=kind)
        spline, slope = np.empty(4, dtype=kind), np.empty(4, dtype=kind)
        for centre in range(len(offsets) - 1):
            for edge in range(offsets[centre], offsets[centre + 1]):
                dx, dy, dz = vectors[edge, 0], vectors[edge, 1], vectors[edge, 2]
                r = np.sqrt(dx * dx + dy * dy + dz * dz)
                if r >= r_max:
                    d_vectors[edge] = 0
                    continue
                harmonics(dx / r, dy / r, dz / r, angle)
                position = scale * r / (r + stretch)
                knot = hermite(position, n_knots, spline)
                hermite_slope(position, n_knots, slope)
                h0, h1, h2, h3 = spline[0], spline[1], spline[2], spline[3]
                s0, s1, s2, s3 = slope[0], slope[1], slope[2], slope[3]
                v0, d0, v1, d1 = table[knot, 0], table[knot, 1], table[knot + 1, 0], table[knot + 1, 1]
                begin = species[edge] * n_functions
                end = begin + n_functions
                first = g[0, centre, begin:end]
                total = kind.type(0)
                for q in range(n_functions):
                    phi[q] = h0 * v0[q] + h1 * d0[q] + h2 * v1[q] + h3 * d1[q]
                    turned[q] = angle[0] * first[q]
                    total += phi[q] * first[q]
                d_angle[0] = total
                for lm in range(1, n_lm - 2, 3):  # three at a time: n_lm - 1 is 0, 3, 8 or 15
                    a, b, c = g[lm, centre, begin:end], g[lm + 1, centre, begin:end], g[lm + 2, centre, begin:end]
                    ya, yb, yc = angle[lm], angle[lm + 1], angle[lm + 2]
                    ta = tb = tc = kind.type(0)
                    for q in range(n_functions):
                        turned[q] += ya * a[q] + yb * b[q] + yc * c[q]
                        ta += phi[q] * a[q]
                        tb += phi[q] * b[q]
                        tc += phi[q] * c[q]
                    d_angle[lm], d_angle[lm + 1], d_angle[lm + 2] = ta, tb, tc
                for lm in range(n_lm - (n_lm - 1) % 3, n_lm):
                    other = g[lm, centre, begin:end]
                    total = kind.type(0)
                    for q in range(n_functions):
                        turned[q] += angle[lm] * other[q]
                        total += phi[q] * other[q]
                    d_angle[lm] = total
                along = kind.type(0)
                for q in range(n_functions):
                    along += (s0 * v0[q] + s1 * d0[q] + s2 * v1[q] + s3 * d1[q]) * turned[q]
                pull_back(
                    dx / r, dy / r, dz / r, r, along * scale * stretch / (r + stretch) ** 2, d_angle, d_vectors[edge]
                )

    return run


@lru_cache(maxsize=8)
def contract(n_channels: int) -> Callable[..., None]:
    """Return `contract(message, slots, linear, pairs, quadratic, triples, cubic, g, d_message)`."""

    @kernel(**COMPILED)
    def run(message, slots, linear, pairs, quadratic, triples, cubic, g, d_message):
        n_lm = message.shape[0]
        kind = g.dtype
        a, d = np.empty(n_lm * n_channels, dtype=kind), np.empty(n_lm * n_channels, dtype=kind)
        scaled = np.empty(n_channels, dtype=kind)
        for centre in range(g.shape[0]):
            z = slots[centre]
            mine = g[centre]
            for lm in range(n_lm):
                part = message[lm, centre]
                for c in range(n_channels):
                    a[lm * n_channels + c] = part[c]
            d[:] = 0
            k = linear[z, 0]
            for c in range(n_channels):
                d[c] = k[c] * mine[c]
            for m in range(len(pairs)):
                i, j = pairs[m, 0] * n_channels, pairs[m, 1] * n_channels
                k = quadratic[z, m]
                u, v = a[i : i + n_channels], a[j : j + n_channels]
                du, dv = d[i : i + n_channels], d[j : j + n_channels]
                for c in range(n_channels):
                    scaled[c] = mine[c] * k[c]
                    du[c] += scaled[c] * v[c]
                for c in range(n_channels):
                    dv[c] += scaled[c] * u[c]
            for m in range(len(triples)):
                i, j, n = triples[m, 0] * n_channels, triples[m, 1] * n_channels, triples[m, 2] * n_channels
                k = cubic[z, m]
                u, v, w = a[i : i + n_channels], a[j : j + n_channels], a[n : n + n_channels]
                du, dv, dw = d[i : i + n_channels], d[j : j + n_channels], d[n : n + n_channels]
                for c in range(n_channels):
                    scaled[c] = mine[c] * k[c]
                    du[c] += scaled[c] * v[c] * w[c]
                for c in range(n_channels):
                    scaled[c] *= u[c]
                    dv[c] += scaled[c] * w[c]
                for c in range(n_channels):
                    dw[c] += scaled[c] * v[c]
            for lm in range(n_lm):
                target = d_message[lm, centre]
                for c in range(n_channels):
                    target[c] = d[lm * n_channels + c]

    return run


@kernel(**COMPILED)
def contract_coefficients(message, slots, pairs, triples, g, d_linear, d_quadratic, d_cubic):
    """Add dL/d coefficients, arrays shaped like the coefficients."""
    n_centres, n_channels = g.shape
    for centre in range(n_centres):
        z = slots[centre]
        mine = g[centre]
        target, u = d_linear[z, 0], message[0, centre]
        for c in range(n_channels):
            target[c] += mine[c] * u[c]
        for m in range(len(pairs)):
            target, u, v = d_quadratic[z, m], message[pairs[m, 0], centre], message[pairs[m, 1], centre]
            for c in range(n_channels):
                target[c] += mine[c] * u[c] * v[c]
        for m in range(len(triples)):
            target, w = d_cubic[z, m], message[triples[m, 2], centre]
            u, v = message[triples[m, 0], centre], message[triples[m, 1], centre]
            for c in range(n_channels):
                target[c] += mine[c] * u[c] * v[c] * w[c]


@kernel(**COMPILED)
def invariants(message, g, d_message):
    """Write dL/d message of the invariants."""
    n_centres, n_degrees, n_channels = g.shape
    for centre in range(n_centres):
        for c in range(n_channels):
            d_message[0, centre, c] = g[centre, 0, c]
        for degree in range(1, n_degrees):
            mine = g[centre, degree]
            weight = mine.dtype.type(2.0 / (2 * degree + 1))
            for lm in range(degree * degree, (degree + 1) * (degree + 1)):
                u, target = message[lm, centre], d_message[lm, centre]
                for c in range(n_channels):
                    target[c] = weight * u[c] * mine[c]


@kernel(**COMPILED)
def means(offsets, index, vectors, own, species, mine, values, r_max, result, g, d_vectors, d_values):
    """Write dL/d vectors and add dL/d values; `result` is what the forward kernel wrote."""
    n_values = values.shape[1]
    kind = values.dtype
    last = g.shape[1] - 1
    split = last == 1
    for k in range(len(own)):
        alike_weight = all_weight = 1.0
        for edge in range(offsets[k], offsets[k + 1]):
            dx, dy, dz = vectors[edge, 0], vectors[edge, 1], vectors[edge, 2]
            x = max(0.0, 1.0 - (dx * dx + dy * dy + dz * dz) / (r_max * r_max))
            all_weight += x * x * x
            if not split or species[edge] == mine[k]:
                alike_weight += x * x * x
        every, only = g[k, last], g[k, 0]
        every_mean = only_mean = 0.0
        for c in range(n_values):
            every_mean += every[c] * result[k, last, c]
            only_mean += only[c] * result[k, 0, c]
        scale_all, scale_alike = kind.type(1.0 / all_weight), kind.type(1.0 / alike_weight)
        target = d_values[own[k]]
        for c in range(n_values):
            target[c] += scale_all * every[c]
        if split:
            for c in range(n_values):
                target[c] += scale_alike * only[c]
        for edge in range(offsets[k], offsets[k + 1]):
            dx, dy, dz = vectors[edge, 0], vectors[edge, 1], vectors[edge, 2]
            x = 1.0 - (dx * dx + dy * dy + dz * dz) / (r_max * r_max)
            if x <= 0.0:
                d_vectors[edge] = 0
                continue
            row, target = values[index[edge]], d_values[index[edge]]
            weight = x * x * x
            a = kind.type(weight / all_weight)
            total = kind.type(0)
            for c in range(n_values):
                target[c] += a * every[c]
                total += every[c] * row[c]
            by_weight = (total - every_mean) / all_weight
            if split and species[edge] == mine[k]:
                b = kind.type(weight / alike_weight)
                total = kind.type(0)
                for c in range(n_values):
                    target[c] += b * only[c]
                    total += only[c] * row[c]
                by_weight += (total - only_mean) / alike_weight
            factor = -6.0 * x * x / (r_max * r_max) * by_weight
            d_vectors[edge, 0] = factor * dx
            d_vectors[edge, 1] = factor * dy
            d_vectors[edge, 2] = factor * dz
