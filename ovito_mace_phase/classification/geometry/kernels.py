"""Numba kernels: one template fitted to the neighbours of one atom.

    u_m   neighbours of the atom;   v_k  vectors of the template, v_0 = u_0 = 0
    match  pi(k) = the nearest u to F v_k + shift, each u once;   F, shift <- least squares of u_pi(k) on v_k;   again
    H = sum_k (u_pi(k) - mean u)(v_k - c)^T,   F = H A^-1,   Q = polar factor of H,   s = tr(Q^T H) / sum |u - mean u|^2

    rmsd       sqrt( sum_k |s (u_pi(k) - mean u) - Q (v_k - c)|^2 / (N + 1) ) / a          rotation and scale: PTM's
    residual   sqrt( sum_k |(u_pi(k) - mean u) - F (v_k - c)|^2 / (N + 1) (3 N - 4) / (3 N - 9) ) s / a     with strain
    strain     largest |e_i - mean e|,   e_i = log of the principal stretches of F

In noise alone the two are equal on average: the second has five numbers more to fit. Matching against a template that
is turned, and strained by 15 %, as a neighbour is, needs no search; see `kernels_search` for where there is none.
Source: P. M. Larsen, S. Schmidt, J. Schiotz, Model. Simul. Mater. Sci. Eng. 24 (2016) 055007.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from ovito_mace_phase.runtime.compiling import COMPILED, kernel

from .kernels_matrix import cross, deviatoric_strain, polar
from .kernels_nearest import free_all, take_nearest

_TURNS = 4  # of matching and least squares
_MISSING = 0.55  # of d: farther from its place a neighbour is missing
_HOPELESS = 0.5  # of d: rms distance of neighbours from their places
_SURELY = 1.5  # residual over the largest rmsd asked for, of neighbours that are not all at their places yet
_WRONG_SPECIES = 0.3  # of d: so much farther an atom of the wrong species counts


@kernel(**COMPILED, forceinline=True)
def moments(library, t, around, slot, shift, matrix):
    """Write H and the centroid of the matched neighbours; return sum |u - mean u|^2."""
    first, last = library.offsets[t], library.offsets[t + 1]
    u = around.vectors
    sx, sy, sz, square = 0.0, 0.0, 0.0, 0.0
    h00, h01, h02, h10, h11, h12, h20, h21, h22 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(first, last):
        m = slot[k - first]
        x, y, z = np.float64(u[0, m]), np.float64(u[1, m]), np.float64(u[2, m])
        a, b, c = library.vectors[k, 0], library.vectors[k, 1], library.vectors[k, 2]
        sx, sy, sz = sx + x, sy + y, sz + z
        square += x * x + y * y + z * z
        h00, h01, h02 = h00 + x * a, h01 + x * b, h02 + x * c
        h10, h11, h12 = h10 + y * a, h11 + y * b, h12 + y * c
        h20, h21, h22 = h20 + z * a, h21 + z * b, h22 + z * c
    count = last - first + 1
    square -= (sx * sx + sy * sy + sz * sz) / count
    shift[0], shift[1], shift[2] = sx / count, sy / count, sz / count
    a, b, c = library.centre[t, 0], library.centre[t, 1], library.centre[t, 2]
    matrix[0, 0], matrix[0, 1], matrix[0, 2] = h00 - sx * a, h01 - sx * b, h02 - sx * c
    matrix[1, 0], matrix[1, 1], matrix[1, 2] = h10 - sy * a, h11 - sy * b, h12 - sy * c
    matrix[2, 0], matrix[2, 1], matrix[2, 2] = h20 - sz * a, h21 - sz * b, h22 - sz * c
    if library.planar[t]:
        n0, n1, n2 = library.normal[t, 0], library.normal[t, 1], library.normal[t, 2]
        add_normal(n0, n1, n2, np.sqrt(square * library.square[t]) / 2.0, matrix)
    return square


@kernel(**COMPILED)
def add_normal(n0, n1, n2, weight, matrix):
    """Add to H that the normal n of a sheet goes to that of the neighbours."""
    if abs(n0) < 0.6:  # a and b: two vectors of the plane
        a0, a1, a2 = 1.0 - n0 * n0, -n0 * n1, -n0 * n2
    else:
        a0, a1, a2 = -n1 * n0, 1.0 - n1 * n1, -n1 * n2
    b0, b1, b2 = cross(n0, n1, n2, a0, a1, a2)
    p0, p1, p2 = turned(matrix, a0, a1, a2)
    q0, q1, q2 = turned(matrix, b0, b1, b2)
    u0, u1, u2 = cross(p0, p1, p2, q0, q1, q2)
    size = np.sqrt(u0 * u0 + u1 * u1 + u2 * u2)
    if size > 1e-12:
        for i in range(3):
            u = weight * (u0 if i == 0 else (u1 if i == 1 else u2)) / size
            matrix[i, 0] += u * n0
            matrix[i, 1] += u * n1
            matrix[i, 2] += u * n2


@kernel(**COMPILED)
def turned(matrix, a0, a1, a2):
    """Return M a, M a (3, 3) matrix."""
    return (
        matrix[0, 0] * a0 + matrix[0, 1] * a1 + matrix[0, 2] * a2,
        matrix[1, 0] * a0 + matrix[1, 1] * a1 + matrix[1, 2] * a2,
        matrix[2, 0] * a0 + matrix[2, 1] * a1 + matrix[2, 2] * a2,
    )


@kernel(**COMPILED, forceinline=True)
def match(library, t, around, codes, gradient, shift, limit, slot):
    """Write the neighbour that lies at each place of the template; return how many places are empty.

    All of them where the neighbours lie so far from their places on average that nothing can come of it.
    """
    first, last = library.offsets[t], library.offsets[t + 1]
    det = (
        gradient[0, 0] * (gradient[1, 1] * gradient[2, 2] - gradient[1, 2] * gradient[2, 1])
        - gradient[0, 1] * (gradient[1, 0] * gradient[2, 2] - gradient[1, 2] * gradient[2, 0])
        + gradient[0, 2] * (gradient[1, 0] * gradient[2, 1] - gradient[1, 1] * gradient[2, 0])
    )
    near = library.nearest[t] * abs(det) ** (1.0 / 3.0)
    extra = (_WRONG_SPECIES * near) ** 2
    far = (limit * near) ** 2
    free_all(around)
    u = around.vectors
    missing, total, most = 0, 0.0, (last - first) * (_HOPELESS * near) ** 2
    for k in range(first, last):
        v0, v1, v2 = library.vectors[k, 0], library.vectors[k, 1], library.vectors[k, 2]
        x = gradient[0, 0] * v0 + gradient[0, 1] * v1 + gradient[0, 2] * v2 + shift[0]
        y = gradient[1, 0] * v0 + gradient[1, 1] * v1 + gradient[1, 2] * v2 + shift[1]
        z = gradient[2, 0] * v0 + gradient[2, 1] * v1 + gradient[2, 2] * v2 + shift[2]
        wanted = codes[library.code[library.neighbour[k]]]
        m = take_nearest(around, x, y, z, wanted, extra)
        at = (u[0, m] - x) ** 2 + (u[1, m] - y) ** 2 + (u[2, m] - z) ** 2
        total += at
        if total > most:
            return last - first
        slot[k - first] = m
        missing += at > far
    return missing


@kernel(**COMPILED, forceinline=True)
def fit(library, t, n, around, codes, gradient, slot, most, out):
    """Fit template t from a first guess of F, in place.

    `around` are the n neighbours, see `kernels_nearest`; `codes` the species of the codes of the
    phase, -1 where it is open. Writes rmsd, residual, strain, s and the number of empty places to `out`, and the
    neighbours at the places of the template to `slot`. False where it does not fit at all, or when its residual shows
    that the rmsd will be above `most`.
    """
    size = library.offsets[t + 1] - library.offsets[t]
    if n < size:
        return False
    shift, matrix, rotation = np.zeros(3), np.empty((3, 3)), np.empty((3, 3))
    before = np.empty(size, dtype=np.int16)
    square, kept, missing, points = 0.0, 0.0, 0, (size + 1) * library.length[t] ** 2
    for turn in range(_TURNS):
        for k in range(size):
            before[k] = slot[k]
        missing = match(library, t, around, codes, gradient, shift, 1.5 * _MISSING if turn == 0 else _MISSING, slot)
        if missing * 3 > size:
            return False
        if turn > 0:
            same = True
            for k in range(size):
                same = same and before[k] == slot[k]
            if same:
                break
        square = moments(library, t, around, slot, shift, matrix)
        for i in range(3):
            for j in range(3):
                gradient[i, j] = (
                    matrix[i, 0] * library.inverse[t, 0, j]
                    + matrix[i, 1] * library.inverse[t, 1, j]
                    + matrix[i, 2] * library.inverse[t, 2, j]
                )
        kept = 0.0
        for i in range(3):
            for j in range(3):
                kept += gradient[i, j] * matrix[i, j]
        if not library.planar[t] and square - kept > square * (_SURELY * most) ** 2 * points / library.square[t]:
            return False
        if library.planar[t]:
            if not polar(matrix, rotation):
                return False
            scale = np.sqrt(square / library.square[t])
            for i in range(3):
                for j in range(3):
                    gradient[i, j] = scale * rotation[i, j]
        for i in range(3):  # from the centroid to the place of the centre
            for j in range(3):
                shift[i] -= gradient[i, j] * library.centre[t, j]
    if square < 1e-12 or not polar(matrix, rotation):
        return False
    trace = 0.0
    for i in range(3):
        for j in range(3):
            trace += rotation[i, j] * matrix[i, j]
    if library.planar[t]:
        trace -= np.sqrt(square * library.square[t]) / 2.0  # the normal, which is no point
        kept = trace * trace / library.square[t]
    scale = trace / square
    out[0] = np.sqrt(max(0.0, library.square[t] - trace * trace / square) / points)
    freedom = 1.0 if library.planar[t] else (3.0 * size - 4.0) / (3.0 * size - 9.0)
    out[1] = scale * np.sqrt(max(0.0, square - kept) * freedom / points)
    out[2] = 0.0 if library.planar[t] else deviatoric_strain(gradient)
    out[3] = scale
    out[4] = missing
    return True
