"""Numba kernels of the backward pass: from dL/d(result) to dL/d(inputs) of the operations of `kernels.py`.

    convolve      t_l[c] = sum_m Y_lm G[lm, a, c];     dL/d source[b, c] += sum_l R_lc t_l[c]
                  dL/d v_k += h_0 source[b, c] t_l[c], and with h_1..3 the other three rows of the spline
                  dL/dr = sum_lc R'_lc source[b, c] t_l[c],   dL/dY_lm = sum_c R_lc source[b, c] G[lm, a, c]
    species_sums  the same with phi_q in place of R_lc source[b, c]
    contract      product rule, for messages and coefficients
    means         dL/d v[b] = (w / W) G,   dL/dw = G . (v[b] - m) / W

`G` is the derivative by the result. Results are added to arrays that belong to the block at hand, so a block needs no
lock.
"""
# mypy: disable-error-code="no-untyped-def, call-arg"

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numba
import numpy as np

from ovito_mace_phase.runtime.compiling import COMPILED, kernel

from .angles import pull_back
from .edge_lists import (
    N_GEOMETRY,
    all_harmonics,
    list_edges,
    most_edges,
    spline_slopes_of_weights,
    spline_weights,
)
from .register_slopes import spline_slopes


@lru_cache(maxsize=8)
def convolve(n_channels: int, n_degrees: int) -> Callable[..., None]:
    """Return `convolve(offsets, index, vectors, source, table, scale, stretch, r_max, g, d_vectors, d_source)`."""
    width = n_degrees * n_channels

    @kernel(**COMPILED)
    def run(offsets, index, vectors, source, table, scale, stretch, r_max, g, d_vectors, d_source):
        n_knots, n_lm, n_centres, most = table.shape[0], g.shape[0], g.shape[1], most_edges(offsets)
        kind = source.dtype
        geometry, edges = np.empty((N_GEOMETRY, most)), np.empty((2, most), dtype=np.int64)
        knots, ends = np.empty(most, dtype=np.int64), np.empty(1, dtype=np.int64)
        blend, steep, angles = (
            np.empty((4, most), dtype=kind),
            np.empty((4, most), dtype=kind),
            np.empty((16, most), kind),
        )
        mine, found = np.empty(n_lm * n_channels, dtype=kind), np.zeros(17, dtype=kind)
        grid = (scale, stretch, r_max)
        for centre in range(n_centres):
            first, last = offsets[centre], offsets[centre + 1]
            d_vectors[first:last] = 0
            count = list_edges(first, last, vectors, index, 1, grid, n_knots, geometry, edges, ends)
            spline_weights(geometry[3], count, n_knots, 2 * width, knots, blend)
            spline_slopes_of_weights(geometry[3], count, n_knots, steep)
            all_harmonics(geometry, count, angles)
            for lm in range(n_lm):
                part = g[lm, centre]
                for c in range(n_channels):
                    mine[lm * n_channels + c] = part[c]
            for e in range(count):
                edge = edges[0, e]
                row = index[edge] * n_channels
                spline_slopes(
                    n_channels, n_degrees, True, table, width, knots[e], blend, steep, e, source, row, angles, mine, 0,
                    n_channels, d_source, found,
                )  # fmt: skip
                pull_back_listed(geometry, e, grid, found, d_vectors[edge])

    return run


@lru_cache(maxsize=8)
def convolve_weights(n_channels: int, n_degrees: int) -> Callable[..., None]:
    """Return `convolve_weights(offsets, index, vectors, source, table, scale, stretch, r_max, g, d_source, d_table)`.

    For training: dL/d source and dL/d of the values and slopes on the knots, none by the vectors.
    """
    width = n_degrees * n_channels

    @kernel(**COMPILED)
    def run(offsets, index, vectors, source, table, scale, stretch, r_max, g, d_source, d_table):
        n_knots, n_centres, most = table.shape[0], g.shape[1], most_edges(offsets)
        kind = source.dtype
        geometry, edges = np.empty((N_GEOMETRY, most)), np.empty((2, most), dtype=np.int64)
        knots, ends = np.empty(most, dtype=np.int64), np.empty(1, dtype=np.int64)
        blend, angles = np.empty((4, most), dtype=kind), np.empty((16, most), dtype=kind)
        t = np.empty(n_channels, dtype=kind)
        grid = (scale, stretch, r_max)
        rows, d_rows = table.reshape(-1), d_table.reshape(-1)
        for centre in range(n_centres):
            first, last = offsets[centre], offsets[centre + 1]
            count = list_edges(first, last, vectors, index, 1, grid, n_knots, geometry, edges, ends)
            spline_weights(geometry[3], count, n_knots, 2 * width, knots, blend)
            all_harmonics(geometry, count, angles)
            for e in range(count):
                row = index[edges[0, e]]
                sent, d_sent = source[row], d_source[row]
                h0, h1, h2, h3 = blend[0, e], blend[1, e], blend[2, e], blend[3, e]
                for degree in range(n_degrees):
                    t[:] = 0
                    for lm in range(degree * degree, (degree + 1) * (degree + 1)):
                        y, part = angles[lm, e], g[lm, centre]
                        for c in range(n_channels):
                            t[c] += y * part[c]
                    at = knots[e] + degree * n_channels
                    v0, s0 = rows[at : at + n_channels], rows[at + width : at + width + n_channels]
                    v1 = rows[at + 2 * width : at + 2 * width + n_channels]
                    s1 = rows[at + 3 * width : at + 3 * width + n_channels]
                    d_v0, d_s0 = d_rows[at : at + n_channels], d_rows[at + width : at + width + n_channels]
                    d_v1 = d_rows[at + 2 * width : at + 2 * width + n_channels]
                    d_s1 = d_rows[at + 3 * width : at + 3 * width + n_channels]
                    for c in range(n_channels):
                        d_sent[c] += (h0 * v0[c] + h1 * s0[c] + h2 * v1[c] + h3 * s1[c]) * t[c]
                    for c in range(n_channels):
                        t[c] *= sent[c]
                    for c in range(n_channels):
                        d_v0[c] += h0 * t[c]
                    for c in range(n_channels):
                        d_s0[c] += h1 * t[c]
                    for c in range(n_channels):
                        d_v1[c] += h2 * t[c]
                    for c in range(n_channels):
                        d_s1[c] += h3 * t[c]

    return run


@lru_cache(maxsize=8)
def species_sums(n_functions: int, n_degrees: int) -> Callable[..., None]:
    """Return `species_sums(offsets, species, vectors, table, scale, stretch, r_max, g, d_vectors)`."""

    @kernel(**COMPILED)
    def run(offsets, species, vectors, table, scale, stretch, r_max, g, d_vectors):
        n_knots, n_centres, most = table.shape[0], g.shape[1], most_edges(offsets)
        kind = table.dtype
        geometry, edges = np.empty((N_GEOMETRY, most)), np.empty((2, most), dtype=np.int64)
        knots, ends = np.empty(most, dtype=np.int64), np.empty(1, dtype=np.int64)
        blend, steep, angles = (
            np.empty((4, most), dtype=kind),
            np.empty((4, most), dtype=kind),
            np.empty((16, most), kind),
        )
        found = np.zeros(17, dtype=kind)
        grid = (scale, stretch, r_max)
        for centre in range(n_centres):
            first, last = offsets[centre], offsets[centre + 1]
            d_vectors[first:last] = 0
            count = list_edges(first, last, vectors, species, 1, grid, n_knots, geometry, edges, ends)
            spline_weights(geometry[3], count, n_knots, 2 * n_functions, knots, blend)
            spline_slopes_of_weights(geometry[3], count, n_knots, steep)
            all_harmonics(geometry, count, angles)
            for e in range(count):
                edge = edges[0, e]
                place, stride = centre * g.shape[2] + species[edge] * n_functions, n_centres * g.shape[2]
                spline_slopes(
                    n_functions, n_degrees, False, table, n_functions, knots[e], blend, steep, e, table, 0, angles, g,
                    place, stride, table, found,
                )  # fmt: skip
                pull_back_listed(geometry, e, grid, found, d_vectors[edge])

    return run


@numba.njit(**COMPILED)
def pull_back_listed(geometry, e, grid, found, out):
    """Write dL/dv of an edge of the lists from dL/dY_lm and, at the end, the sum over the slopes of the weights."""
    scale, stretch, _ = grid
    position = geometry[3, e]  # scale r / (r + stretch)
    r = stretch * position / (scale - position)
    slope = found[16] * scale * stretch / (r + stretch) ** 2
    pull_back(geometry[0, e], geometry[1, e], geometry[2, e], r, slope, found, out)


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
