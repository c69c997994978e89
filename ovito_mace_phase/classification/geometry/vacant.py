"""Crystals with vacancies at random: an empty place is one more way in which a site of the crystal may be occupied.

The shell of an atom beside a vacancy is incomplete, so that nothing fits it, or a phase with fewer neighbours does.
Where atoms are in doubt, the phases that the network names there grow once more, and may leave places empty
(`kernels_vacant`). With the votes of an empty place, the matched atoms that miss one there, and `seen`, all atoms that
have such a place for a neighbour,

    inside   votes >= INSIDE seen                                       not beyond a surface, a void or a boundary
    calm     as many empty places inside as others, around an atom      averaged over neighbours, SWEEPS times
    share    vacancies / (vacancies + atoms) on the sites of one species;   vacancies: places inside, where it is calm
    random   mean of (1 - votes / seen) over vacancies <= BY_CHANCE times their share of all sites + SPREAD

A crystal has vacancies where LEAST <= share <= MOST on the sites of some species, at least FEWEST of them, at random.
Then atoms where it is calm, of which every empty place is inside, take the phase where their neighbours agree (AGREE),
and agree better than in what they had: by _MORE where the network named something else. So an isolated vacancy leaves
its neighbours Other, as common neighbour analysis does, and so do surfaces, voids and boundaries.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.cell_grid import make_grid
from ovito_mace_phase.runtime.watch import Watch

from .agreement import averaged
from .kernels_vacant import EMPTY
from .matching import Growth

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
INSIDE, LEAST, MOST, FEWEST = 0.6, 0.02, 0.4, 3
BY_CHANCE, SPREAD, SWEEPS = 2.0, 0.1, 2
EMPTIES = 0.35
"""Share of the places of one atom that may be empty."""
AGREE, _MORE = 0.6, 0.1  # mean support around an atom that takes a phase, and how much more it must be than before
_DOUBT, _MANY, _PHASES = 0.8, 0.02, 3  # support of atoms in doubt, their share where vacancies are looked for


def fill(state: Growth, claim: npt.NDArray[np.float32], watch: Watch) -> None:
    """Give atoms beside vacancies at random their phase; `claim` as in `growth.grow`."""
    library, label = state.library, state.allowed[:, 0]
    best = state.held().region
    phase = np.where(state.template >= 0, library.phase[state.template], -1)
    doubt = best < _DOUBT
    asked = np.bincount(label[doubt & (label >= 0)], minlength=len(library.n_codes))
    among = np.bincount(label[label >= 0], minlength=len(library.n_codes))
    for candidate in np.argsort(-asked, kind="stable")[:_PHASES]:
        if asked[candidate] < max(1.0, _MANY * among[candidate]):
            continue
        atoms = (label == candidate) | (phase == candidate) | doubt
        alone = np.where(atoms, np.int16(candidate), np.int16(-1))[:, None]
        limits = state.limits._replace(most_empty=EMPTIES)
        other = Growth(library, state.near, np.ascontiguousarray(alone), limits)
        other.run(np.where(label == candidate, claim, np.float32(0.0)), watch)
        beside = at_random(other)
        if not beside.any():
            continue
        region = other.held().region
        better = beside & (region >= AGREE) & (region > best + np.where(label == candidate, 0.0, _MORE))
        if 2 * np.count_nonzero(label[better] == candidate) < np.count_nonzero(label[better] >= 0):
            continue  # the network names another phase here
        state.replace(better, other)
        best[better] = region[better]


def at_random(state: Growth) -> Bool:
    """Return which matched atoms lie in a crystal with vacancies at random and have no other empty places.

    None where there is no such crystal, (n_atoms,).
    """
    library, none = state.library, np.zeros(len(state.near), dtype=bool)
    atom, place = empty_places(state)
    if not len(atom):
        return none
    kind = _kinds(state, atom, library.neighbour[place])
    votes = _votes(state, atom, place, kind)
    seen = np.bincount(library.neighbour, minlength=len(library.phase))[library.neighbour[place]]
    inside = votes >= INSIDE * seen
    calm = (state.template >= 0) & (_around(state, atom[inside]) >= _around(state, atom[~inside]))
    counted = inside & calm[atom]
    matched = np.flatnonzero(state.template >= 0)
    n_kinds = int(state.near.species.max()) + 2
    weight = 1.0 / votes[counted]
    vacancies = np.bincount(kind[counted], weights=weight, minlength=n_kinds)
    held = np.bincount(_kinds(state, matched, state.template[matched]), minlength=n_kinds)
    share = vacancies / np.maximum(vacancies + held, 1.0)
    many = (share >= LEAST) & (share <= MOST) & (vacancies >= FEWEST)
    if not many.any():
        return none
    beside = float((weight * (1.0 - votes / seen)[counted]).sum() / weight.sum())
    total = vacancies.sum() / (vacancies.sum() + held.sum())
    if beside > BY_CHANCE * total + SPREAD:
        return none
    calm[atom[~inside]] = False
    return calm


def empty_places(state: Growth) -> tuple[Int, Int]:
    """Return atoms, and rows of the library, of the places that are empty."""
    library = state.library
    first = library.offsets[state.template]
    size = np.where(state.template >= 0, library.offsets[state.template + 1] - first, 0)
    empty = (state.slots < 0) & (np.arange(state.slots.shape[1])[None] < size[:, None])
    atom, k = np.nonzero(empty)
    return atom, first[atom] + k


def _around(state: Growth, atom: Int) -> Float:
    """Return how many of some empty places, given by their atoms, there are around each atom."""
    value = np.bincount(atom, minlength=len(state.near)).astype(np.float64)
    for _ in range(SWEEPS):
        value = averaged(state.library, state.template, state.slots, state.near.neighbour, value)
    return value


def _kinds(state: Growth, atom: Int, site: Int) -> Int:
    """Return what is to be at a site of the crystal that an atom is in: its species and one, 0 for any."""
    codes = np.concatenate(state.codes)
    return np.maximum(codes[state.grain[atom], state.library.code[site]], -1) + 1


def _votes(state: Growth, atom: Int, place: Int, kind: Int) -> Float:
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
