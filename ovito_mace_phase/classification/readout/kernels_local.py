"""Numba kernels of the neighbourhood prior, see `local_prior`; atoms in the order of the bonds.

    rival_posteriors   p0 of the best phases of the caller's atoms
    gather_rivals      phases and p0 of each atom; those that no neighbour can change are settled at once
    update_posteriors  a sweep over the others
    choose             their labels
    agreement          the confidence, written to the caller's atoms

A phase with a thousandth of the best p0 is left out: all neighbours together weigh some 12 times the atom itself. An
atom that is left with one phase is settled, and the sweeps go over lists of those that are open.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from ovito_mace_phase.runtime.compiling import COMPILED, kernel
from ovito_mace_phase.runtime.exponential import LOG2_E, power_of_two

_SMALL = np.float32(1e-3)


@kernel(**COMPILED)
def rival_posteriors(best, log_norm, inverse_temperature, first, last, probability):
    """Write `exp(l[a, k] / T - log_norm[a])` of as many of the best logits as `probability` has columns."""
    for atom in range(first, last):
        for k in range(probability.shape[1]):
            x = best[atom, k] * inverse_temperature - log_norm[atom]
            probability[atom, k] = power_of_two(min(x * np.float32(LOG2_E), np.float32(0.0)))


@kernel(**COMPILED)
def gather_rivals(columns, probability, order, first, last, held, own, rivals, present, place, label, share, listed):
    """Bring the atoms `first` to `last - 1` of the order together; return how many are open, listed from `first` on.

    Parameters
    ----------
    columns, probability : (n_atoms, n_best) int16, float32
        Of the caller's atoms.
    held, own : (n_atoms, n_best) int16, float32
        The same in the order.
    rivals : (n_atoms,) int8
        How many of its phases count.
    present : (2, n_atoms, n_best) float32
        Posteriors, which the sweeps read and write in turn; those of settled atoms stay.
    place, label, share : (n_atoms,) int8, int16, float32
        Which of its phases an atom has, its column, and its p0.
    listed : (n_atoms,) int32
    """
    n_best = held.shape[1]
    n_open = 0
    for atom in range(first, last):
        given = order[atom]
        count = 1
        for k in range(n_best):
            held[atom, k], own[atom, k] = columns[given, k], probability[given, k]
            present[0, atom, k] = present[1, atom, k] = np.float32(1.0) if k == 0 else np.float32(0.0)
            if own[atom, k] >= _SMALL * own[atom, 0]:
                count = k + 1
        rivals[atom] = count
        place[atom], label[atom], share[atom] = 0, held[atom, 0], own[atom, 0]
        if count > 1:
            listed[first + n_open] = atom
            n_open += 1
    return n_open


@kernel(**COMPILED)
def update_posteriors(columns, own, rivals, present, offsets, neighbour, floor, listed, following):
    """Write `p[a, k] ~ p0[a, k] (w[a, k] + floor)` of the atoms listed; w is the mean of `present` around them."""
    weight = np.empty(columns.shape[1], dtype=np.float32)
    for number in range(len(listed)):
        atom = listed[number]
        mine = rivals[atom]
        for k in range(mine):
            weight[k] = present[atom, k]
        for bond in range(offsets[atom], offsets[atom + 1]):
            other = neighbour[bond]
            for m in range(rivals[other]):
                column, held = columns[other, m], present[other, m]
                for k in range(mine):
                    weight[k] += held if columns[atom, k] == column else np.float32(0.0)
        share = np.float32(1.0) / np.float32(offsets[atom + 1] - offsets[atom] + 1)
        total = np.float32(0.0)
        for k in range(mine):
            weight[k] = (
                own[atom, k] * (weight[k] * share + floor) if own[atom, k] >= _SMALL * own[atom, 0] else np.float32(0.0)
            )
            total += weight[k]
        for k in range(mine):
            following[atom, k] = weight[k] / total


@kernel(**COMPILED)
def choose(columns, own, rivals, present, listed, place, label, share):
    """Write place, column and p0 of the most likely phase of the atoms listed; the first of equals."""
    for number in range(len(listed)):
        atom = listed[number]
        best = 0
        for k in range(1, rivals[atom]):
            if present[atom, k] > present[atom, best]:
                best = k
        place[atom], label[atom], share[atom] = best, columns[atom, best], own[atom, best]


@kernel(**COMPILED)
def agreement(label, share, place, order, offsets, neighbour, first, last, found, confidence):
    """Write place and confidence of the caller's atoms.

    The confidence is the mean of p0 of the label over an atom and those of its neighbours that have the same label.
    """
    for atom in range(first, last):
        total, count = share[atom], 1
        for bond in range(offsets[atom], offsets[atom + 1]):
            other = neighbour[bond]
            alike = label[other] == label[atom]
            total += share[other] if alike else np.float32(0.0)
            count += alike
        found[order[atom]] = place[atom]
        confidence[order[atom]] = total / np.float32(count)
