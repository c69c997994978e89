"""Numba kernels: the matches of a frame held against each other, and against the atoms that are in no match.

Arrays are those of `matching.Matches` and `Surroundings`, in sorted order; see `agreement` and `fits` for the words.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from ovito_mace_phase.runtime.compiling import COMPILED, kernel

from .kernels_matrix import NO_FIT, copy_matrix, determinant, deviatoric_strain

_RIM = 0.8  # of the distance that is free of other atoms: farther out one may be hot


@kernel(**COMPILED)
def same_turn(library, phase, one, other, most, turned):
    """Write the gradient `other` in the setting of `one`; False where no rotation of the crystal takes it near it.

    Near: |one - other T|^2 < most |one|^2, T the best rotation of the crystal.
    """
    norm = 0.0
    for i in range(3):
        for j in range(3):
            norm += one[i, j] ** 2
    for turn in range(library.turn_offsets[phase], library.turn_offsets[phase + 1]):
        apart = 0.0
        for i in range(3):
            for j in range(3):
                x = 0.0
                for m in range(3):
                    x += other[i, m] * library.turns[turn, m, j]
                turned[i, j] = x
                apart += (x - one[i, j]) ** 2
        if apart < most * norm:
            return True
    return False


@kernel(**COMPILED)
def compare(
    library,
    most_turn,
    template,
    gradient,
    values,
    slots,
    grain,
    neighbour,
    first,
    last,
    support,
    accord,
    misfit,
    strain,
    mean,
):
    """Hold every match against those of its neighbours.

    Writes the share of template neighbours that are what the match says, `accord` the share of those that are matched,
    the mean F of these and the atom, its strain, and the misfit against the template under it,

        misfit^2 = residual^2 (without its factor) + sum_k |(F - mean F)(v_k - c)|^2 s^2 / ((N + 1) a^2);

    where no neighbour agrees it is the rmsd.
    """
    turned, total = np.empty((3, 3)), np.empty((3, 3))
    for a in range(first, last):
        t = template[a]
        support[a], accord[a], misfit[a] = 0.0, 0.0, NO_FIT
        if t < 0:
            continue
        phase = library.phase[t]
        begin, end = library.offsets[t], library.offsets[t + 1]
        copy_matrix(gradient[a], total)
        held, matched, size = 1, 0, 0
        for k in range(begin, end):
            if slots[a, k - begin] < 0:
                continue
            size += 1
            b = neighbour[a, slots[a, k - begin]]
            u = template[b]
            matched += u >= 0
            if u < 0 or library.phase[u] != phase:
                continue
            expected = library.neighbour[k]
            if grain[b] == grain[a] and u == expected:
                copy_matrix(gradient[b], turned)
                apart, norm = 0.0, 0.0
                for i in range(3):
                    for j in range(3):
                        apart += (turned[i, j] - gradient[a, i, j]) ** 2
                        norm += gradient[a, i, j] ** 2
                if apart >= most_turn * norm:
                    continue
            elif library.site[u] != library.site[expected] or not same_turn(
                library, phase, gradient[a], gradient[b], most_turn, turned
            ):
                continue
            held += 1
            for i in range(3):
                for j in range(3):
                    total[i, j] += turned[i, j]
        support[a] = (held - 1) / size
        accord[a] = (held - 1) / max(1, matched)
        for i in range(3):
            for j in range(3):
                total[i, j] /= held
        mean[a] = total
        strain[a] = 0.0 if library.planar[t] else deviatoric_strain(total)
        if held == 1:
            misfit[a] = values[a, 0]
            continue
        extra = 0.0
        for i in range(3):
            for j in range(3):
                for m in range(3):
                    extra += (
                        (gradient[a, i, j] - total[i, j]) * library.spread[t, j, m] * (gradient[a, i, m] - total[i, m])
                    )
        freedom = 1.0 if library.planar[t] else (3.0 * size - 4.0) / (3.0 * size - 9.0)
        points = (size + 1) * library.length[t] ** 2
        misfit[a] = np.sqrt(values[a, 1] ** 2 / freedom + max(0.0, extra) * values[a, 3] ** 2 / points)


@kernel(**COMPILED)
def spread_level(library, template, slots, neighbour, weight, misfit, first, last, new_weight, new_misfit):
    """Average the misfit over an atom and its neighbours of the same phase, by weight."""
    for a in range(first, last):
        new_weight[a], new_misfit[a] = 0.0, 0.0
        t = template[a]
        if t < 0:
            continue
        begin, end = library.offsets[t], library.offsets[t + 1]
        total, held = weight[a], weight[a] * misfit[a]
        for k in range(begin, end):
            if slots[a, k - begin] < 0:
                continue
            b = neighbour[a, slots[a, k - begin]]
            if template[b] >= 0 and library.phase[template[b]] == library.phase[t]:
                total += weight[b]
                held += weight[b] * misfit[b]
        if total > 0.0:
            new_weight[a], new_misfit[a] = total / (end - begin + 1), held / total


@kernel(**COMPILED)
def find_crowded(library, template, values, slots, count, vectors, neighbour, species, first, last, crowded):
    """Tell which matched atoms have an atom too many: nearer than `library.free`, of the species of a matched one.

    Heat may have moved an atom there that is matched itself and not far within.
    """
    for a in range(first, last):
        crowded[a] = False
        t = template[a]
        if t < 0:
            continue
        size = library.offsets[t + 1] - library.offsets[t]
        reach = (library.free[t] / values[a, 3]) ** 2
        for m in range(count[a]):
            square = vectors[a, m, 0] ** 2 + vectors[a, m, 1] ** 2 + vectors[a, m, 2] ** 2
            if square >= reach:
                break
            kind = species[neighbour[a, m]]
            held, like = False, kind == species[a]
            for k in range(size):
                held = held or slots[a, k] == m
                like = like or (slots[a, k] >= 0 and species[neighbour[a, slots[a, k]]] == kind)
            moved = template[neighbour[a, m]] >= 0 and square > _RIM * _RIM * reach
            if like and not held and not moved:
                crowded[a] = True
                break


@kernel(**COMPILED)
def _mean_off(library, t, f, slots, vectors, shift):
    """Write the mean of u - F v over an atom and the neighbours that are there."""
    begin, end = library.offsets[t], library.offsets[t + 1]
    shift[:] = 0.0
    points = 1
    for k in range(begin, end):
        m = slots[k - begin]
        if m >= 0:
            points += 1
            for i in range(3):
                v = library.vectors[k]
                shift[i] += vectors[m, i] - f[i, 0] * v[0] - f[i, 1] * v[1] - f[i, 2] * v[2]
    shift /= points


@kernel(**COMPILED)
def _square_off(library, k, f, vector, shift):
    """Return |u - F v_k - shift|^2."""
    square, v = 0.0, library.vectors[k]
    for i in range(3):
        square += (vector[i] - f[i, 0] * v[0] - f[i, 1] * v[1] - f[i, 2] * v[2] - shift[i]) ** 2
    return square


@kernel(**COMPILED)
def find_farthest(library, template, gradient, slots, vectors, first, last, farthest):
    """Write how far the neighbour that lies farthest from its place is from it, in units of a.

    max_k |u_pi(k) - F v_k - mean_k (u_pi(k) - F v_k)| / (a (det F)^(1/3)),    F that of the atom or a mean one
    """
    shift = np.empty(3)
    for a in range(first, last):
        farthest[a] = 0.0
        t = template[a]
        if t < 0:
            continue
        f, begin = gradient[a], library.offsets[t]
        _mean_off(library, t, f, slots[a], vectors[a], shift)
        for k in range(begin, library.offsets[t + 1]):
            m = slots[a, k - begin]
            if m >= 0:
                farthest[a] = max(farthest[a], _square_off(library, k, f, vectors[a, m], shift))
        farthest[a] = np.sqrt(farthest[a]) / (abs(determinant(f)) ** (1.0 / 3.0) * library.length[t])


@kernel(**COMPILED)
def find_mixed(library, template, slots, neighbour, species, first, last, mixed):
    """Tell around which matched atoms the species are not one to each code of the template, the atom among them."""
    kinds = np.empty(library.n_codes.max(), dtype=np.int64)
    for a in range(first, last):
        mixed[a] = False
        t = template[a]
        if t < 0:
            continue
        kinds[:] = -1
        kinds[library.code[t]] = species[a]
        begin = library.offsets[t]
        for k in range(begin, library.offsets[t + 1]):
            if slots[a, k - begin] >= 0:
                code, kind = library.code[library.neighbour[k]], species[neighbour[a, slots[a, k - begin]]]
                if kinds[code] < 0:
                    kinds[code] = kind
                mixed[a] = mixed[a] or kinds[code] != kind
        for c in range(len(kinds)):
            for d in range(c):
                mixed[a] = mixed[a] or (kinds[c] >= 0 and kinds[c] == kinds[d])


@kernel(**COMPILED)
def count_shells(library, template, gradient, slots, vectors, neighbour, crowded, near, shells):
    """Count of how many matched atoms each atom is a neighbour that lies at its place.

    |u_pi(k) - F v_k - mean_k (u_pi(k) - F v_k)| <= near d (det F)^(1/3),    d the shortest distance of the template

    Atoms that have an atom too many do not count, since any of theirs may be the one.
    """
    shift = np.empty(3)
    for a in range(len(template)):
        t = template[a]
        if t < 0 or crowded[a]:
            continue
        f, begin = gradient[a], library.offsets[t]
        reach = (near * library.nearest[t]) ** 2 * abs(determinant(f)) ** (2.0 / 3.0)
        _mean_off(library, t, f, slots[a], vectors[a], shift)
        for k in range(begin, library.offsets[t + 1]):
            m = slots[a, k - begin]
            if m >= 0 and _square_off(library, k, f, vectors[a, m], shift) <= reach:
                shells[neighbour[a, m]] += 1


@kernel(**COMPILED)
def spread_support(library, template, slots, neighbour, value, first, last, mean):
    """Average a value over an atom and its neighbours that are matched in the same phase."""
    for a in range(first, last):
        t = template[a]
        mean[a] = 0.0
        if t < 0:
            continue
        begin, end = library.offsets[t], library.offsets[t + 1]
        total, held = value[a], 1
        for k in range(begin, end):
            if slots[a, k - begin] < 0:
                continue
            b = neighbour[a, slots[a, k - begin]]
            if template[b] >= 0 and library.phase[template[b]] == library.phase[t]:
                total += value[b]
                held += 1
        mean[a] = total / held
