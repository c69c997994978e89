"""Numba kernels: a template fitted to the neighbours of an atom without a guess of its rotation.

The first vector of the template and another one at an angle to it are laid on all pairs of neighbours like them; the
best fit counts, by rmsd and the species at its places.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from ovito_mace_phase.runtime.compiling import COMPILED, kernel

from .kernels import fit
from .kernels_matrix import NO_FIT, copy_matrix, copy_vector, cross

_LENGTHS, _ANGLES = 0.3, 0.45  # relative difference of lengths, difference of angles, of a pair
_PARALLEL = 0.985  # cosine above which two neighbours do not tell a rotation
GOOD = 1e-3
"""Score with which a search ends."""
_AGAIN, _AGREED = 3, 0.06  # it ends too when rotations alike by symmetry have given a score below this so many times
_RADII = 0.2  # largest rms difference of the sorted lengths, in units of their mean


@kernel(**COMPILED)
def wrong_species(library, t, own, species, codes, slot):
    """Return how many of the matched atoms, the centre among them, are not of the species of their code."""
    first, last = library.offsets[t], library.offsets[t + 1]
    wrong = 1 if codes[library.code[t]] != own and codes[library.code[t]] != -1 else 0
    for k in range(first, last):
        wanted = codes[library.code[library.neighbour[k]]]
        m = slot[k - first]
        wrong += m >= 0 and wanted != -1 and wanted != species[m]
    return wrong


@kernel(**COMPILED)
def assign_codes(library, t, own, species, slot, n_species, codes):
    """Write the species that each code of a phase has for the most part around an atom; -1 where it does not occur.

    A species goes to one code alone; a code without a species of its own is -2, and none is of it.
    """
    first, last = library.offsets[t], library.offsets[t + 1]
    n_codes = library.n_codes[library.phase[t]]
    codes[:] = -1
    if n_codes < 2:
        return
    votes = np.zeros((n_codes, n_species), dtype=np.int64)
    votes[library.code[t], own] += 2
    for k in range(first, last):
        votes[library.code[library.neighbour[k]], species[slot[k - first]]] += 1
    for _ in range(n_codes):
        best, code, kind = 0, -1, -1
        for c in range(n_codes):
            if codes[c] != -1:
                continue
            for s in range(n_species):
                if votes[c, s] > best:
                    best, code, kind = votes[c, s], c, s
        if code < 0:
            break
        codes[code] = kind
        for c in range(n_codes):
            if codes[c] == -1 and votes[c, kind] > 0:
                votes[c, kind] = 0
                left = 0
                for s in range(n_species):
                    left += votes[c, s]
                if left == 0:
                    codes[c] = -2


@kernel(**COMPILED)
def length_of(vector):
    """Return the length of a vector."""
    x, y, z = np.float64(vector[0]), np.float64(vector[1]), np.float64(vector[2])
    return np.sqrt(x * x + y * y + z * z)


@kernel(**COMPILED)
def axes_of(a, b, la, lb, axes):
    """Write a right-handed frame with a along its first axis and b in its first plane; return the cosine of a and b.

    `la`, `lb` are the lengths; the rows of `axes` the axes, without meaning where a and b are parallel.
    """
    x, y, z = a[0] / la, a[1] / la, a[2] / la
    cosine = min(1.0, max(-1.0, (x * b[0] + y * b[1] + z * b[2]) / lb))
    u, v, w = cross(x, y, z, np.float64(b[0]), np.float64(b[1]), np.float64(b[2]))
    size = max(1e-12, np.sqrt(u * u + v * v + w * w))
    u, v, w = u / size, v / size, w / size
    axes[0, 0], axes[0, 1], axes[0, 2] = x, y, z
    axes[1, 0], axes[1, 1], axes[1, 2] = cross(u, v, w, x, y, z)
    axes[2, 0], axes[2, 1], axes[2, 2] = u, v, w
    return cosine


@kernel(**COMPILED)
def search(library, t, n, vectors, around, own, n_species, codes, gradient, slot, most, out):
    """Fit template t without a guess; the best of the pairs of neighbours, writing as `fit` does.

    Returns the score, rmsd + 0.5 (share of wrong species), NO_FIT where nothing fits; `codes` is written too.
    """
    first = library.offsets[t]
    size = library.offsets[t + 1] - first
    if n < size:
        return NO_FIT
    mean = 0.0
    for m in range(size):
        mean += length_of(vectors[m])
    scale = mean / size / library.length[t]
    radii = 0.0
    for m in range(size):  # both are sorted
        radii += (length_of(vectors[m]) / scale - length_of(library.vectors[first + m])) ** 2
    if radii > size * (_RADII * library.length[t]) ** 2:
        return NO_FIT
    again, started = 0, 0
    one, two = np.empty((3, 3)), np.empty((3, 3))
    lv, lw = length_of(library.vectors[first]), length_of(library.vectors[first + library.second[t]])
    angle = np.arccos(axes_of(library.vectors[first], library.vectors[first + library.second[t]], lv, lw, one))
    best = NO_FIT
    trial, wild = np.empty((3, 3)), np.full(len(codes), -1, dtype=np.int64)
    places, found, kinds = np.zeros(size, dtype=np.int16), np.empty(5), np.empty(len(codes), dtype=np.int64)
    reach = min(n, size + 2)
    for i in range(reach):
        li = length_of(vectors[i])
        if abs(li / (scale * lv) - 1.0) > _LENGTHS:
            continue
        if started == library.starts[t]:
            break
        started += 1
        for j in range(reach):
            lj = length_of(vectors[j])
            if j == i or abs(lj / (scale * lw) - 1.0) > _LENGTHS:
                continue
            cosine = axes_of(vectors[i], vectors[j], li, lj, two)
            if abs(cosine) > _PARALLEL or abs(np.arccos(cosine) - angle) > _ANGLES:
                continue
            for p in range(3):
                for q in range(3):
                    trial[p, q] = scale * (two[0, p] * one[0, q] + two[1, p] * one[1, q] + two[2, p] * one[2, q])
            if not fit(library, t, n, around, wild, trial, places, min(best, most), found):
                continue
            if found[0] > min(1.0001 * best, most):
                continue
            assign_codes(library, t, own, around.species, places, n_species, kinds)
            wrong = wrong_species(library, t, own, around.species, kinds, places)
            score = found[0] + 0.5 * wrong / (size + 1)
            if abs(score - best) < 1e-4 * best:
                again += 1
                if again >= _AGAIN and best < _AGREED:
                    return best
            elif score < best:
                again, started = 0, 0
                best = score
                copy_matrix(trial, gradient)
                copy_vector(kinds, codes)
                copy_vector(found, out)
                for k in range(size):
                    slot[k] = places[k]
                if score < GOOD:
                    return best
    return best
