"""Triton: one edge -> spline weights and spherical harmonics, and back; what `angles.py` is for numba.

    r = |v|,   u = v / r,   R(r) = h00 v_k + h10 d_k + h01 v_k+1 + h11 d_k+1,   Y_lm(u)

Written for tiles of edges: every argument is a tensor with one value per edge, in the precision of the features.
Harmonics in e3nn's order (y is the polar axis), component-normalised, l up to 3.
"""
# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def load_edges(vectors, edge, inside, r_max, kind: tl.constexpr):
    """Return unit vector, length and whether the edge counts; edges that do not count point along x, at r_max."""
    dx = tl.load(vectors + 3 * edge, mask=inside, other=0.0).to(kind)
    dy = tl.load(vectors + 3 * edge + 1, mask=inside, other=0.0).to(kind)
    dz = tl.load(vectors + 3 * edge + 2, mask=inside, other=0.0).to(kind)
    square = dx * dx + dy * dy + dz * dz
    inside = inside & (square < r_max * r_max)
    dx = tl.where(inside, dx, r_max)
    dy = tl.where(inside, dy, 0.0)
    dz = tl.where(inside, dz, 0.0)
    r = tl.sqrt(tl.where(inside, square, r_max * r_max))
    return dx / r, dy / r, dz / r, r, inside


@triton.jit
def degree_2(x, y, z):
    """Return the five harmonics of l = 2."""
    s5: tl.constexpr = 2.23606797749979
    s15: tl.constexpr = 3.872983346207417
    return (
        s15 * x * z,
        s15 * x * y,
        s5 * (y * y - 0.5 * (x * x + z * z)),
        s15 * y * z,
        0.5 * s15 * (z * z - x * x),
    )


@triton.jit
def degree_3(x, y, z):
    """Return the seven harmonics of l = 3."""
    s7: tl.constexpr = 2.6457513110645907
    s105: tl.constexpr = 10.246950765959598
    s42: tl.constexpr = 1.620185174601965
    s70: tl.constexpr = 2.091650066335189
    x2, y2, z2 = x * x, y * y, z * z
    return (
        s70 * x * (3.0 * z2 - x2),
        s105 * x * y * z,
        s42 * x * (4.0 * y2 - x2 - z2),
        0.5 * s7 * y * (2.0 * y2 - 3.0 * x2 - 3.0 * z2),
        s42 * z * (4.0 * y2 - x2 - z2),
        0.5 * s105 * y * (z2 - x2),
        s70 * z * (z2 - 3.0 * x2),
    )


@triton.jit
def knot_of(r, scale, stretch, n_knots):
    """Return the knot below and the place t between it and the next."""
    position = scale * r / (r + stretch)
    knot = tl.minimum(position.to(tl.int32), n_knots - 2)
    return knot, position - knot.to(position.dtype)


@triton.jit
def hermite(t):
    """Return the weights of v_k, d_k, v_k+1, d_k+1."""
    s = 1.0 - t
    return (1.0 + 2.0 * t) * s * s, t * s * s, t * t * (3.0 - 2.0 * t), -t * t * s


@triton.jit
def hermite_slope(t):
    """Return the derivatives of the weights by t."""
    return 6.0 * t * (t - 1.0), (3.0 * t - 1.0) * (t - 1.0), 6.0 * t * (1.0 - t), t * (3.0 * t - 2.0)


@triton.jit
def spline_row(table, row, width, h0, h1, h2, h3, mask):
    """Return spline values (edges, channels); `row` points at v_k, behind which d_k, v_k+1, d_k+1 follow."""
    v0 = tl.load(table + row, mask=mask, other=0.0)
    d0 = tl.load(table + row + width, mask=mask, other=0.0)
    v1 = tl.load(table + row + 2 * width, mask=mask, other=0.0)
    d1 = tl.load(table + row + 3 * width, mask=mask, other=0.0)
    return h0[:, None] * v0 + h1[:, None] * d0 + h2[:, None] * v1 + h3[:, None] * d1


@triton.jit
def spline_and_slope(table, row, width, h0, h1, h2, h3, g0, g1, g2, g3, mask):
    """Return spline values and their derivatives by t, (edges, channels) each."""
    v0 = tl.load(table + row, mask=mask, other=0.0)
    d0 = tl.load(table + row + width, mask=mask, other=0.0)
    v1 = tl.load(table + row + 2 * width, mask=mask, other=0.0)
    d1 = tl.load(table + row + 3 * width, mask=mask, other=0.0)
    value = h0[:, None] * v0 + h1[:, None] * d0 + h2[:, None] * v1 + h3[:, None] * d1
    slope = g0[:, None] * v0 + g1[:, None] * d0 + g2[:, None] * v1 + g3[:, None] * d1
    return value, slope


@triton.jit
def along(g, weighted):
    """Return sum over channels of g[c] weighted[e, c], one value per edge."""
    return tl.sum(g[None, :] * weighted, axis=1)


@triton.jit
def pulled_1(x, y, z, a, b, c):
    """Return dL/du of the harmonics of l = 1 for dL/dY = (a, b, c)."""
    s3: tl.constexpr = 1.7320508075688772
    return s3 * a, s3 * b, s3 * c


@triton.jit
def pulled_2(x, y, z, g4, g5, g6, g7, g8):
    """Return dL/du of the harmonics of l = 2."""
    s5: tl.constexpr = 2.23606797749979
    s15: tl.constexpr = 3.872983346207417
    gx = s15 * (z * g4 + y * g5 - x * g8) - s5 * x * g6
    gy = s15 * (x * g5 + z * g7) + 2.0 * s5 * y * g6
    gz = s15 * (x * g4 + y * g7 + z * g8) - s5 * z * g6
    return gx, gy, gz


@triton.jit
def pulled_3(x, y, z, g9, g10, g11, g12, g13, g14, g15):
    """Return dL/du of the harmonics of l = 3."""
    s7: tl.constexpr = 2.6457513110645907
    s105: tl.constexpr = 10.246950765959598
    s42: tl.constexpr = 1.620185174601965
    s70: tl.constexpr = 2.091650066335189
    x2, y2, z2 = x * x, y * y, z * z
    gx = 3.0 * s70 * ((z2 - x2) * g9 - 2.0 * x * z * g15)
    gz = 3.0 * s70 * (2.0 * x * z * g9 + (z2 - x2) * g15)
    gx += s105 * (y * z * g10 - x * y * g14)
    gy = s105 * (x * z * g10 + 0.5 * (z2 - x2) * g14)
    gz += s105 * (x * y * g10 + y * z * g14)
    gx += s42 * ((4.0 * y2 - 3.0 * x2 - z2) * g11 - 2.0 * x * z * g13)
    gy += 8.0 * s42 * y * (x * g11 + z * g13)
    gz += s42 * ((4.0 * y2 - x2 - 3.0 * z2) * g13 - 2.0 * x * z * g11)
    gx -= 3.0 * s7 * x * y * g12
    gy += 1.5 * s7 * (2.0 * y2 - x2 - z2) * g12
    gz -= 3.0 * s7 * y * z * g12
    return gx, gy, gz
