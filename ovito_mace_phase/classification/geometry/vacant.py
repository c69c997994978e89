"""Crystals with vacancies at random: an empty place is one more way in which a site of the crystal may be occupied.

The shell of an atom beside a vacancy is incomplete, so that nothing fits it, or a phase with fewer neighbours does.
Where atoms are in doubt in numbers, the phases that the network names there grow once more, and may leave places empty
(`kernels_vacant`). With the votes of an empty place, the atoms that miss one there,

    inside   votes >= INSIDE of all atoms that have such a place as their neighbour       not a surface, void or boundary
    share    vacancies / (vacancies + atoms) on the sites of one species, vacancies: empty places inside

atoms of which every empty place is inside, on sublattices with LEAST <= share <= MOST and at least FEWEST vacancies,
take the phase, where nothing fits them, or where their neighbours agree better in it. So an isolated vacancy leaves its
neighbours Other, as with common neighbour analysis, and a surface has no vacancies.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.cell_grid import make_grid
from ovito_mace_phase.runtime.watch import Watch

from .kernels_vacant import EMPTY
from .matching import Growth

Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
INSIDE, LEAST, MOST, FEWEST = 0.6, 0.02, 0.4, 3
EMPTIES = 0.35
"""Share of the places of one atom that may be empty."""
_MANY = 0.02  # share of the atoms in doubt from which on vacancies are looked for
_AGREED, _MORE = 0.8, 0.1  # mean support of an atom in doubt, and how much more there must be
_PHASES = 3


def fill(state: Growth, claim: npt.NDArray[np.float32]) -> None:
    """Give atoms beside vacancies at random their phase; `claim` as in `growth.grow`."""
    library, allowed = state.library, state.allowed
    best = state.held().region
    phase = np.where(state.template >= 0, library.phase[state.template], -1)
    doubt = best < _AGREED
    label = allowed[:, 0]
    asked = np.bincount(label[doubt & (label >= 0)], minlength=len(library.n_codes))
    among = np.bincount(label[label >= 0], minlength=len(library.n_codes))
    for candidate in np.argsort(-asked, kind="stable")[:_PHASES]:
        if asked[candidate] == 0 or asked[candidate] < _MANY * among[candidate]:
            continue
        atoms = (label == candidate) | (phase == candidate) | (label < 0) | doubt
        alone = np.where(atoms, np.int16(candidate), np.int16(-1))[:, None]
        other = Growth(
            library, state.near, np.ascontiguousarray(alone), state.limits._replace(most_empty=EMPTIES)
        )
        other.run(np.where(label == candidate, claim, np.float32(0.0)), Watch())
        beside = at_random(other)
        region = other.held().region
        better = beside & (region > np.where(state.template >= 0, best, 0.0) + _MORE)
        if 2 * np.count_nonzero(label[better] == candidate) < np.count_nonzero(label[better] >= 0):
            continue
        state.replace(better, other)
        best[better] = region[better]


def at_random(state: Growth) -> Bool:
    """Return which matched atoms have no empty places but vacancies at random, (n_atoms,)."""
    library = state.library
    atom, place = empty_places(state)
    good = state.template >= 0
    if not len(atom):
        return good
    kind = _kinds(state, atom, library.neighbour[place])
    votes = _votes(state, atom, place, kind)
    seen = np.bincount(library.neighbour, minlength=len(library.phase))
    inside = votes >= INSIDE * seen[library.neighbour[place]]
    matched = np.flatnonzero(good)
    n_kinds = int(state.near.species.max()) + 2
    vacancies = np.bincount(kind[inside], weights=1.0 / votes[inside], minlength=n_kinds)
    held = np.bincount(_kinds(state, matched, state.template[matched]), minlength=n_kinds)
    share = vacancies / np.maximum(vacancies + held, 1.0)
    many = (share >= LEAST) & (share <= MOST) & (vacancies >= FEWEST)
    good[atom[~(inside & many[kind])]] = False
    return good


def _kinds(state: Growth, atom: Int, site: Int) -> Int:
    """Return what is to be at a site of the crystal that an atom is in: its species and one, 0 for any."""
    codes = np.concatenate(state.codes)
    return np.maximum(codes[state.grain[atom], state.library.code[site]], -1) + 1


def empty_places(state: Growth) -> tuple[Int, Int]:
    """Return atoms, and rows of the library, of the places that are empty."""
    library = state.library
    first = library.offsets[state.template]
    size = np.where(state.template >= 0, library.offsets[state.template + 1] - first, 0)
    empty = (state.slots < 0) & (np.arange(state.slots.shape[1])[None] < size[:, None])
    atom, k = np.nonzero(empty)
    return atom, first[atom] + k


def _votes(state: Growth, atom: Int, place: Int, kind: Int) -> npt.NDArray[np.float64]:
    """Return how many atoms miss one of the same kind at each empty place, the atom itself among them."""
    library, grid = state.library, state.near.grid
    gradient = state.gradient[atom]
    at = grid.positions[atom] + np.einsum("aij,aj->ai", gradient, library.vectors[place])
    reach = EMPTY * float(library.nearest[state.template[atom]].mean() * np.cbrt(np.median(np.linalg.det(gradient))))
    votes = make_grid(at, grid.box, grid.periodic, reach)
    offsets, neighbour, _ = votes.pairs(0, len(votes))
    kind = kind[votes.order]
    one = np.repeat(np.arange(len(votes)), np.diff(offsets))
    same = kind[one] == kind[neighbour]
    found = np.empty(len(votes))
    found[votes.order] = 1.0 + np.bincount(one[same], minlength=len(votes))
    return found
