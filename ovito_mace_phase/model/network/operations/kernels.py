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
# mypy: disable-error-code="no-untyped-def, call-arg"

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numba
import numpy as np

from ovito_mace_phase.runtime.compiling import COMPILED, kernel

from .edge_lists import N_GEOMETRY, all_harmonics, list_edges, most_edges, spline_weights
from .register_sums import monomial_sums, spline_sums, weighted_sums


@lru_cache(maxsize=8)
def convolve(n_channels: int, n_degrees: int) -> Callable[..., None]:
    """Return `convolve(offsets, index, vectors, source, table, scale, stretch, r_max, out)`."""
    width = n_degrees * n_channels

    @kernel(**COMPILED)
    def run(offsets, index, vectors, source, table, scale, stretch, r_max, out):
        n_knots, n_centres, most = table.shape[0], out.shape[1], most_edges(offsets)
        geometry, edges = np.empty((N_GEOMETRY, most)), np.empty((2, most), dtype=np.int64)
        knots, rows, ends = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int64), np.empty(1, dtype=np.int64)
        blend, angles = np.empty((4, most), dtype=source.dtype), np.empty((16, most), dtype=source.dtype)
        grid = (scale, stretch, r_max)
        for centre in range(n_centres):
            first, last = offsets[centre], offsets[centre + 1]
            count = list_edges(first, last, vectors, index, 1, grid, n_knots, geometry, edges, ends)
            spline_weights(geometry[3], count, n_knots, 2 * width, knots, blend)
            all_harmonics(geometry, count, angles)
            for e in range(count):
                rows[e] = index[edges[0, e]] * n_channels
            place, stride = centre * n_channels, n_centres * n_channels
            spline_sums(
                n_channels, n_degrees, True, table, width, knots, blend, source, rows, angles, 0, count, out, place,
                stride,
            )  # fmt: skip

    return run


@lru_cache(maxsize=8)
def species_sums(n_functions: int, n_species: int) -> Callable[..., None]:
    """Return `species_sums(offsets, species, vectors, table, scale, stretch, r_max, out)`; `species` per edge.

    The degrees of all harmonics of `out` have the same radial functions.
    """
    width = n_functions * n_species

    @kernel(**COMPILED)
    def run(offsets, species, vectors, table, scale, stretch, r_max, out):
        n_knots, n_lm, n_centres, most = table.shape[0], out.shape[0], out.shape[1], most_edges(offsets)
        geometry, edges = np.empty((N_GEOMETRY, most)), np.empty((2, most), dtype=np.int64)
        knots, ends = np.empty(most, dtype=np.int64), np.empty(n_species, dtype=np.int64)
        blend, angles = np.empty((4, most), dtype=table.dtype), np.empty((16, most), dtype=table.dtype)
        grid = (scale, stretch, r_max)
        for centre in range(n_centres):
            first, last = offsets[centre], offsets[centre + 1]
            count = list_edges(first, last, vectors, species, n_species, grid, n_knots, geometry, edges, ends)
            spline_weights(geometry[3], count, n_knots, 2 * n_functions, knots, blend)
            all_harmonics(geometry, count, angles)
            begin = 0
            for kind in range(n_species):
                end = ends[kind]
                place, stride = centre * width + kind * n_functions, n_centres * width
                if n_lm == 1:
                    spline_sums(
                        n_functions, 1, False, table, n_functions, knots, blend, table, knots, angles, begin, end, out,
                        place, stride,
                    )  # fmt: skip
                elif n_lm == 4:
                    spline_sums(
                        n_functions, 2, False, table, n_functions, knots, blend, table, knots, angles, begin, end, out,
                        place, stride,
                    )  # fmt: skip
                elif n_lm == 9:
                    spline_sums(
                        n_functions, 3, False, table, n_functions, knots, blend, table, knots, angles, begin, end, out,
                        place, stride,
                    )  # fmt: skip
                else:
                    spline_sums(
                        n_functions, 4, False, table, n_functions, knots, blend, table, knots, angles, begin, end, out,
                        place, stride,
                    )  # fmt: skip
                begin = end

    return run


@lru_cache(maxsize=8)
def contract(n_channels: int) -> Callable[..., None]:
    """Return `contract(message, slots, linear, pairs, quadratic, triples, cubic, out, powers)`.

    Coefficients are `linear` (Z, 1, C), `quadratic` (Z, M2, C) and `cubic` (Z, M3, C). With `powers` (n_centres,
    n_degrees, C) the invariants are written too, while the message is in the cache; without, its length is 0.
    """

    @kernel(**COMPILED)
    def run(message, slots, linear, pairs, quadratic, triples, cubic, out, powers):
        n_lm, n_degrees = message.shape[0], powers.shape[1]
        a = np.empty(n_lm * n_channels, dtype=out.dtype)
        for centre in range(out.shape[0]):
            for lm in range(n_lm):
                part = message[lm, centre]
                for c in range(n_channels):
                    a[lm * n_channels + c] = part[c]
            monomial_sums(
                n_channels, a, linear, pairs, quadratic, triples, cubic, slots[centre], out, centre * n_channels
            )
            if len(powers):
                for degree in range(n_degrees):
                    write_power(a, degree, n_channels, powers[centre, degree])

    return run


@numba.njit(**COMPILED)
def write_power(a, degree, n_channels, target):
    """Write A of l = 0, or the power of a higher degree, of one centre."""
    if degree == 0:
        for c in range(n_channels):
            target[c] = a[c]
        return
    weight = target.dtype.type(1.0 / (2 * degree + 1))
    first = degree * degree * n_channels
    for c in range(n_channels):
        target[c] = weight * a[first + c] * a[first + c]
    for lm in range(degree * degree + 1, (degree + 1) * (degree + 1)):
        u = a[lm * n_channels : (lm + 1) * n_channels]
        for c in range(n_channels):
            target[c] += weight * u[c] * u[c]


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


@lru_cache(maxsize=8)
def means(n_values: int) -> Callable[..., None]:
    """Return `means(offsets, index, vectors, own, species, mine, values, r_max, out)`.

    Writes means of `values` (n_rows, F) over the atom `own[k]` and its neighbours to out (1 or 2, n_centres, F): two,
    over the neighbours of its own species, and over all; one over all. `species` (n_edges,) of the neighbours, `mine`
    (n_centres,) of the centres.
    """

    @kernel(**COMPILED)
    def run(offsets, index, vectors, own, species, mine, values, r_max, out):
        kind = values.dtype
        most = most_edges(offsets) + 1
        rows, other_rows = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int64)
        weights, other_weights = np.empty(most, dtype=kind), np.empty(most, dtype=kind)
        alike, other = np.empty(n_values, dtype=kind), np.empty(n_values, dtype=kind)
        split = out.shape[0] == 2
        for k in range(len(own)):
            rows[0], weights[0] = own[k] * n_values, 1
            count, n_other = 1, 0
            alike_weight, other_weight = 1.0, 0.0
            for edge in range(offsets[k], offsets[k + 1]):
                dx, dy, dz = vectors[edge, 0], vectors[edge, 1], vectors[edge, 2]
                x = 1.0 - (dx * dx + dy * dy + dz * dz) / (r_max * r_max)
                if x <= 0.0:
                    continue
                if split and species[edge] != mine[k]:
                    other_rows[n_other], other_weights[n_other] = index[edge] * n_values, x * x * x
                    other_weight += x * x * x
                    n_other += 1
                else:
                    rows[count], weights[count] = index[edge] * n_values, x * x * x
                    alike_weight += x * x * x
                    count += 1
            weighted_sums(n_values, values, rows, weights, count, alike)
            per_all, per_alike = kind.type(1.0 / (alike_weight + other_weight)), kind.type(1.0 / alike_weight)
            if split:
                weighted_sums(n_values, values, other_rows, other_weights, n_other, other)
                for c in range(n_values):
                    out[0, k, c] = alike[c] * per_alike
                    out[1, k, c] = (alike[c] + other[c]) * per_all
            else:
                for c in range(n_values):
                    out[0, k, c] = alike[c] * per_all

    return run


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
