"""Numba kernels: shells of a crystal laid over its atoms, and atoms put where these say, see `averaging`.

`vectors` are those at the matched positions, and `gone` (n_atoms, 3) how far the atoms have gone since.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from ovito_mace_phase.runtime.compiling import COMPILED, kernel

from .kernels_matrix import determinant, times_inverse
from .kernels_nearest import MOST

_FLAT = 1e-4


@kernel(**COMPILED)
def lay_shell(place, there, size, target, f, shift, spread, mixed):
    """Write F and the shift of the least squares  target ~ F place + shift  over points that are there.

    Point 0 is the atom itself. False where the points lie in a plane.
    """
    points = 0
    centre, middle = np.zeros(3), np.zeros(3)
    for k in range(size + 1):
        if there[k]:
            points += 1
            for i in range(3):
                centre[i] += place[k, i]
                middle[i] += target[k, i]
    centre /= points
    middle /= points
    spread[:], mixed[:] = 0.0, 0.0
    for k in range(size + 1):
        if there[k]:
            for i in range(3):
                for j in range(3):
                    spread[i, j] += (place[k, i] - centre[i]) * (place[k, j] - centre[j])
                    mixed[i, j] += (target[k, i] - middle[i]) * (place[k, j] - centre[j])
    trace = spread[0, 0] + spread[1, 1] + spread[2, 2]
    if determinant(spread) < _FLAT * trace**3:
        return False
    times_inverse(mixed, spread, f)
    for i in range(3):
        shift[i] = middle[i] - f[i, 0] * centre[0] - f[i, 1] * centre[1] - f[i, 2] * centre[2]
    return True


@kernel(**COMPILED)
def read_shell(library, t, mean, slots, a, vectors, neighbour, gone, place, there, target):
    """Write the points of a shell, the atom itself first: where the crystal has them, `place`, and where they are."""
    begin, end = library.offsets[t], library.offsets[t + 1]
    place[0], target[0], there[0] = 0.0, 0.0, True
    for k in range(end - begin):
        m = slots[a, k]
        there[k + 1] = m >= 0
        if m >= 0:
            b = neighbour[a, m]
            for i in range(3):
                place[k + 1, i] = library.vectors[begin + k, i] + mean[k, i]
                target[k + 1, i] = vectors[a, m, i] + gone[b, i] - gone[a, i]


@kernel(**COMPILED)
def put_once(library, atoms, group, means, template, slots, vectors, neighbour, gone, total, count):
    """Add up where the shells of some atoms would have each atom, as moves, and count them."""
    place, target, there = np.empty((MOST + 1, 3)), np.empty((MOST + 1, 3)), np.empty(MOST + 1, dtype=np.bool_)
    f, spread, mixed, shift = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3)), np.empty(3)
    total[:], count[:] = 0.0, 0
    for row in range(len(atoms)):
        a = atoms[row]
        t = template[a]
        size = library.offsets[t + 1] - library.offsets[t]
        read_shell(library, t, means[group[row]], slots, a, vectors, neighbour, gone, place, there, target)
        if not lay_shell(place, there, size, target, f, shift, spread, mixed):
            continue
        for k in range(size + 1):
            if there[k]:
                b = a if k == 0 else neighbour[a, slots[a, k - 1]]
                count[b] += 1
                for i in range(3):
                    laid = f[i, 0] * place[k, 0] + f[i, 1] * place[k, 1] + f[i, 2] * place[k, 2] + shift[i]
                    total[b, i] += laid - target[k, i]


@kernel(**COMPILED)
def mean_shells(library, atoms, bounds, template, slots, vectors, neighbour, gone, means, noise):
    """Write the mean deviation from the template of each group of its atoms, (n_groups, N, 3), and its noise.

    r = F^-1 u - v, so that of the atom itself is zero.
    Group g is atoms[bounds[g]:bounds[g + 1]]. The noise (n_groups,) is what the mean of |mean r_k|^2 over the
    neighbours has of it, mean_k (mean_a |r_ak|^2 - |mean r_k|^2) / (n - 1).
    """
    place, target, there = np.empty((MOST + 1, 3)), np.empty((MOST + 1, 3)), np.empty(MOST + 1, dtype=np.bool_)
    f, spread, mixed, shift = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3)), np.empty(3)
    one, inverse, own = np.zeros((3, 3)), np.empty((3, 3)), np.empty(MOST)
    total, count, none = np.empty((MOST, 3)), np.empty(MOST, dtype=np.int64), np.zeros((MOST, 3))
    for i in range(3):
        one[i, i] = 1.0
    for g in range(len(means)):
        t = template[atoms[bounds[g]]]
        size = library.offsets[t + 1] - library.offsets[t]
        total[:], own[:], count[:] = 0.0, 0.0, 0
        for a in atoms[bounds[g] : bounds[g + 1]]:
            read_shell(library, t, none, slots, a, vectors, neighbour, gone, place, there, target)
            if not lay_shell(place, there, size, target, f, shift, spread, mixed):
                continue
            times_inverse(one, f, inverse)
            for k in range(size):
                if there[k + 1]:
                    count[k] += 1
                    for i in range(3):
                        x = -place[k + 1, i]
                        for j in range(3):
                            x += inverse[i, j] * target[k + 1, j]
                        total[k, i] += x
                        own[k] += x * x
        noise[g], held = 0.0, 0
        for k in range(size):
            n = count[k]
            if n > 1:
                held += 1
                whole = 0.0
                for i in range(3):
                    whole += total[k, i] ** 2
                    means[g, k, i] = total[k, i] / n
                noise[g] += (own[k] - whole / n) / (n * (n - 1.0))
        noise[g] /= max(1, held)
