"""Numba kernels of the backward pass: from dL/d(result) to dL/d(inputs) of the operations of `kernels.py`.

    convolve      t_l[c] = sum_m Y_lm G[lm, a, c];     dL/d source[b, c] += sum_l R_lc t_l[c]
                  dL/dr = sum_lc R'_lc source[b, c] t_l[c],   dL/dY_lm = sum_c R_lc source[b, c] G[lm, a, c]
    species_sums  the same with phi_q in place of R_lc source[b, c]
    contract      product rule, for messages and coefficients
    means         dL/d v[b] = (w / W) G,   dL/dw = G . (v[b] - m) / W

`G` is the derivative by the result. Results are added to arrays that belong to the block at hand, so a block needs no lock.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from ovito_mace_phase.compiling import COMPILED, kernel

from .angles import harmonics, hermite, hermite_slope, pull_back


@lru_cache(maxsize=8)
def convolve(n_channels: int, n_degrees: int) -> Callable[..., None]:
    """Return `convolve(offsets, index, vectors, source, table, scale, stretch, r_max, g, d_vectors, d_source)`."""

    @kernel(**COMPILED)
    def run(offsets, index, vectors, source, table, scale, stretch, r_max, g, d_vectors, d_source):
        n_knots = table.shape[0]
        kind = source.dtype
        mine = np.empty((n_degrees * n_degrees, n_channels), dtype=kind)
        weighted = np.empty(n_channels, dtype=kind)
        turned = np.empty(n_channels, dtype=kind)
        angle, d_angle = np.empty(16, dtype=kind), np.zeros(16, dtype=kind)
        spline, slope = np.empty(4, dtype=kind), np.empty(4, dtype=kind)
        for centre in range(len(offsets) - 1):
            for lm in range(n_degrees * n_degrees):
                for c in range(n_channels):
                    mine[lm, c] = g[lm, centre, c]
            for edge in range(offsets[centre], offsets[centre + 1]):
                dx, dy, dz = vectors[edge, 0], vectors[edge, 1], vectors[edge, 2]
                r = np.sqrt(dx * dx + dy * dy + dz * dz)
                if r >= r_max:
                    d_vectors[edge] = 0
                    continue
                harmonics(dx / r, dy / r, dz / r, angle)
                knot = hermite(scale * r / (r + stretch), n_knots, spline)
                hermite_slope(scale * r / (r + stretch), n_knots, slope)
                h0, h1, h2, h3 = spline[0], spline[1], spline[2], spline[3]
                s0, s1, s2, s3 = slope[0], slope[1], slope[2], slope[3]
                row, d_row = source[index[edge]], d_source[index[edge]]
                along = kind.type(0)
                lm = 0
                for degree in range(n_degrees):
                    begin = degree * n_channels
                    y = angle[lm]
                    first = mine[lm]
                    for c in range(n_channels):
                        turned[c] = y * first[c]
                    for m in range(lm + 1, lm + 2 * degree + 1):
                        y = angle[m]
                        other = mine[m]
                        for c in range(n_channels):
                            turned[c] += y * other[c]
                    v0 = table[knot, 0, begin : begin + n_channels]
                    d0 = table[knot, 1, begin : begin + n_channels]
                    v1 = table[knot + 1, 0, begin : begin + n_channels]
                    d1 = table[knot + 1, 1, begin : begin + n_channels]
                    for c in range(n_channels):
                        radial = h0 * v0[c] + h1 * d0[c] + h2 * v1[c] + h3 * d1[c]
                        steep = s0 * v0[c] + s1 * d0[c] + s2 * v1[c] + s3 * d1[c]
                        d_row[c] += radial * turned[c]
                        along += steep * row[c] * turned[c]
                        weighted[c] = radial * row[c]
                    for m in range(lm, lm + 2 * degree + 1):
                        other = mine[m]
                        total = kind.type(0)
                        for c in range(n_channels):
                            total += weighted[c] * other[c]
                        d_angle[m] = total
                    lm += 2 * degree + 1
                pull_back(dx / r, dy / r, dz / r, r, along * scale * stretch / (r + stretch) ** 2, d_angle, d_vectors[edge])

    return run


@lru_cache(maxsize=8)
def species_sums(n_functions: int) -> Callable[..., None]:
    """Return `species_sums(offsets, species, vectors, table, scale, stretch, r_max, g, d_vectors)`."""

    @kernel(**COMPILED)
    def run(offsets, species, vectors, table, scale, stretch, r_max, g, d_vectors):
        n_knots, n_lm = table.shape[0], g.shape[0]
        kind = table.dtype
        phi, steep = np.empty(n_functions, dtype=kind), np.empty(n_functions, dtype=kind)
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
                knot = hermite(scale * r / (r + stretch), n_knots, spline)
                hermite_slope(scale * r / (r + stretch), n_knots, slope)
                h0, h1, h2, h3 = spline[0], spline[1], spline[2], spline[3]
                s0, s1, s2, s3 = slope[0], slope[1], slope[2], slope[3]
                v0, d0, v1, d1 = table[knot, 0], table[knot, 1], table[knot + 1, 0], table[knot + 1, 1]
                for q in range(n_functions):
                    phi[q] = h0 * v0[q] + h1 * d0[q] + h2 * v1[q] + h3 * d1[q]
                    steep[q] = s0 * v0[q] + s1 * d0[q] + s2 * v1[q] + s3 * d1[q]
                begin = species[edge] * n_functions
                along = kind.type(0)
                for lm in range(n_lm):
                    other = g[lm, centre, begin : begin + n_functions]
                    total = kind.type(0)
                    turn = kind.type(0)
                    for q in range(n_functions):
                        total += phi[q] * other[q]
                        turn += steep[q] * other[q]
                    d_angle[lm] = total
                    along += angle[lm] * turn
                pull_back(dx / r, dy / r, dz / r, r, along * scale * stretch / (r + stretch) ** 2, d_angle, d_vectors[edge])

    return run


@kernel(**COMPILED)
def contract(message, carrier, linear, pairs, quadratic, triples, cubic, g, d_message):
    """Write dL/d message."""
    n_centres, n_channels = g.shape
    for centre in range(n_centres):
        z = carrier[centre]
        mine = g[centre]
        for lm in range(message.shape[0]):
            target = d_message[lm, centre]
            for c in range(n_channels):
                target[c] = 0
        k, target = linear[z, 0], d_message[0, centre]
        for c in range(n_channels):
            target[c] += k[c] * mine[c]
        for m in range(len(pairs)):
            i, j = pairs[m, 0], pairs[m, 1]
            k, u, v = quadratic[z, m], message[i, centre], message[j, centre]
            du, dv = d_message[i, centre], d_message[j, centre]
            for c in range(n_channels):
                du[c] += mine[c] * k[c] * v[c]
            for c in range(n_channels):
                dv[c] += mine[c] * k[c] * u[c]
        for m in range(len(triples)):
            i, j, n = triples[m, 0], triples[m, 1], triples[m, 2]
            k, u, v, w = cubic[z, m], message[i, centre], message[j, centre], message[n, centre]
            du, dv, dw = d_message[i, centre], d_message[j, centre], d_message[n, centre]
            for c in range(n_channels):
                du[c] += mine[c] * k[c] * v[c] * w[c]
            for c in range(n_channels):
                dv[c] += mine[c] * k[c] * u[c] * w[c]
            for c in range(n_channels):
                dw[c] += mine[c] * k[c] * u[c] * v[c]


@kernel(**COMPILED)
def contract_coefficients(message, carrier, pairs, triples, g, d_linear, d_quadratic, d_cubic):
    """Add dL/d coefficients, arrays shaped like the coefficients."""
    n_centres, n_channels = g.shape
    for centre in range(n_centres):
        z = carrier[centre]
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
