"""Numba: the edges of one centre within r_max as lists, one row per quantity, sorted by distance.

    u = v / r,   k + t = scale r / (r + stretch),   h_0..3(t) Hermite's weights,   Y_lm(u) harmonics

With one row per quantity everything is vectorised over edges. Edges that follow each other read the same or adjacent
knots of a table of radial functions, which are then still in the nearest cache. Geometry is float64, what the sums
multiply with is of their precision.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numba
import numpy as np

from ovito_mace_phase.runtime.compiling import COMPILED

from .angles import S3, S5, S7, S15, S42, S70, S105

_BUCKETS = 96
N_GEOMETRY = 8
"""Rows of the workspace `geometry`: x, y, z, position; and the same before they are sorted."""


@numba.njit(**COMPILED)
def most_edges(offsets):
    """Return the largest number of edges of a centre, at least 1."""
    most = 1
    for centre in range(len(offsets) - 1):
        most = max(most, offsets[centre + 1] - offsets[centre])
    return most


@numba.njit(**COMPILED)
def list_edges(first, last, vectors, kinds, n_kinds, grid, n_knots, geometry, edges, ends):
    """List the edges `first` to `last - 1` that are shorter than r_max by their kind, within a kind by distance.

    Parameters
    ----------
    vectors : (n_edges, 3) float64
    kinds : (n_edges,) int64
        Kind of each edge, from 0 on; not looked at where `n_kinds` is 1.
    grid : (3,) tuple
        Scale, stretch and r_max of a spline.
    n_knots : int
    geometry : (N_GEOMETRY, capacity) float64
        The first four rows are filled: unit vector, place among the knots.
    edges : (2, capacity) int64
        The first row is filled: number of each edge.
    ends : (n_kinds,) int64
        Is filled: end of the list of each kind.
    """
    scale, stretch, r_max = grid
    x, y, z, position = geometry[4], geometry[5], geometry[6], geometry[7]
    given = edges[1]
    count = 0
    for edge in range(first, last):
        dx, dy, dz = vectors[edge, 0], vectors[edge, 1], vectors[edge, 2]
        square = dx * dx + dy * dy + dz * dz
        x[count], y[count], z[count], position[count], given[count] = dx, dy, dz, square, edge
        count += square < r_max * r_max
    for e in range(count):
        r = np.sqrt(position[e])
        inverse = 1.0 / max(r, 1e-300)
        x[e] *= inverse
        y[e] *= inverse
        z[e] *= inverse
        position[e] = scale * r / (r + stretch)
    # counting sort: first by kind, then by bucket of the distance
    n_bins = n_kinds * _BUCKETS
    start = np.zeros(n_bins + 1, dtype=np.int64)
    per_knot = _BUCKETS / n_knots
    for e in range(count):
        place = min(int(position[e] * per_knot), _BUCKETS - 1) + (kinds[given[e]] * _BUCKETS if n_kinds > 1 else 0)
        start[place + 1] += 1
    for place in range(n_bins):
        start[place + 1] += start[place]
    for kind in range(n_kinds):
        ends[kind] = start[(kind + 1) * _BUCKETS]
    for e in range(count):
        place = min(int(position[e] * per_knot), _BUCKETS - 1) + (kinds[given[e]] * _BUCKETS if n_kinds > 1 else 0)
        to = start[place]
        start[place] += 1
        geometry[0, to], geometry[1, to], geometry[2, to], geometry[3, to] = x[e], y[e], z[e], position[e]
        edges[0, to] = given[e]
    return count


@numba.njit(**COMPILED)
def spline_weights(position, count, n_knots, row_length, knots, blend):
    """Write where the rows of each edge begin in a flat table, and the weights of its four rows, (4, capacity)."""
    kind = blend.dtype.type
    for e in range(count):
        knot = min(int(position[e]), n_knots - 2)  # a distance just below r_max may round to the last knot
        knots[e] = knot * row_length
        t = kind(position[e] - knot)
        s = kind(1) - t
        blend[0, e] = (kind(1) + kind(2) * t) * s * s
        blend[1, e] = t * s * s
        blend[2, e] = t * t * (kind(3) - kind(2) * t)
        blend[3, e] = -t * t * s


@numba.njit(**COMPILED)
def all_harmonics(geometry, count, out):
    """Write the harmonics of the edges, (16, capacity), in e3nn's order, component-normalised."""
    kind = out.dtype.type
    half, two, three, four = kind(0.5), kind(2), kind(3), kind(4)
    s3, s5, s15, s105, s42, s70 = kind(S3), kind(S5), kind(S15), kind(S105), kind(S42), kind(S70)
    half_s7, half_s15, half_s105 = kind(0.5 * S7), kind(0.5 * S15), kind(0.5 * S105)
    for e in range(count):
        x, y, z = kind(geometry[0, e]), kind(geometry[1, e]), kind(geometry[2, e])
        x2, y2, z2 = x * x, y * y, z * z
        out[0, e] = kind(1)
        out[1, e] = s3 * x
        out[2, e] = s3 * y
        out[3, e] = s3 * z
        out[4, e] = s15 * x * z
        out[5, e] = s15 * x * y
        out[6, e] = s5 * (y2 - half * (x2 + z2))
        out[7, e] = s15 * y * z
        out[8, e] = half_s15 * (z2 - x2)
        out[9, e] = s70 * x * (three * z2 - x2)
        out[10, e] = s105 * x * y * z
        out[11, e] = s42 * x * (four * y2 - x2 - z2)
        out[12, e] = half_s7 * y * (two * y2 - three * x2 - three * z2)
        out[13, e] = s42 * z * (four * y2 - x2 - z2)
        out[14, e] = half_s105 * y * (z2 - x2)
        out[15, e] = s70 * z * (z2 - three * x2)


@numba.njit(**COMPILED)
def spline_slopes_of_weights(position, count, n_knots, steep):
    """Write the derivatives of the weights of `spline_weights` by the position, (4, capacity)."""
    kind = steep.dtype.type
    for e in range(count):
        t = kind(position[e] - min(int(position[e]), n_knots - 2))
        steep[0, e] = kind(6) * t * (t - kind(1))
        steep[1, e] = (kind(3) * t - kind(1)) * (t - kind(1))
        steep[2, e] = kind(6) * t * (kind(1) - t)
        steep[3, e] = t * (kind(3) * t - kind(2))
