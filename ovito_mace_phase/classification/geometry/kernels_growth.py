"""Numba kernels: neighbours sorted by distance; fits of many atoms; matches handed on from atom to atom.

The state of a frame is what `matching.Matches` holds, in sorted order. A round reads the state and writes beside it, so
that the order of the atoms within it does not matter.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from ovito_mace_phase.runtime.compiling import COMPILED, kernel

from .kernels import fit
from .kernels_matrix import NO_FIT, copy_matrix, copy_vector
from .kernels_nearest import lay_out, memory_for
from .kernels_search import search, wrong_species
from .kernels_vacant import fit_vacant

ALIKE = 0.02  # rmsd that is added to both when two fits are compared
_TIED = 1e-6  # rmsd within which two sites fit alike, rounding included


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
    library, limits, clearly, enough, loosest, atoms, allowed, count, vectors, neighbour, species,
    n_species, first, last, template, gradient, values, slots, codes
):  # fmt: skip
    """Search for the phase of some atoms among those allowed; write the best match of each, or template -1.

    `allowed` (len(atoms), n_allowed) are places in the library in the order of preference, -1 behind the last one; a
    later one must be better by the factor `clearly`, none is tried after one with a score below `enough`, and none
    counts with an rmsd above `loosest`, numbers for each atom. Sheets are tried last, where no solid fits: each layer
    of graphite is one.

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
        held[:], score[:] = -1, NO_FIT
        for turn in range(2 * n_allowed):  # solids, then sheets
            choice = turn % n_allowed
            if turn == n_allowed and winner >= 0:
                break
            phase = allowed[row, choice]
            if phase < 0 or library.sheet[library.seeds[library.seed_offsets[phase]]] != (turn >= n_allowed):
                continue
            most = loosest[row] if winner < 0 else min(loosest[row], better_than(score[winner], clearly))
            for s in range(library.seed_offsets[phase], library.seed_offsets[phase + 1]):
                t = library.seeds[s]
                found = search(library, t, n, vectors[atom], around, own, n_species, kinds, trial, slot, most, out)
                size = library.offsets[t + 1] - library.offsets[t]
                tied = held[choice] >= 0 and abs(found - score[choice]) <= _TIED
                if out[4] > 0 or out[0] > loosest[row] or out[2] > limits.most_strain:
                    continue
                if not comes_before(kinds, held_codes[choice]) if tied else found >= score[choice]:
                    continue
                if wrong_species(library, t, own, around.species, kinds, slot) > limits.most_wrong * (size + 1):
                    continue
                held[choice], score[choice] = t, found
                copy_vector(out, held_values[choice])
                copy_matrix(trial, held_gradient[choice])
                copy_vector(kinds, held_codes[choice])
                for k in range(size):
                    held_slots[choice, k] = slot[k]
            if held[choice] >= 0 and (winner < 0 or score[choice] < better_than(score[winner], clearly)):
                winner = choice
            if score[choice] < enough[row]:
                break
        if winner < 0:
            continue
        template[row] = held[winner]
        copy_vector(held_values[winner], values[row])
        values[row, 4] = values[row, 0]
        copy_matrix(held_gradient[winner], gradient[row])
        copy_vector(held_codes[winner], codes[row])
        copy_vector(held_slots[winner], slots[row])


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
                if library.sheet[t] and not library.sheet[template[a]]:
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
        copy_matrix(gradient[b], new_gradient[row])
        good[row] = False
        size = library.offsets[t + 1] - library.offsets[t]
        most = min(limits.loosest, max(limits.cold, limits.rise * values[b, 4]))
        held = fit(library, t, count[a], around, codes, new_gradient[row], new_slots[row], most, out) and out[4] == 0
        if limits.most_empty > 0.0 and not (held and out[0] < limits.clean):
            copy_matrix(gradient[b], trial)
            if fit_vacant(library, t, count[a], vectors[a], limits.most_empty, trial, slot, used, found) and (
                not held or found[0] < better_than(out[0], limits.clearly)
            ):
                held = True
                copy_matrix(trial, new_gradient[row])
                copy_vector(slot, new_slots[row])
                copy_vector(found, out)
        if not held or out[0] > most or out[2] > limits.most_strain:
            continue
        wrong = wrong_species(library, t, species[a], around.species, codes, new_slots[row])
        if wrong > limits.most_wrong * (size + 1):
            continue
        out[4] = values[b, 4] + limits.share * (out[0] - values[b, 4])
        copy_vector(out, new_values[row])
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
            copy_matrix(new_gradient[row], gradient[a])
            copy_vector(new_values[row], values[a])
            copy_vector(new_slots[row], slots[a])
            grain[a] = new_grain[row]
            fresh[changed] = a
            changed += 1
    return changed
