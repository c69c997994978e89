"""Matches of the atoms of a frame: crystals grow from seeds, each matched atom saying what its neighbours are.

    seed    the atom with the best claim within so many steps of it: all phases it may be, all rotations are tried
    round   matched atoms hand on phase, atom of the cell, F, species  to their neighbours, which fit that alone
    again   with seeds among the atoms that nobody reached, at shorter distances; cold ones before hot ones
    settle  grains that grew from a wrong site give way, see `settling`
    doubt   atoms that fit worse than the crystal around them, or whose neighbours do not agree, are searched once more;
            of two phases that fit alike there the simpler one is taken (a layer of dhcp is a layer of fcc or hcp)
    sides   where the neighbours agree little in a phase of several sites, each phase that occurs there is tried alone,
            and where nearly none agree the best other logits; that one is taken whose sites come as they should: A15
            has local surroundings of sigma, but not in its order
    parents a strained crystal is called by the name of its parent, by the strain of the mean F around each atom: up to
            the strain stated for the phase, and further where the parent needs less strain than the phase itself
            (fluorite stretched the other way than ThH2)
    vacancies and atoms that the network calls Other come last, see `vacant` and `joining`

A crystal costs one fit an atom that way, and the atoms of a cell come in their order, not just each somewhere. An atom
that is matched changes to what a neighbour says where that fits clearly better. Rounds read the state before them: the
result does not depend on the order of the atoms, on blocks or threads.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.runtime.watch import Watch

from .joining import join
from .library import Library
from .matching import EARLY, Growth, Limits, Matches
from .settling import AGREED, low_grains, settle
from .surroundings import Surroundings
from .vacant import fill

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
_AGREED = 0.8  # mean support below which sides are taken
_MORE, _WHOLE = 0.1, 0.97  # how much more the other one must have, or as much as this and half of what is missing
_LOST = 0.6  # mean support below which a phase that tells fewer species apart is tried: it asks for less
_TIE = 0.02  # how much less is enough for the label of the network
_REACHED = 0.9  # share of a frame that crystals reach from seeds elsewhere
_CLEAR = 0.7  # of that, with neighbours that agree
_STEPS = (5, 2)  # between seeds of a phase that is tried alone: a few atoms are no side
_SIDES, _ENOUGH, _OCCURS = 4, 0.2, 0.005  # phases tried; shares of atoms in doubt that may be, of the frame that are


def grow(
    library: Library,
    near: Surroundings,
    allowed: npt.NDArray[np.int16],
    claim: npt.NDArray[np.float32],
    parent: Int,
    parent_strain: Float,
    limits: Limits,
    watch: Watch | None = None,
    *,
    guessed: bool = False,
) -> Matches:
    """Match the atoms of a frame.

    Parameters
    ----------
    library : Library
    near : Surroundings
    allowed : (n_atoms, n_allowed) int16
        Phases each atom may have, places in the library, best first, -1 behind the last one.
    claim : (n_atoms,) float32
        How good a seed an atom is; atoms of zero are none.
    parent, parent_strain : (n_phases,)
        Place of the parent of a phase, itself where it has none, and the strain up to which it stands for the phase.
    limits : Limits
    watch : Watch, optional
    guessed : bool
        Phases are guesses where the claim is below `matching.EARLY`: crystals grow over all atoms at once, and nothing
        more is tried where that leaves much of the frame.
    """
    state = Growth(library, near, allowed, limits)
    state.strict = not guessed
    watch = watch or Watch()
    reached = state.run(claim, watch, least=_REACHED if guessed else 0.0)
    if guessed and not (reached and np.mean(state.held().region >= _AGREED) >= _CLEAR):
        return state.matches()
    claim = np.where(claim >= EARLY, claim, np.float32(0.0)) if guessed else claim
    settle(state, watch)
    state.look_again()
    _take_sides(state, claim, watch)
    _call_by_parents(state, claim, parent, parent_strain, watch)
    fill(state, claim, watch)
    join(state)
    return state.matches()


def _take_sides(state: Growth, claim: npt.NDArray[np.float32], watch: Watch) -> None:
    """Try phases one by one on the atoms whose neighbours agree little, and keep the one that agrees most."""
    library, allowed = state.library, state.allowed
    best = state.held().region
    phase = np.where(state.template >= 0, library.phase[state.template], -1)
    doubt = (phase >= 0) & ~library.simple[phase] & (best < _AGREED)
    lost = low_grains(state) & (best < AGREED)
    for rival, asked in _sides(phase, allowed, doubt | lost, lost, len(library.n_codes)):
        asked = asked & ((library.n_codes[rival] >= library.n_codes[phase]) | (best < _LOST))
        atoms = (allowed == rival).any(axis=1) & (asked | (phase == rival))
        if not atoms.any():
            continue
        alone = np.where(atoms, np.int16(rival), np.int16(-1))[:, None]
        other = Growth(library, state.near, np.ascontiguousarray(alone), state.limits)
        other.run(np.where(atoms, claim, np.float32(0.0)), watch, _STEPS)
        settle(other, watch)
        region = other.held().region
        more = np.minimum(_MORE, np.maximum(_WHOLE, 0.5 * (1.0 + best)) - best)
        better = asked & (other.template >= 0) & (region > best + np.where(allowed[:, 0] == rival, -_TIE, more))
        state.replace(better, other)
        best[better] = region[better]


def _sides(
    phase: Int, allowed: npt.NDArray[np.int16], doubt: Bool, lost: Bool, n_phases: int
) -> list[tuple[int, Bool]]:
    """Return phases to try alone, and where: of the frame where neighbours agree little, others where none do."""
    there = np.bincount(phase[phase >= 0], minlength=n_phases)
    mixed = [k for k in _asked(allowed[doubt], n_phases) if there[k] > _OCCURS * len(phase)]
    if len(mixed) == 1 and (phase[doubt] == mixed[0]).all():
        mixed = []  # nothing else there to be told from
    strange = [k for k in _asked(allowed[lost], n_phases) if k not in mixed and there[k] < there.max()]
    return [(k, doubt) for k in mixed[:_SIDES]] + [(k, lost) for k in strange[:_SIDES]]


def _asked(allowed: npt.NDArray[np.int16], n_phases: int) -> list[int]:
    """Return the phases that are allowed at many of some atoms, the most frequent first."""
    asked = np.bincount(allowed[allowed >= 0], minlength=n_phases)
    return [int(k) for k in np.argsort(-asked, kind="stable") if asked[k] > _ENOUGH * len(allowed)]


def _call_by_parents(
    state: Growth, claim: npt.NDArray[np.float32], parent: Int, parent_strain: Float, watch: Watch
) -> None:
    """Give atoms of a phase to its parent, where that fits about as well and needs little strain, or less of it."""
    library = state.library
    for phase in np.flatnonzero(parent != np.arange(len(parent))):
        atoms = state.template >= 0
        atoms[atoms] = library.phase[state.template[atoms]] == phase
        if not atoms.any():
            continue
        alone = np.where(atoms, np.int16(parent[phase]), np.int16(-1))[:, None]
        other = Growth(library, state.near, np.ascontiguousarray(alone), state.limits)
        other.run(np.where(atoms, np.maximum(claim, EARLY), np.float32(0.0)), watch)
        residual = state.values[:, 1]
        fits = atoms & (other.template >= 0)
        fits[fits] = other.values[fits, 1] <= np.maximum(1.3 * residual[fits], residual[fits] + 0.02)
        if fits.any():
            most = np.maximum(parent_strain[phase], state.held().strain)
            state.replace(fits & (other.held().strain <= most), other)
