"""Numba kernels of the forward pass: for each centre one loop over its neighbours.

    convolve      A[lm, a, c]   = sum_b R_lc(r_ab) Y_lm(r_ab) source[b, c]
    species_sums  S[lm, a, s q] = sum over b of species s of phi_q(r_ab) Y_lm(r_ab)
    contract      B[a, c]       = sum_nu sum_m k_nu[z_a, m, c] prod over i in m of A[i, a, c]
    invariants    P[a, l, c]    = sum_m A[lm, a, c]^2 / (2 l + 1), and A itself for l = 0
    means         m[a, c]       = sum_b w(r_ab) v[b, c] / sum_b w(r_ab),   w = (1 - r^2 / r_max^2)^3, 1 for a itself
    standardise   x = g(f) - mean: what the head reads

Shapes: `offsets` (n_centres + 1,) int64, `index` (n_edges,) rows of the source, `vectors` (n_edges, 3) float64, `table`
(n_knots, 2, F) on knots equidistant in scale r / (r + stretch). Messages are (n_lm, n_centres, C), so that every
degree l is one contiguous matrix for the linear layer. Nothing of size n_edges x channels is ever in memory. Edges
are taken four at a time, which saves loads and stores of the sums. The number of channels is a constant of the
compiled code (a third faster than a variable one).
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from ovito_mace_phase.runtime.compiling import COMPILED, kernel

from .angles import harmonics, hermite

_GROUP = 4


@lru_cache(maxsize=8)
def convolve(n_channels: int, n_degrees: int) -> Callable[..., None]:
    """Return `convolve(offsets, index, vectors, source, table, scale, stretch, r_max, out)`."""
    width = n_degrees * n_channels

    @kernel(**COMPILED)
    def run(offsets, index, vectors, source, table, scale, stretch, r_max, out):
        n_knots = table.shape[0]
        kind = source.dtype
        sums = np.empty(n_degrees * n_degrees * n_channels, dtype=kind)
        weighted = np.zeros(4 * width, dtype=kind)
        angle = np.empty((4, 16), dtype=kind)
        spline = np.empty(4, dtype=kind)
        for centre in range(len(offsets) - 1):
            sums[:] = 0
            first, last = offsets[centre], offsets[centre + 1]
            while first < last:
                for k in range(4):
                    part = weighted[k * width : (k + 1) * width]
                    inside = first + k < last
                    if inside:
                        edge = first + k
                        dx, dy, dz = vectors[edge, 0], vectors[edge, 1], vectors[edge, 2]
                        r = np.sqrt(dx * dx + dy * dy + dz * dz)
                        inside = r < r_max
                    if not inside:
                        for c in range(width):
                            part[c] = 0
                        for lm in range(16):
                            angle[k, lm] = 0
                        continue
                    harmonics(dx / r, dy / r, dz / r, angle[k])
                    knot = hermite(scale * r / (r + stretch), n_knots, spline)
                    h0, h1, h2, h3 = spline[0], spline[1], spline[2], spline[3]
                    row = source[index[edge]]
                    for degree in range(n_degrees):
                        begin = degree * n_channels
                        v0 = table[knot, 0, begin : begin + n_channels]
                        d0 = table[knot, 1, begin : begin + n_channels]
                        v1 = table[knot + 1, 0, begin : begin + n_channels]
                        d1 = table[knot + 1, 1, begin : begin + n_channels]
                        target = part[begin : begin + n_channels]
                        for c in range(n_channels):
                            target[c] = (h0 * v0[c] + h1 * d0[c] + h2 * v1[c] + h3 * d1[c]) * row[c]
                lm = 0
                for degree in range(n_degrees):
                    begin = degree * n_channels
                    w0 = weighted[begin : begin + n_channels]
                    w1 = weighted[width + begin : width + begin + n_channels]
                    w2 = weighted[2 * width + begin : 2 * width + begin + n_channels]
                    w3 = weighted[3 * width + begin : 3 * width + begin + n_channels]
                    for _ in range(2 * degree + 1):
                        y0, y1, y2, y3 = angle[0, lm], angle[1, lm], angle[2, lm], angle[3, lm]
                        total = sums[lm * n_channels : (lm + 1) * n_channels]
                        for c in range(n_channels):
                            total[c] += (y0 * w0[c] + y1 * w1[c]) + (y2 * w2[c] + y3 * w3[c])
                        lm += 1
                first += 4
            for lm in range(n_degrees * n_degrees):
                for c in range(n_channels):
                    out[lm, centre, c] = sums[lm * n_channels + c]

    return run


@lru_cache(maxsize=8)
def species_sums(n_functions: int, n_species: int) -> Callable[..., None]:
    """Return `species_sums(offsets, species, vectors, table, scale, stretch, r_max, out)`; `species` per edge."""
    width = n_functions * n_species

    @kernel(**COMPILED)
    def run(offsets, species, vectors, table, scale, stretch, r_max, out):
        n_knots, n_lm = table.shape[0], out.shape[0]
        kind = table.dtype
        sums = np.empty(n_lm * width, dtype=kind)
        placed = np.zeros(4 * width, dtype=kind)
        angle = np.empty((4, 16), dtype=kind)
        spline = np.empty(4, dtype=kind)
        for centre in range(len(offsets) - 1):
            sums[:] = 0
            first, last = offsets[centre], offsets[centre + 1]
            while first < last:
                for k in range(4):
                    place = placed[k * width : (k + 1) * width]
                    for c in range(width):
                        place[c] = 0
                    inside = first + k < last
                    if inside:
                        edge = first + k
                        dx, dy, dz = vectors[edge, 0], vectors[edge, 1], vectors[edge, 2]
                        r = np.sqrt(dx * dx + dy * dy + dz * dz)
                        inside = r < r_max
                    if not inside:
                        for lm in range(16):
                            angle[k, lm] = 0
                        continue
                    harmonics(dx / r, dy / r, dz / r, angle[k])
                    knot = hermite(scale * r / (r + stretch), n_knots, spline)
                    h0, h1, h2, h3 = spline[0], spline[1], spline[2], spline[3]
                    begin = species[edge] * n_functions
                    target = place[begin : begin + n_functions]
                    v0, d0, v1, d1 = table[knot, 0], table[knot, 1], table[knot + 1, 0], table[knot + 1, 1]
                    for q in range(n_functions):
                        target[q] = h0 * v0[q] + h1 * d0[q] + h2 * v1[q] + h3 * d1[q]
                w0, w1 = placed[:width], placed[width : 2 * width]
                w2, w3 = placed[2 * width : 3 * width], placed[3 * width :]
                for lm in range(n_lm):
                    y0, y1, y2, y3 = angle[0, lm], angle[1, lm], angle[2, lm], angle[3, lm]
                    total = sums[lm * width : (lm + 1) * width]
                    for c in range(width):
                        total[c] += (y0 * w0[c] + y1 * w1[c]) + (y2 * w2[c] + y3 * w3[c])
                first += 4
            for lm in range(n_lm):
                for c in range(width):
                    out[lm, centre, c] = sums[lm * width + c]

    return run


@lru_cache(maxsize=8)
def contract(n_channels: int) -> Callable[..., None]:
    """Return `contract(message, slots, linear, pairs, quadratic, triples, cubic, out)`.

    Coefficients are `linear` (Z, 1, C), `quadratic` (Z, M2, C) and `cubic` (Z, M3, C).
    """

    @kernel(**COMPILED)
    def run(message, slots, linear, pairs, quadratic, triples, cubic, out):
        n_lm = message.shape[0]
        total, a = np.empty(n_channels, dtype=out.dtype), np.empty(n_lm * n_channels, dtype=out.dtype)
        for centre in range(out.shape[0]):
            z = slots[centre]
            for lm in range(n_lm):
                part = message[lm, centre]
                for c in range(n_channels):
                    a[lm * n_channels + c] = part[c]
            k = linear[z, 0]
            for c in range(n_channels):
                total[c] = k[c] * a[c]
            for m in range(len(pairs)):
                i, j = pairs[m, 0] * n_channels, pairs[m, 1] * n_channels
                k, u, v = quadratic[z, m], a[i : i + n_channels], a[j : j + n_channels]
                for c in range(n_channels):
                    total[c] += k[c] * u[c] * v[c]
            for m in range(len(triples)):
                i, j, n = triples[m, 0] * n_channels, triples[m, 1] * n_channels, triples[m, 2] * n_channels
                k, u, v, w = cubic[z, m], a[i : i + n_channels], a[j : j + n_channels], a[n : n + n_channels]
                for c in range(n_channels):
                    total[c] += k[c] * u[c] * v[c] * w[c]
            for c in range(n_channels):
                out[centre, c] = total[c]

    return run


@kernel(**COMPILED)
def invariants(message, out):
    """Write A of l = 0 and the powers of l = 1 and above to out (n_centres, n_degrees, C)."""
    n_centres, n_degrees, n_channels = out.shape
    for centre in range(n_centres):
        for c in range(n_channels):
            out[centre, 0, c] = message[0, centre, c]
        for degree in range(1, n_degrees):
            target = out[centre, degree]
            weight = target.dtype.type(1.0 / (2 * degree + 1))
            for c in range(n_channels):
                target[c] = 0
            for lm in range(degree * degree, (degree + 1) * (degree + 1)):
                u = message[lm, centre]
                for c in range(n_channels):
                    target[c] += weight * u[c] * u[c]


@kernel(**COMPILED)
def means(offsets, index, vectors, own, species, mine, values, r_max, out):
    """Write means of `values` (n_rows, F) over the atom `own[k]` and its neighbours to out (n_centres, 1 or 2, F).

    Two means: over the neighbours of its own species, and over all; one mean: over all. `species` (n_edges,) of the
    neighbours, `mine` (n_centres,) of the centres.
    """
    n_values = values.shape[1]
    kind = values.dtype
    alike, other = np.empty(n_values, dtype=kind), np.empty(n_values, dtype=kind)
    split = out.shape[1] == 2
    for k in range(len(own)):
        row = values[own[k]]
        for c in range(n_values):
            alike[c] = row[c]
            other[c] = 0
        alike_weight = all_weight = 1.0
        for edge in range(offsets[k], offsets[k + 1]):
            dx, dy, dz = vectors[edge, 0], vectors[edge, 1], vectors[edge, 2]
            x = 1.0 - (dx * dx + dy * dy + dz * dz) / (r_max * r_max)
            if x <= 0.0:
                continue
            all_weight += x * x * x
            weight = kind.type(x * x * x)
            row = values[index[edge]]
            if split and species[edge] != mine[k]:
                for c in range(n_values):
                    other[c] += weight * row[c]
            else:
                alike_weight += x * x * x
                for c in range(n_values):
                    alike[c] += weight * row[c]
        last = out.shape[1] - 1
        for c in range(n_values):
            out[k, last, c] = (alike[c] + other[c]) / all_weight
        if split:
            for c in range(n_values):
                out[k, 0, c] = alike[c] / alike_weight


@kernel(**COMPILED)
def standardise(part, n_plain, mean, floor, out, column):
    """Write g(part) - mean to the columns of `out` from `column` on; g is the root behind `n_plain` values."""
    n_rows, n_values = part.shape
    for row in range(n_rows):
        source, target = part[row], out[row, column : column + n_values]
        middle, least = mean[column : column + n_values], floor[column : column + n_values]
        for c in range(n_plain):
            target[c] = source[c] - middle[c]
        for c in range(n_plain, n_values):
            target[c] = np.sqrt(max(source[c], source.dtype.type(0)) + least[c]) - middle[c]
