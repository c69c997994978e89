"""Numba: from the derivatives by the harmonics and the length of an edge back to its vector.

    dL/dv = dL/dr u + (dL/du - (dL/du . u) u) / r,   r = |v|,   u = v / r

The polynomials themselves are in `edge_lists.all_harmonics`: e3nn's order (y is the polar axis), component-normalised,
l up to 3. Functions are inlined into the kernels of `kernels_backward.py`.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numba

from ovito_mace_phase.runtime.compiling import COMPILED

S3, S5, S7, S15 = 3.0**0.5, 5.0**0.5, 7.0**0.5, 15.0**0.5
S105, S42, S70 = 105.0**0.5, 42.0**0.5 / 4.0, 70.0**0.5 / 4.0


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
def pull_back(x, y, z, r, slope, g, out):
    """Write dL/dv of an edge of unit vector (x, y, z) and length r: slope = dL/dr, g[lm] = dL/dY_lm."""
    gx, gy, gz = harmonics_backward(x, y, z, g)
    along = slope - (gx * x + gy * y + gz * z) / r
    out[0] = gx / r + along * x
    out[1] = gy / r + along * y
    out[2] = gz / r + along * z
