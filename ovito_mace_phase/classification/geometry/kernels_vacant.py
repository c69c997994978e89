"""Numba kernel: a template fitted to the neighbours that are there, where some of its places are empty.

    P = {k : a neighbour lies within _EMPTY d of F v_k + shift, each neighbour once, the nearest first}
    F, shift <- least squares of u_pi(k) on v_k, k in P and the atom itself;   again until P stays

rmsd, residual, strain and s are those of `kernels`, with P for the whole shell. It does not hold where more than
`most_empty` of the places are empty, where the neighbours lie on one side (least eigenvalue of their second moments
below _SURROUNDED times that of the whole shell), or where an atom that is at no place lies well within the shell: a
vacancy takes an atom away, it adds none.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from ovito_mace_phase.runtime.compiling import COMPILED, kernel

from .kernels_matrix import determinant, deviatoric_strain, eigenvalues, polar, times_inverse

EMPTY = 0.45
"""Of d: a place is empty where no atom is nearer."""
_TURNS = 4
_SURROUNDED = 0.35
_FREE = 1.2  # times `library.free`: nearer there is no atom but those of the shell


@kernel(**COMPILED)
def _place(library, t, n, vectors, gradient, shift, slot, used):
    """Write the neighbour at each place, -1 where it is empty; return how many are, and whether any place changed."""
    first, last = library.offsets[t], library.offsets[t + 1]
    det = abs(determinant(gradient))
    far = (EMPTY * library.nearest[t]) ** 2 * det ** (2.0 / 3.0)
    for m in range(n):
        used[m] = False
    empty, changed = 0, False
    for k in range(first, last):
        best, least = -1, far
        for m in range(n):
            if used[m]:
                continue
            apart = 0.0
            for i in range(3):
                x = shift[i]
                for j in range(3):
                    x += gradient[i, j] * library.vectors[k, j]
                apart += (vectors[m, i] - x) ** 2
            if apart < least:
                best, least = m, apart
        if best >= 0:
            used[best] = True
        else:
            empty += 1
        changed = changed or slot[k - first] != best
        slot[k - first] = best
    return empty, changed


@kernel(**COMPILED)
def fit_vacant(library, t, n, vectors, most_empty, gradient, slot, used, out):
    """Fit template t to the neighbours that are there, from a first guess of F, in place; as `kernels.fit`.

    `slot` is -1 where a place is empty, `out[4]` is how many are.
    """
    first, last = library.offsets[t], library.offsets[t + 1]
    size = last - first
    if library.planar[t]:
        return False
    shift, mean, centre, rotation = np.zeros(3), np.zeros(3), np.zeros(3), np.empty((3, 3))
    spread, matrix = np.empty((3, 3)), np.empty((3, 3))
    square, length, own, points, empty = 0.0, 0.0, 0.0, 0, 0
    slot[:] = -1
    for turn in range(_TURNS + 1):
        empty, changed = _place(library, t, n, vectors, gradient, shift, slot, used)
        if empty > most_empty * size:
            return False
        if (turn > 0 and not changed) or turn == _TURNS:
            break
        points = size - empty + 1
        mean[:] = 0.0
        centre[:] = 0.0
        spread[:] = 0.0
        matrix[:] = 0.0
        square, length, own = 0.0, 0.0, 0.0
        for k in range(first, last):
            m = slot[k - first]
            if m < 0:
                continue
            norm = 0.0
            for i in range(3):
                x, v = np.float64(vectors[m, i]), library.vectors[k, i]
                mean[i] += x / points
                centre[i] += v / points
                square += x * x
                norm += v * v
                for j in range(3):
                    matrix[i, j] += x * library.vectors[k, j]
                    spread[i, j] += v * library.vectors[k, j]
            length += np.sqrt(norm) / (points - 1)
            own += norm
        for i in range(3):
            square -= points * mean[i] ** 2
            own -= points * centre[i] ** 2
            for j in range(3):
                matrix[i, j] -= points * mean[i] * centre[j]
                spread[i, j] -= points * centre[i] * centre[j]
        if eigenvalues(spread)[0] < _SURROUNDED * eigenvalues(library.spread[t])[0]:
            return False
        times_inverse(matrix, spread, gradient)
        if determinant(gradient) <= 0.0:
            return False
        for i in range(3):
            shift[i] = mean[i]
            for j in range(3):
                shift[i] -= gradient[i, j] * centre[j]
    if square < 1e-12 or not polar(matrix, rotation):
        return False
    trace, kept = 0.0, 0.0
    for i in range(3):
        for j in range(3):
            trace += rotation[i, j] * matrix[i, j]
            kept += gradient[i, j] * matrix[i, j]
    scale = trace / square
    whole = points * length**2
    out[0] = np.sqrt(max(0.0, own - trace * trace / square) / whole)
    degrees = 3.0 * (points - 1)
    out[1] = scale * np.sqrt(max(0.0, square - kept) * (degrees - 4.0) / (degrees - 9.0) / whole)
    out[2] = deviatoric_strain(gradient)
    out[3] = scale
    out[4] = empty
    if empty:
        reach = (_FREE * library.free[t] / scale) ** 2
        for m in range(n):
            near = vectors[m, 0] ** 2 + vectors[m, 1] ** 2 + vectors[m, 2] ** 2
            if not used[m] and near < reach:
                return False
    return True
