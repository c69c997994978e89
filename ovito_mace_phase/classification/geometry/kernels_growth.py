"""Numba kernels: neighbours sorted by distance; fits of many atoms; matches handed on from atom to atom.

The state of a frame is what `matching.Matches` holds, in sorted order. A round reads the state and writes beside it, so
that the order of the atoms within it does not matter.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from ovito_mace_phase.runtime.compiling import COMPILED, kernel

from .kernels import NO_FIT, deviatoric_strain, fit
from .kernels_nearest import lay_out, memory_for
from .kernels_search import search, wrong_species
from .kernels_vacant import fit_vacant

ALIKE = 0.02  # rmsd that is added to both when two fits are compared
_TIED = 1e-6  # rmsd within which two sites fit alike, rounding included
_RIM = 0.8  # of the distance that is free of other atoms: farther out one may be hot


@kernel(**COMPILED)
def keep_nearest(offsets, neighbour, vectors, first, count, kept, kept_vectors):
    """Write the nearest neighbours of the atoms from `first` on, nearest first; as many as `kept` has columns."""
    most = kept.shape[1]
    near, place = np.empty(most, dtype=np.float64), np.empty(most, dtype=np.int64)
    for centre in range(len(offsets) - 1):
        held = 0
        for edge in range(offsets[centre], offsets[centre + 1]):
            square = vectors[edge, 0] ** 2 + vectors[edge, 1] ** 2 + vectors[edge, 2] ** 2
            if held == most and square >= near[most - 1]:
                continue
            k = min(held, most - 1)
            while k > 0 and near[k - 1] > square:
                near[k], place[k] = near[k - 1], place[k - 1]
                k -= 1
            near[k], place[k] = square, edge
            held = min(held + 1, most)
        count[first + centre] = held
        for k in range(held):
            kept[first + centre, k] = neighbour[place[k]]
            for i in range(3):
                kept_vectors[first + centre, k, i] = vectors[place[k], i]


@kernel(**COMPILED)
def better_than(rmsd, clearly):
    """Return the rmsd below which a fit is clearly better; where nothing moves all that fit are alike."""
    return clearly * (rmsd + ALIKE) - ALIKE


@kernel(**COMPILED)
def spread_largest(score, count, neighbour, most, out):
    """Write the largest score of every atom and its `most` nearest neighbours."""
    for atom in range(len(score)):
        top = score[atom]
        for k in range(min(most, count[atom])):
            top = max(top, score[neighbour[atom, k]])
        out[atom] = top


@kernel(**COMPILED)
def comes_before(one, other):
    """Tell whether the codes of one come before those of the other."""
    for c in range(len(one)):
        if one[c] != other[c]:
            return one[c] < other[c]
    return False


@kernel(**COMPILED)
def start(
    library, limits, clearly, enough, atoms, allowed, count, vectors, neighbour, species,
    n_species, first, last, template, gradient, values, slots, codes
):  # fmt: skip
    """Search for the phase of some atoms among those allowed; write the best match of each, or template -1.

    `allowed` (len(atoms), n_allowed) are places in the library in the order of preference, -1 behind the last one; a
    later one must be better by the factor `clearly`, and none is tried after one with a score below `enough`, a number
    for each atom. A sheet is not tried where a solid fits: each layer of graphite is one.

    Sites that an exchange of the species turns into each other (rock salt, CsCl, zincblende, h-BN) fit alike; all seeds
    take the one of the first species, so that crystals which meet agree which is which.
    """
    width, n_allowed = slots.shape[1], allowed.shape[1]
    around = memory_for(vectors.shape[1])
    slot, out, kinds = np.zeros(width, dtype=np.int16), np.empty(5), np.empty(codes.shape[1], dtype=np.int64)
    trial = np.empty((3, 3))
    held, score = np.empty(n_allowed, dtype=np.int64), np.empty(n_allowed)
    held_values, held_gradient = np.empty((n_allowed, 5)), np.empty((n_allowed, 3, 3))
    held_slots = np.empty((n_allowed, width), dtype=np.int16)
    held_codes = np.empty((n_allowed, codes.shape[1]), dtype=np.int64)
    for row in range(first, last):
        atom = atoms[row]
        template[row] = -1
        n, own = count[atom], species[atom]
        lay_out(around, n, vectors[atom], neighbour[atom], species)
        winner = -1
        held[:] = -1
        for choice in range(n_allowed):
            phase = allowed[row, choice]
            score[choice] = NO_FIT
            if phase < 0 or (winner >= 0 and library.planar[library.seeds[library.seed_offsets[phase]]]):
                continue
            most = limits.loosest if winner < 0 else min(limits.loosest, better_than(score[winner], clearly))
            for s in range(library.seed_offsets[phase], library.seed_offsets[phase + 1]):
                t = library.seeds[s]
                found = search(library, t, n, vectors[atom], around, own, n_species, kinds, trial, slot, most, out)
                size = library.offsets[t + 1] - library.offsets[t]
                tied = held[choice] >= 0 and abs(found - score[choice]) <= _TIED
                if out[4] > 0 or out[0] > limits.loosest or out[2] > limits.most_strain:
                    continue
                if not comes_before(kinds, held_codes[choice]) if tied else found >= score[choice]:
                    continue
                if wrong_species(library, t, own, around.species, kinds, slot) > limits.most_wrong * (size + 1):
                    continue
                held[choice], score[choice] = t, found
                held_values[choice] = out
                held_gradient[choice] = trial
                held_codes[choice] = kinds
                for k in range(size):
                    held_slots[choice, k] = slot[k]
            if held[choice] >= 0 and (winner < 0 or score[choice] < better_than(score[winner], clearly)):
                winner = choice
            if score[choice] < enough[row]:
                break
        if winner < 0:
            continue
        template[row] = held[winner]
        values[row] = held_values[winner]
        values[row, 4] = values[row, 0]
        gradient[row] = held_gradient[winner]
        codes[row] = held_codes[winner]
        for k in range(width):
            slots[row, k] = held_slots[winner, k]


@kernel(**COMPILED)
def hand_on(
    library, limits, strict, fresh, template, gradient, values, slots, grain, grain_codes, allowed, tries, most_tries,
    species, neighbour, asked, giver, asked_template, n_asked
):  # fmt: skip
    """Let atoms that were just matched tell their neighbours what they should be; return how many are asked.

    Where `strict` they hear of their label alone, otherwise of all that is allowed, and of the lattices that PTM knows.
    `giver` (n_atoms,) is -1 on entry. An atom listens to its best matched neighbour; one that is matched already only
    to one that is clearly better. `asked` gets the atoms.
    """
    for index in range(len(fresh)):
        b = fresh[index]
        t = template[b]
        phase = library.phase[t]
        first, last = library.offsets[t], library.offsets[t + 1]
        codes = grain_codes[grain[b]]
        for k in range(first, last):
            if slots[b, k - first] < 0:
                continue
            a = neighbour[b, slots[b, k - first]]
            following = library.neighbour[k]
            code = library.code[following]
            if codes[code] == -1 and library.n_codes[phase] > 1:  # a species of the grain that was not met before
                free = True
                for c in range(library.n_codes[phase]):
                    free = free and codes[c] != species[a]
                if free:
                    codes[code] = species[a]
            if tries[a] >= most_tries:
                continue
            if template[a] >= 0:
                if grain[a] == grain[b] and template[a] == following:
                    continue
                if library.planar[t] and not library.planar[template[a]]:
                    continue
                if better_than(values[a, 0], limits.clearly) <= values[b, 0]:
                    continue
            may = allowed[a, 0] == phase or (not strict and library.simple[phase] and allowed[a, 0] >= 0)
            for choice in range(0 if strict else allowed.shape[1]):
                may = may or allowed[a, choice] == phase
            if not may:
                continue
            if giver[a] < 0:
                asked[n_asked] = a
                n_asked += 1
            elif values[giver[a], 0] <= values[b, 0]:
                continue
            giver[a] = b
            asked_template[a] = following
    return n_asked


@kernel(**COMPILED)
def take_over(
    library, limits, asked, giver, asked_template, count, vectors, neighbour, species, gradient, values, grain,
    grain_codes, first, last, new_gradient, new_values, new_slots, new_grain, good
):  # fmt: skip
    """Fit to each atom that is asked what its neighbour says it is; write the match and whether it holds."""
    around, out, found = memory_for(vectors.shape[1]), np.empty(5), np.empty(5)
    trial, slot = np.empty((3, 3)), np.empty(new_slots.shape[1], dtype=np.int16)
    used = np.empty(vectors.shape[1], dtype=np.bool_)
    for row in range(first, last):
        a = asked[row]
        b = giver[a]
        t = asked_template[a]
        lay_out(around, count[a], vectors[a], neighbour[a], species)
        codes = grain_codes[grain[b]]
        new_gradient[row] = gradient[b]
        good[row] = False
        size = library.offsets[t + 1] - library.offsets[t]
        most = min(limits.loosest, max(limits.cold, limits.rise * values[b, 4]))
        held = fit(library, t, count[a], around, codes, new_gradient[row], new_slots[row], most, out) and out[4] == 0
        if limits.most_empty > 0.0 and not (held and out[0] < limits.clean):
            trial[:] = gradient[b]
            if fit_vacant(library, t, count[a], vectors[a], limits.most_empty, trial, slot, used, found) and (
                not held or found[0] < better_than(out[0], limits.clearly)
            ):
                held = True
                new_gradient[row], new_slots[row], out[:] = trial, slot, found
        if not held or out[0] > most or out[2] > limits.most_strain:
            continue
        wrong = wrong_species(library, t, species[a], around.species, codes, new_slots[row])
        if wrong > limits.most_wrong * (size + 1):
            continue
        out[4] = values[b, 4] + limits.share * (out[0] - values[b, 4])
        new_values[row] = out
        new_grain[row] = grain[b]
        good[row] = True


@kernel(**COMPILED)
def commit(
    limits, asked, asked_template, new_gradient, new_values, new_slots, new_grain, good, tries, template, gradient,
    values, slots, grain, fresh
):  # fmt: skip
    """Write the matches of a round to the state, and the atoms that changed to `fresh`; return how many."""
    changed = 0
    for row in range(len(asked)):
        a = asked[row]
        tries[a] += 1
        if good[row] and (template[a] < 0 or new_values[row, 0] < better_than(values[a, 0], limits.clearly)):
            template[a] = asked_template[a]
            gradient[a] = new_gradient[row]
            values[a] = new_values[row]
            slots[a] = new_slots[row]
            grain[a] = new_grain[row]
            fresh[changed] = a
            changed += 1
    return changed


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
        total[:] = gradient[a]
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
                turned[:] = gradient[b]
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
        begin, end = library.offsets[t], library.offsets[t + 1]
        shift[:] = 0.0  # mean of u - F v over the atom and the neighbours that are there
        points, f = 1, gradient[a]
        for k in range(begin, end):
            m = slots[a, k - begin]
            if m >= 0:
                points += 1
                for i in range(3):
                    v = library.vectors[k]
                    shift[i] += vectors[a, m, i] - f[i, 0] * v[0] - f[i, 1] * v[1] - f[i, 2] * v[2]
        shift /= points
        for k in range(begin, end):
            m = slots[a, k - begin]
            if m < 0:
                continue
            square = 0.0
            for i in range(3):
                v = library.vectors[k]
                square += (vectors[a, m, i] - f[i, 0] * v[0] - f[i, 1] * v[1] - f[i, 2] * v[2] - shift[i]) ** 2
            farthest[a] = max(farthest[a], square)
        det = f[0, 0] * (f[1, 1] * f[2, 2] - f[1, 2] * f[2, 1])
        det += f[0, 1] * (f[1, 2] * f[2, 0] - f[1, 0] * f[2, 2]) + f[0, 2] * (f[1, 0] * f[2, 1] - f[1, 1] * f[2, 0])
        farthest[a] = np.sqrt(farthest[a]) / (abs(det) ** (1.0 / 3.0) * library.length[t])


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
