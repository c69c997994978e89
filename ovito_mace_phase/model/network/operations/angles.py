"""Numba: one edge -> spline weights and spherical harmonics, and back from their derivatives to the edge vector.

    r = |v|,   u = v / r,   R(r) = h00 v_k + h10 d_k + h01 v_k+1 + h11 d_k+1,   Y_lm(u)
    dL/dv = dL/dr u + (dL/du - (dL/du . u) u) / r

Geometry is float64, whatever the precision of the features. Functions are inlined into the kernels of `kernels.py` and
`kernels_backward.py`; harmonics in e3nn's order (y is the polar axis), component-normalised, l up to 3.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numba

from ovito_mace_phase.runtime.compiling import COMPILED

S3, S5, S7, S15 = 3.0**0.5, 5.0**0.5, 7.0**0.5, 15.0**0.5
S105, S42, S70 = 105.0**0.5, 42.0**0.5 / 4.0, 70.0**0.5 / 4.0


@numba.njit(**COMPILED, inline="always")
def harmonics(x, y, z, out):
    """Write the 16 harmonics of a unit vector."""
    x2, y2, z2 = x * x, y * y, z * z
    out[0] = 1.0
    out[1] = S3 * x
    out[2] = S3 * y
    out[3] = S3 * z
    out[4] = S15 * x * z
    out[5] = S15 * x * y
    out[6] = S5 * (y2 - 0.5 * (x2 + z2))
    out[7] = S15 * y * z
    out[8] = 0.5 * S15 * (z2 - x2)
    out[9] = S70 * x * (3.0 * z2 - x2)
    out[10] = S105 * x * y * z
    out[11] = S42 * x * (4.0 * y2 - x2 - z2)
    out[12] = 0.5 * S7 * y * (2.0 * y2 - 3.0 * x2 - 3.0 * z2)
    out[13] = S42 * z * (4.0 * y2 - x2 - z2)
    out[14] = 0.5 * S105 * y * (z2 - x2)
    out[15] = S70 * z * (z2 - 3.0 * x2)


@numba.njit(**COMPILED, inline="always")
def harmonics_backward(x, y, z, g):
    """Return dL/du of the polynomials above for g[lm] = dL/dY_lm."""
    x2, y2, z2 = x * x, y * y, z * z
    gx = S3 * g[1] + S15 * (z * g[4] + y * g[5] - x * g[8]) - S5 * x * g[6]
    gy = S3 * g[2] + S15 * (x * g[5] + z * g[7]) + 2.0 * S5 * y * g[6]
    gz = S3 * g[3] + S15 * (x * g[4] + y * g[7] + z * g[8]) - S5 * z * g[6]
    gx += 3.0 * S70 * ((z2 - x2) * g[9] - 2.0 * x * z * g[15])
    gz += 3.0 * S70 * (2.0 * x * z * g[9] + (z2 - x2) * g[15])
    gx += S105 * (y * z * g[10] - x * y * g[14])
    gy += S105 * (x * z * g[10] + 0.5 * (z2 - x2) * g[14])
    gz += S105 * (x * y * g[10] + y * z * g[14])
    gx += S42 * ((4.0 * y2 - 3.0 * x2 - z2) * g[11] - 2.0 * x * z * g[13])
    gy += 8.0 * S42 * y * (x * g[11] + z * g[13])
    gz += S42 * ((4.0 * y2 - x2 - 3.0 * z2) * g[13] - 2.0 * x * z * g[11])
    gx -= 3.0 * S7 * x * y * g[12]
    gy += 1.5 * S7 * (2.0 * y2 - x2 - z2) * g[12]
    gz -= 3.0 * S7 * y * z * g[12]
    return gx, gy, gz


@numba.njit(**COMPILED, inline="always")
def hermite(position, n_knots, out):
    """Write the weights of v_k, d_k, v_k+1, d_k+1 (d in units of the spacing) and return k."""
    knot = min(int(position), n_knots - 2)  # a distance just below r_max may round to the last knot
    t = position - knot
    s = 1.0 - t
    out[0] = (1.0 + 2.0 * t) * s * s
    out[1] = t * s * s
    out[2] = t * t * (3.0 - 2.0 * t)
    out[3] = -t * t * s
    return knot


@numba.njit(**COMPILED, inline="always")
def hermite_slope(position, n_knots, out):
    """Write the derivatives of the weights by the position in units of the spacing."""
    t = position - min(int(position), n_knots - 2)
    out[0] = 6.0 * t * (t - 1.0)
    out[1] = (3.0 * t - 1.0) * (t - 1.0)
    out[2] = 6.0 * t * (1.0 - t)
    out[3] = t * (3.0 * t - 2.0)


@numba.njit(**COMPILED, inline="always")
def pull_back(x, y, z, r, slope, g, out):
    """Write dL/dv of an edge of unit vector (x, y, z) and length r: slope = dL/dr, g[lm] = dL/dY_lm."""
    gx, gy, gz = harmonics_backward(x, y, z, g)
    along = slope - (gx * x + gy * y + gz * z) / r
    out[0] = gx / r + along * x
    out[1] = gy / r + along * y
    out[2] = gz / r + along * z
