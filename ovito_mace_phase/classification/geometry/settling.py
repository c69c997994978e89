"""Grains that grew from a wrong site give way to those that grew from the right one.

    low:  the mean support in a grain is below AGREED, and
          less than CORE of its atoms have that support around them, or less than OPEN of their neighbours are unmatched

Layers of a Laves phase, a MAX phase or a polytype look alike from one atom, so a seed may take the site of another
layer. Its grain grows within the layers that fit and stops at the next one, where atoms of the same crystal do not
agree. So the grains that are low are taken away, those beside them may grow there, and what is left is grown anew from
one core at a time: the best supported atom of a grain, largest grain first, then new seeds. A core at its right site
takes the crystal, so of TRIES the one counts that reaches most atoms that fit and agree. Atoms change where the mean
support around them rises and they fit as well, or as in a crystal at rest. Grains of a polycrystal have a core that
agrees, and between them atoms that nothing fits. At most TURNS crystals of a frame are grown anew, and none where low
grains hold less than _LEAST of its atoms.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.runtime.watch import Watch

from .joining import COLD
from .kernels_growth import ALIKE
from .matching import MOST_TRIES, Growth, Seeds

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
AGREED, CORE, OPEN = 0.95, 0.1, 0.02
TRIES, FRESH, TURNS = 8, 8, 3
_ENOUGH = 0.95  # of the atoms left, each as far as it fits and agrees, with which a core need not be compared to others
_LEAST = 0.01  # share of the atoms that is worth a search


def low_grains(state: Growth) -> Bool:
    """Tell which atoms are of grains whose atoms agree too little; not in lattices that PTM knows."""
    library, matched = state.library, state.template >= 0
    if not matched.any():
        return matched
    held, grain = state.held(), np.where(matched, state.grain, 0)

    def mean_of(value: Float, atoms: Bool) -> Float:
        size = np.bincount(grain[atoms], minlength=state.n_grains)
        return np.bincount(grain[atoms], value, minlength=state.n_grains) / np.maximum(size, 1)

    few = mean_of(held.support[matched], matched) < AGREED
    asked = matched & few[grain] & ~library.simple[library.phase[state.template]]
    if not asked.any():
        return asked
    no_core = mean_of((held.region[asked] >= AGREED).astype(float), asked) < CORE
    closed = mean_of(_unmatched_around(state, np.flatnonzero(asked)), asked) < OPEN
    return asked & (no_core | closed)[grain]


def settle(state: Growth, watch: Watch) -> None:
    """Grow the crystals of low grains anew."""
    several = np.diff(state.library.seed_offsets) > 1
    low, least = low_grains(state), max(1.0, _LEAST * len(state.template))
    low[low] = several[state.library.phase[state.template[low]]]
    if low.sum() < least:
        return
    before = state.held()
    other = state.copy()
    other.forget(low)
    other.tries[:] = 0
    other.spread(np.flatnonzero(other.template >= 0))
    for _ in range(TURNS):
        watch.check()
        free = low & (other.template < 0)
        if free.sum() < least or not _grow_best(state, other, free, least):
            break
    kinds = state.library.n_codes[state.library.phase]
    rises = low & (other.template >= 0)
    rises[rises] = kinds[other.template[rises]] >= kinds[state.template[rises]]  # the fewer, the less it asks for
    after = other.held()
    rises[rises] = after.region[rises] > before.region[rises]
    rises[rises] = after.misfit[rises] <= np.maximum(before.misfit[rises] + ALIKE, COLD)
    state.replace(rises, other)


def _grow_best(state: Growth, other: Growth, free: Bool, least: float) -> bool:
    """Let that core grow which reaches most of the free atoms; return whether there is one worth it."""
    best, most = None, least
    for core in _cores(state, other, free):
        reached = _reached_from(other, core, free)
        if reached > most:
            best, most = core, reached
        if most >= _ENOUGH * free.sum():
            break
    if best is not None:
        other.plant(best)
    return best is not None


def _cores(state: Growth, other: Growth, free: Bool) -> Iterator[Seeds]:
    """Yield the best supported atom of each of the largest grains of the free atoms, then new seeds."""
    atoms = np.flatnonzero(free)
    held, grain = state.held(), state.grain[atoms]
    size = np.bincount(grain, minlength=state.n_grains)
    order = atoms[np.lexsort((atoms, held.misfit[atoms], -held.support[atoms], grain, -size[grain]))]
    first = np.unique(state.grain[order], return_index=True)[1]
    yield from map(state.as_seed, order[np.sort(first)][:TRIES])
    some = atoms[:: max(1, len(atoms) // FRESH)][:FRESH]
    yield from itertools.chain.from_iterable(map(other.searched, some))


def _reached_from(other: Growth, seed: Seeds, free: Bool) -> float:
    """Return how many free, unmatched atoms a seed reaches, as far as they fit and agree; nothing changes."""
    limits = other.limits
    other.tries[:] = np.where(free, 0, MOST_TRIES)
    other.plant(seed)
    reached = np.flatnonzero(free & (other.template >= 0))
    fit = np.minimum(1.0, (limits.loosest - other.values[reached, 0]) / (limits.loosest - limits.cold))
    score = float((fit * _agreeing_around(other, reached)).sum())
    other.forget(reached)
    other.tries[:] = 0
    return score


def _unmatched_around(state: Growth, atoms: Int) -> Float:
    """Return which share of the neighbours of each of some matched atoms is matched with nothing or missing."""
    around, expected, asked = _places(state, atoms)
    return (((state.template[around] < 0) | (expected < 0)) & asked).sum(axis=1) / asked.sum(axis=1)


def _agreeing_around(state: Growth, atoms: Int) -> Float:
    """Return which share of the neighbours of each of some matched atoms is what its match says, in its grain."""
    around, expected, asked = _places(state, atoms)
    same = (state.template[around] == expected) & (state.grain[around] == state.grain[atoms][:, None])
    return (same & asked).sum(axis=1) / asked.sum(axis=1)


def _places(state: Growth, atoms: Int) -> tuple[npt.NDArray[np.int32], Int, Bool]:
    """Return the neighbours of matched atoms, what they should be, -2 at an empty place, and which places there are."""
    library, width = state.library, state.slots.shape[1]
    first = library.offsets[state.template[atoms]]
    asked = np.arange(width)[None] < (library.offsets[state.template[atoms] + 1] - first)[:, None]
    slots = np.where(asked, state.slots[atoms], 0)
    around = np.take_along_axis(state.near.neighbour[atoms], np.maximum(slots, 0), axis=1)
    rows = np.minimum(first[:, None] + np.arange(width)[None], len(library.neighbour) - 1)
    return around, np.where(slots < 0, -2, library.neighbour[rows]), asked
