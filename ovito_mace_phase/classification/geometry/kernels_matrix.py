"""Numba kernels: 3 x 3 matrices, and copies of small arrays.

Written out, as `np.linalg` and slices that are assigned take numba some seconds to compile, which a user waits for.
The polar factor is found by Newton's method (N. J. Higham, SIAM J. Sci. Stat. Comput. 7 (1986) 1160), eigenvalues by
the trigonometric formula (O. K. Smith, Commun. ACM 4 (1961) 168).
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from ovito_mace_phase.runtime.compiling import COMPILED, kernel

NO_FIT = 9.0
"""Of a strain or rmsd: there is none."""


@kernel(**COMPILED)
def copy_vector(values, into):
    """Write values (n,) to `into`."""
    for i in range(len(values)):
        into[i] = values[i]


@kernel(**COMPILED)
def copy_matrix(values, into):
    """Write a (3, 3) matrix to `into`."""
    for i in range(3):
        for j in range(3):
            into[i, j] = values[i, j]


@kernel(**COMPILED)
def cross(a0, a1, a2, b0, b1, b2):
    """Return a x b."""
    return a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0


@kernel(**COMPILED)
def determinant(m):
    """Return the determinant of a (3, 3) matrix."""
    return (
        m[0, 0] * (m[1, 1] * m[2, 2] - m[1, 2] * m[2, 1])
        + m[0, 1] * (m[1, 2] * m[2, 0] - m[1, 0] * m[2, 2])
        + m[0, 2] * (m[1, 0] * m[2, 1] - m[1, 1] * m[2, 0])
    )


@kernel(**COMPILED)
def times_inverse(m, s, product):
    """Write m s^-1 of (3, 3) matrices, s not singular; `product` is neither of them."""
    det = determinant(s)
    for i in range(3):
        p, q = (i + 1) % 3, (i + 2) % 3
        for k in range(3):
            product[k, i] = 0.0
        for j in range(3):
            u, v = (j + 1) % 3, (j + 2) % 3
            inverse = (s[p, u] * s[q, v] - s[p, v] * s[q, u]) / det  # element (j, i)
            for k in range(3):
                product[k, i] += m[k, j] * inverse


@kernel(**COMPILED)
def eigenvalues(c):
    """Return the eigenvalues of a symmetric (3, 3) matrix, the least first."""
    mean = (c[0, 0] + c[1, 1] + c[2, 2]) / 3.0
    off = c[0, 1] ** 2 + c[0, 2] ** 2 + c[1, 2] ** 2
    p = np.sqrt(((c[0, 0] - mean) ** 2 + (c[1, 1] - mean) ** 2 + (c[2, 2] - mean) ** 2 + 2.0 * off) / 6.0)
    if p < 1e-12 * abs(mean):
        return mean, mean, mean
    b00, b11, b22 = (c[0, 0] - mean) / p, (c[1, 1] - mean) / p, (c[2, 2] - mean) / p
    b01, b02, b12 = c[0, 1] / p, c[0, 2] / p, c[1, 2] / p
    half = 0.5 * (b00 * (b11 * b22 - b12 * b12) - b01 * (b01 * b22 - b12 * b02) + b02 * (b01 * b12 - b11 * b02))
    angle = np.arccos(min(1.0, max(-1.0, half))) / 3.0
    high = mean + 2.0 * p * np.cos(angle)
    low = mean + 2.0 * p * np.cos(angle + 2.0943951023931953)
    return low, 3.0 * mean - high - low, high


@kernel(**COMPILED)
def deviatoric_strain(gradient):
    """Return the largest |e_i - mean e|, e_i the logarithms of the principal stretches of a (3, 3) gradient."""
    c = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            c[i, j] = (
                gradient[0, i] * gradient[0, j] + gradient[1, i] * gradient[1, j] + gradient[2, i] * gradient[2, j]
            )
    low, middle, high = eigenvalues(c)
    if low <= 0.0 or middle <= 0.0:
        return NO_FIT
    e0, e1, e2 = 0.5 * np.log(high), 0.5 * np.log(middle), 0.5 * np.log(low)
    average = (e0 + e1 + e2) / 3.0
    return max(abs(e0 - average), abs(e2 - average))


@kernel(**COMPILED)
def polar(matrix, rotation):
    """Write the rotation of the polar decomposition of a (3, 3) matrix; False where it has none."""
    norm = 0.0
    for i in range(3):
        for j in range(3):
            norm += matrix[i, j] ** 2
    norm = np.sqrt(norm / 3.0)
    if norm < 1e-12:
        return False
    for i in range(3):
        for j in range(3):
            rotation[i, j] = matrix[i, j] / norm
    for _ in range(20):
        c00 = rotation[1, 1] * rotation[2, 2] - rotation[1, 2] * rotation[2, 1]
        c01 = rotation[1, 2] * rotation[2, 0] - rotation[1, 0] * rotation[2, 2]
        c02 = rotation[1, 0] * rotation[2, 1] - rotation[1, 1] * rotation[2, 0]
        det = rotation[0, 0] * c00 + rotation[0, 1] * c01 + rotation[0, 2] * c02
        if det < 1e-9:
            return False
        c10 = rotation[2, 1] * rotation[0, 2] - rotation[2, 2] * rotation[0, 1]
        c11 = rotation[2, 2] * rotation[0, 0] - rotation[2, 0] * rotation[0, 2]
        c12 = rotation[2, 0] * rotation[0, 1] - rotation[2, 1] * rotation[0, 0]
        c20 = rotation[0, 1] * rotation[1, 2] - rotation[0, 2] * rotation[1, 1]
        c21 = rotation[0, 2] * rotation[1, 0] - rotation[0, 0] * rotation[1, 2]
        c22 = rotation[0, 0] * rotation[1, 1] - rotation[0, 1] * rotation[1, 0]
        g = det ** (-1.0 / 3.0)
        change = 0.0
        for i in range(3):
            for j in range(3):
                if i == 0:
                    cofactor = c00 if j == 0 else (c01 if j == 1 else c02)
                elif i == 1:
                    cofactor = c10 if j == 0 else (c11 if j == 1 else c12)
                else:
                    cofactor = c20 if j == 0 else (c21 if j == 1 else c22)
                new = 0.5 * (g * rotation[i, j] + cofactor / (det * g))
                change = max(change, abs(new - rotation[i, j]))
                rotation[i, j] = new
        if change < 1e-9:
            return True
    return True
