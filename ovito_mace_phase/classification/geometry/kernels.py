"""Numba kernels: one template fitted to the neighbours of one atom.

    u_m   neighbours of the atom;   v_k  vectors of the template, v_0 = u_0 = 0
    match  pi(k) = the nearest u to F v_k + shift, each u once;   F, shift <- least squares of u_pi(k) on v_k;   again
    H = sum_k (u_pi(k) - mean u)(v_k - c)^T,   F = H A^-1,   Q = polar factor of H,   s = tr(Q^T H) / sum |u - mean u|^2

    rmsd       sqrt( sum_k |s (u_pi(k) - mean u) - Q (v_k - c)|^2 / (N + 1) ) / a          rotation and scale: PTM's
    residual   sqrt( sum_k |(u_pi(k) - mean u) - F (v_k - c)|^2 / (N + 1) (3 N - 4) / (3 N - 9) ) s / a     with strain
    strain     largest |e_i - mean e|,   e_i = log of the principal stretches of F

In noise alone the two are equal on average: the second has five numbers more to fit. Matching against a template that
is turned, and strained by 15 %, as a neighbour is, needs no search; without a neighbour the first vector and another
one at an angle to it are laid on all pairs of neighbours like them.
Source: P. M. Larsen, S. Schmidt, J. Schiotz, Model. Simul. Mater. Sci. Eng. 24 (2016) 055007; the polar factor by
Newton's method, N. J. Higham, SIAM J. Sci. Stat. Comput. 7 (1986) 1160.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from ovito_mace_phase.runtime.compiling import COMPILED, kernel

NO_FIT = 9.0
_TURNS = 4  # of matching and least squares
_MISSING = 0.55  # of d: farther from its place a neighbour is missing
_HOPELESS = 0.5  # of d: rms distance of neighbours from their places
_WRONG_SPECIES = 0.3  # of d: so much farther an atom of the wrong species counts
_LENGTHS, _ANGLES = 0.3, 0.45  # relative difference of lengths, difference of angles, of a pair
_GOOD = 1e-3  # score with which a search ends
_AGAIN, _AGREED = 3, 0.06  # it ends too when rotations alike by symmetry have given a score below this so many times
_RADII = 0.2  # largest rms difference of the sorted lengths, in units of their mean


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


@kernel(**COMPILED)
def deviatoric_strain(gradient):
    """Return the largest |e_i - mean e|, e_i the logarithms of the principal stretches of a (3, 3) gradient."""
    c = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            c[i, j] = (
                gradient[0, i] * gradient[0, j] + gradient[1, i] * gradient[1, j] + gradient[2, i] * gradient[2, j]
            )
    mean = (c[0, 0] + c[1, 1] + c[2, 2]) / 3.0
    off = c[0, 1] ** 2 + c[0, 2] ** 2 + c[1, 2] ** 2
    p = np.sqrt(((c[0, 0] - mean) ** 2 + (c[1, 1] - mean) ** 2 + (c[2, 2] - mean) ** 2 + 2.0 * off) / 6.0)
    if p < 1e-12 * mean:
        return 0.0
    b00, b11, b22 = (c[0, 0] - mean) / p, (c[1, 1] - mean) / p, (c[2, 2] - mean) / p
    b01, b02, b12 = c[0, 1] / p, c[0, 2] / p, c[1, 2] / p
    half = 0.5 * (b00 * (b11 * b22 - b12 * b12) - b01 * (b01 * b22 - b12 * b02) + b02 * (b01 * b12 - b11 * b02))
    angle = np.arccos(min(1.0, max(-1.0, half))) / 3.0
    high = mean + 2.0 * p * np.cos(angle)
    low = mean + 2.0 * p * np.cos(angle + 2.0943951023931953)
    middle = 3.0 * mean - high - low
    if low <= 0.0 or middle <= 0.0:
        return NO_FIT
    e0, e1, e2 = 0.5 * np.log(high), 0.5 * np.log(middle), 0.5 * np.log(low)
    average = (e0 + e1 + e2) / 3.0
    return max(abs(e0 - average), abs(e2 - average))


@kernel(**COMPILED)
def moments(library, t, vectors, slot, shift, matrix):
    """Write H and the centroid of the matched neighbours; return sum |u - mean u|^2."""
    first, last = library.offsets[t], library.offsets[t + 1]
    count = last - first + 1
    square = 0.0
    shift[:] = 0.0
    matrix[:] = 0.0
    for k in range(first, last):
        m = slot[k - first]
        for i in range(3):
            x = np.float64(vectors[m, i])
            shift[i] += x
            square += x * x
            for j in range(3):
                matrix[i, j] += x * library.vectors[k, j]
    for i in range(3):
        shift[i] /= count
        square -= count * shift[i] ** 2
        for j in range(3):
            matrix[i, j] -= count * shift[i] * library.centre[t, j]
    if library.planar[t]:  # the normal of the sheet goes to that of the neighbours
        n = library.normal[t]
        # two vectors of the plane
        k = 0 if abs(n[0]) < 0.6 else 1
        a = np.zeros(3)
        a[k] = 1.0
        along = n[k]
        for i in range(3):
            a[i] -= along * n[i]
        b = np.cross(n, a)
        p, q = np.zeros(3), np.zeros(3)
        for i in range(3):
            for j in range(3):
                p[i] += matrix[i, j] * a[j]
                q[i] += matrix[i, j] * b[j]
        up = np.cross(p, q)
        size = np.sqrt((up * up).sum())
        if size > 1e-12:
            weight = np.sqrt(square * library.square[t]) / 2.0
            for i in range(3):
                for j in range(3):
                    matrix[i, j] += weight * up[i] / size * n[j]
    return square


@kernel(**COMPILED)
def match(library, t, n, vectors, species, codes, gradient, shift, limit, slot, used):
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
    for m in range(n):
        used[m] = False
    missing, total, most = 0, 0.0, (last - first) * (_HOPELESS * near) ** 2
    for k in range(first, last):
        v0, v1, v2 = library.vectors[k, 0], library.vectors[k, 1], library.vectors[k, 2]
        x = gradient[0, 0] * v0 + gradient[0, 1] * v1 + gradient[0, 2] * v2 + shift[0]
        y = gradient[1, 0] * v0 + gradient[1, 1] * v1 + gradient[1, 2] * v2 + shift[1]
        z = gradient[2, 0] * v0 + gradient[2, 1] * v1 + gradient[2, 2] * v2 + shift[2]
        wanted = codes[library.code[library.neighbour[k]]]
        best, least, at = -1, 1e30, 0.0
        for m in range(n):
            apart = (vectors[m, 0] - x) ** 2 + (vectors[m, 1] - y) ** 2 + (vectors[m, 2] - z) ** 2
            cost = apart + (extra if wanted != -1 and species[m] != wanted else 0.0)
            if cost < least and not used[m]:
                best, least, at = m, cost, apart
        total += at
        if best < 0 or total > most:
            return last - first
        used[best] = True
        slot[k - first] = best
        missing += at > far
    return missing


@kernel(**COMPILED)
def fit(library, t, n, vectors, species, codes, gradient, slot, used, out):
    """Fit template t from a first guess of F, in place.

    `vectors` (n, 3) and `species` (n,) are the neighbours, nearest first; `codes` the species of the codes of the
    phase, -1 where it is open. Writes rmsd, residual, strain, s and the number of empty places to `out`, and the
    neighbours at the places of the template to `slot`. False where it does not fit at all.
    """
    size = library.offsets[t + 1] - library.offsets[t]
    if n < size:
        return False
    shift, matrix, rotation = np.zeros(3), np.empty((3, 3)), np.empty((3, 3))
    before = np.empty(size, dtype=np.int16)
    square, missing = 0.0, 0
    for turn in range(_TURNS):
        for k in range(size):
            before[k] = slot[k]
        missing = match(
            library,
            t,
            n,
            vectors,
            species,
            codes,
            gradient,
            shift,
            1.5 * _MISSING if turn == 0 else _MISSING,
            slot,
            used,
        )
        if missing * 3 > size:
            return False
        if turn > 0:
            same = True
            for k in range(size):
                same = same and before[k] == slot[k]
            if same:
                break
        square = moments(library, t, vectors, slot, shift, matrix)
        for i in range(3):
            for j in range(3):
                gradient[i, j] = (
                    matrix[i, 0] * library.inverse[t, 0, j]
                    + matrix[i, 1] * library.inverse[t, 1, j]
                    + matrix[i, 2] * library.inverse[t, 2, j]
                )
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
    square = moments(library, t, vectors, slot, shift, matrix)
    if square < 1e-12 or not polar(matrix, rotation):
        return False
    trace, kept = 0.0, 0.0
    for i in range(3):
        for j in range(3):
            trace += rotation[i, j] * matrix[i, j]
            kept += gradient[i, j] * matrix[i, j]
    if library.planar[t]:
        trace -= np.sqrt(square * library.square[t]) / 2.0  # the normal, which is no point
        kept = trace * trace / library.square[t]
    scale = trace / square
    points = (size + 1) * library.length[t] ** 2
    out[0] = np.sqrt(max(0.0, library.square[t] - trace * trace / square) / points)
    freedom = 1.0 if library.planar[t] else (3.0 * size - 4.0) / (3.0 * size - 9.0)
    out[1] = scale * np.sqrt(max(0.0, square - kept) * freedom / points)
    out[2] = 0.0 if library.planar[t] else deviatoric_strain(gradient)
    out[3] = scale
    out[4] = missing
    return True


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
def search(library, t, n, vectors, species, own, n_species, codes, gradient, slot, used, out):
    """Fit template t without a guess; the best of all pairs of neighbours, writing as `fit` does.

    Returns the score, rmsd + 0.5 (share of wrong species), NO_FIT where nothing fits; `codes` is written too.
    """
    first = library.offsets[t]
    size = library.offsets[t + 1] - first
    if n < size:
        return NO_FIT
    mean = 0.0
    for m in range(size):
        mean += np.sqrt(vectors[m, 0] ** 2 + vectors[m, 1] ** 2 + vectors[m, 2] ** 2)
    scale = mean / size / library.length[t]
    radii = 0.0
    for m in range(size):  # both are sorted
        lm = np.sqrt(vectors[m, 0] ** 2 + vectors[m, 1] ** 2 + vectors[m, 2] ** 2) / scale
        row = library.vectors[first + m]
        radii += (lm - np.sqrt((row * row).sum())) ** 2
    if radii > size * (_RADII * library.length[t]) ** 2:
        return NO_FIT
    again = 0
    v, w = library.vectors[first], library.vectors[first + library.second[t]]
    lv, lw = np.sqrt((v * v).sum()), np.sqrt((w * w).sum())
    angle = np.arccos(min(1.0, max(-1.0, (v * w).sum() / (lv * lw))))
    a0 = v / lv
    a2 = np.cross(v, w)
    a2 /= np.sqrt((a2 * a2).sum())
    a1 = np.cross(a2, a0)
    best = NO_FIT
    trial, wild = np.empty((3, 3)), np.full(len(codes), -1, dtype=np.int64)
    places, found, kinds = np.zeros(size, dtype=np.int16), np.empty(5), np.empty(len(codes), dtype=np.int64)
    reach = min(n, size + 2)
    for i in range(reach):
        li = np.sqrt(vectors[i, 0] ** 2 + vectors[i, 1] ** 2 + vectors[i, 2] ** 2)
        if abs(li / (scale * lv) - 1.0) > _LENGTHS:
            continue
        b0 = vectors[i] / li
        for j in range(reach):
            lj = np.sqrt(vectors[j, 0] ** 2 + vectors[j, 1] ** 2 + vectors[j, 2] ** 2)
            if j == i or abs(lj / (scale * lw) - 1.0) > _LENGTHS:
                continue
            cosine = (b0[0] * vectors[j, 0] + b0[1] * vectors[j, 1] + b0[2] * vectors[j, 2]) / lj
            if abs(cosine) > 0.985 or abs(np.arccos(min(1.0, max(-1.0, cosine))) - angle) > _ANGLES:
                continue
            b2 = np.cross(b0, vectors[j].astype(np.float64))
            b2 /= np.sqrt((b2 * b2).sum())
            b1 = np.cross(b2, b0)
            for p in range(3):
                for q in range(3):
                    trial[p, q] = scale * (b0[p] * a0[q] + b1[p] * a1[q] + b2[p] * a2[q])
            if not fit(library, t, n, vectors, species, wild, trial, places, used, found):
                continue
            assign_codes(library, t, own, species, places, n_species, kinds)
            wrong = wrong_species(library, t, own, species, kinds, places)
            score = found[0] + 0.5 * wrong / (size + 1)
            if abs(score - best) < 1e-4 * best:
                again += 1
                if again >= _AGAIN and best < _AGREED:
                    return best
            elif score < best:
                again = 0
                best = score
                gradient[:] = trial
                codes[:] = kinds
                out[:] = found
                for k in range(size):
                    slot[k] = places[k]
                if score < _GOOD:
                    return best
    return best
