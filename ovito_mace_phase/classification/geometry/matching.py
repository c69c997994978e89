"""The state of a frame while crystals grow in it: seeds, rounds, a second look at atoms in doubt; see `growth`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.runtime.threads import over_rows
from ovito_mace_phase.runtime.watch import Watch

from .agreement import Agreement, agreement
from .kernels_growth import ALIKE, commit, hand_on, spread_largest, start, take_over
from .library import Library
from .surroundings import Surroundings

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
HOPS = (5, 2, 1, 0)
"""Steps to near neighbours within which a seed has the best claim, stage by stage."""
EARLY = np.float32(0.01)
"""Smaller claims wait until crystals have grown from the larger ones: atoms that the network has not seen."""
WARMER = (0.15, 0.18, 0.22, 0.26, 1.0)
"""Seeds with an rmsd up to the first grow at once; the others wait until all have been tried, and grow in these
steps.
"""
_STEP = 12  # nearest neighbours that a step may go to
_SEED_ROWS, _ROWS = 8, 1024
_WORSE, _ALONE = 1.5, 0.5  # rmsd over the level, and support, of an atom in doubt
_ALONE_PURE = 0.7  # the same in phases of one species: layers of a stacking have half their neighbours beside them
_FEW = 4  # phases tried at the atoms left over at last, and at those in doubt
MOST_TRIES = 8
"""Times that an atom listens to its neighbours."""


class Limits(NamedTuple):
    """What counts as a match.

    Attributes
    ----------
    loosest : float
        rmsd, while crystals grow; the verdict comes afterwards, by region.
    cold, rise : float
        A neighbour takes a match over with an rmsd up to `cold`, or `rise` times the level handed on with it.
    share : float
        Of its own rmsd in the level that an atom hands on; the rest is the level it was handed.
    most_strain : float
        Deviatoric strain, noise of a single atom included.
    most_wrong : float
        Share of atoms of the wrong species in a template: antisites.
    clearly : float
        Another phase must fit better by this factor, see `kernels_growth.better_than`.
    most_turn : float
        Squared relative difference of the F of neighbours in one crystal: turned by some 20 degrees, noise included.
    enough : float
        rmsd of the label at a seed below which nothing else is tried there.
    most_empty : float
        Share of the places of a template that may be empty where a match is handed on: vacancies.
    clean : float
        rmsd of a whole shell below which nobody asks whether it is better with empty places.
    """

    loosest: float = 0.30
    cold: float = 0.13
    rise: float = 1.8
    share: float = 0.2
    most_strain: float = 0.35
    most_wrong: float = 0.25
    clearly: float = 0.75
    most_turn: float = 0.15
    enough: float = 0.08
    most_empty: float = 0.0
    clean: float = 0.05


@dataclass(frozen=True, kw_only=True)
class Matches:
    """Atoms on templates, in sorted order.

    Attributes
    ----------
    template : (n_atoms,) int64
        Atom of the library; -1 where nothing fits.
    gradient : (n_atoms, 3, 3) float64
        F, from template to frame.
    values : (n_atoms, 5) float64
        rmsd, residual, strain, s, see `kernels`, and the level that was handed on.
    slots : (n_atoms, N) int16
        Neighbour at each place of the template, -1 where it is empty.
    grain : (n_atoms,) int64
        Number of the seed that a match goes back to.
    codes : (n_grains, n_codes) int64
        Species of the codes of the phase of a grain.
    held : Agreement
    """

    template: Int
    gradient: Float
    values: Float
    slots: npt.NDArray[np.int16]
    grain: Int
    codes: Int
    held: Agreement


def _peaks(claim: npt.NDArray[np.float32], near: Surroundings, hops: int) -> Int:
    """Return the atoms with the largest claim within so many steps to near neighbours; 0: all with a claim.

    Of equal claims (a network that is sure says 1.0 of every atom) the first atom has the larger one: were all of them
    seeds, each would take a site for itself, and none would hear from its neighbours.
    """
    if hops == 0:
        return np.flatnonzero(claim > 0.0)
    rank = np.empty(len(claim))
    rank[np.argsort(-claim, kind="stable")] = np.arange(len(claim), 0, -1)
    top = rank
    for _ in range(hops):
        wider = np.empty_like(top)
        spread_largest(top, near.count, near.neighbour, _STEP, wider)
        top = wider
    return np.flatnonzero((claim > 0.0) & (rank >= top))


class Seeds(NamedTuple):
    """Matches of some atoms from which crystals grow: `atoms`, their species codes, the others as in `Matches`."""

    atoms: Int
    template: Int
    gradient: Float
    values: Float
    slots: npt.NDArray[np.int16]
    codes: Int

    def taken(self, which: npt.NDArray[np.bool_]) -> Seeds:
        """Return some of them."""
        return Seeds(
            self.atoms[which],
            self.template[which],
            self.gradient[which],
            self.values[which],
            self.slots[which],
            self.codes[which],
        )


class Growth:
    """The state while crystals grow."""

    def __init__(self, library: Library, near: Surroundings, allowed: npt.NDArray[np.int16], limits: Limits) -> None:
        n_atoms, size = len(near), int(np.diff(library.offsets).max())
        self.library, self.near, self.allowed, self.limits = library, near, allowed, limits
        self.template = np.full(n_atoms, -1, dtype=np.int64)
        self.gradient = np.zeros((n_atoms, 3, 3))
        self.values = np.full((n_atoms, 5), np.nan)
        self.slots = np.zeros((n_atoms, size), dtype=np.int16)
        self.grain = np.full(n_atoms, -1, dtype=np.int64)
        self.tries = np.zeros(n_atoms, dtype=np.int64)
        self.codes: list[Int] = []
        self.pending: list[Seeds] = []
        self.n_grains = 0
        self.strict = True
        self._giver = np.full(n_atoms, -1, dtype=np.int64)
        self._asked_template = np.zeros(n_atoms, dtype=np.int64)
        self._asked = np.zeros(n_atoms, dtype=np.int64)
        self._held: Agreement | None = None

    def start(self, seeds: Int, allowed: npt.NDArray[np.int16]) -> None:
        """Search at the seeds and let what is found grow; hot matches wait."""
        found = self._searched(seeds, allowed, np.full(len(seeds), self.limits.enough), self.limits.loosest)
        hit, hot = found.template >= 0, found.values[:, 0] > WARMER[0]
        self.pending.append(found.taken(hit & hot))
        self.plant(found.taken(hit & ~hot))

    def _searched(self, seeds: Int, allowed: npt.NDArray[np.int16], enough: Float, loosest: float | Float) -> Seeds:
        """Search at some atoms; `enough` as in `start`, matches with an rmsd above `loosest` are not wanted."""
        library, near = self.library, self.near
        n_seeds, n_codes = len(seeds), int(library.n_codes.max())
        template = np.full(n_seeds, -1, dtype=np.int64)
        gradient, values = np.zeros((n_seeds, 3, 3)), np.zeros((n_seeds, 5))
        slots = np.zeros((n_seeds, self.slots.shape[1]), dtype=np.int16)
        codes = np.full((n_seeds, n_codes), -1, dtype=np.int64)
        n_species = int(near.species.max(initial=0)) + 1
        most = np.minimum(np.broadcast_to(loosest, n_seeds), self.limits.loosest)

        def work(first: int, last: int) -> None:
            start(
                library, self.limits, self.limits.clearly, enough, most, seeds, allowed,
                near.count, near.vectors, near.neighbour, near.species, n_species, first, last, template, gradient,
                values, slots, codes,
            )  # fmt: skip

        over_rows(work, n_seeds, _SEED_ROWS)
        return Seeds(seeds, template, gradient, values, slots, codes)

    def plant_pending(self, low: float, high: float) -> None:
        """Let the seeds of these rmsd grow that nobody reached."""
        for found in self.pending:
            free = (self.template[found.atoms] < 0) & (found.values[:, 0] > low) & (found.values[:, 0] <= high)
            self.plant(found.taken(free))

    def run(
        self, claim: npt.NDArray[np.float32], watch: Watch, steps: tuple[int, ...] = HOPS, least: float = 0.0
    ) -> bool:
        """Let crystals grow from seeds, cold ones first: at first over atoms of their label, then over others.

        False, and no more seeds, where those of the longest steps have reached less than a share `least` of the atoms.
        """
        tried = np.zeros(len(self.near), dtype=bool)
        for hops in steps:
            watch.check()
            free = (self.template < 0) & ~tried & ((claim >= EARLY) | (hops < HOPS[1]))
            seeds = _peaks(np.where(free, claim, np.float32(0.0)), self.near, hops)
            tried[seeds] = True
            self.start(seeds, (self.allowed if hops else self.allowed[:, :_FEW])[seeds])
            if least > 0.0 and hops == HOPS[1]:
                self.plant_warm()
                if np.count_nonzero(self.template >= 0) < least * len(self.template):
                    return False
        self.strict = False
        self.spread(np.flatnonzero(self.template >= 0))
        self.plant_warm()
        return True

    def plant_warm(self) -> None:
        """Let the hot seeds grow that nobody reached, the colder ones first."""
        for low, high in itertools.pairwise(WARMER):
            self.plant_pending(low, high)

    def held(self) -> Agreement:
        """Hold the matches against each other; as they are until something changes."""
        if self._held is None:
            self._held = agreement(
                self.library, self.limits.most_turn, self.template, self.gradient, self.values, self.slots, self.grain,
                self.near.neighbour,
            )  # fmt: skip
        return self._held

    def replace(self, atoms: npt.NDArray[np.bool_], other: Growth) -> None:
        """Take the matches of some atoms over from another state."""
        if not atoms.any():
            return
        self._held = None
        for name in ("template", "gradient", "values", "slots"):
            getattr(self, name)[atoms] = getattr(other, name)[atoms]
        self.grain[atoms] = other.grain[atoms] + self.n_grains
        self.n_grains += other.n_grains
        self.codes.extend(other.codes)

    def copy(self) -> Growth:
        """Return a state of its own with the same matches."""
        other = Growth(self.library, self.near, self.allowed, self.limits)
        for name in ("template", "gradient", "values", "slots", "grain", "tries"):
            getattr(other, name)[...] = getattr(self, name)
        other.codes, other.n_grains, other.strict = list(self.codes), self.n_grains, self.strict
        return other

    def as_seed(self, atom: int) -> Seeds:
        """Return the match of an atom as a seed for another state."""
        one = np.array([atom])
        codes = np.concatenate(self.codes)[self.grain[one]]
        return Seeds(one, self.template[one], self.gradient[one], self.values[one], self.slots[one], codes)

    def searched(self, atom: int) -> Iterator[Seeds]:
        """Yield the best match of an atom, where there is one."""
        found = self._searched(
            np.array([atom]), self.allowed[[atom]], np.array([self.limits.enough]), self.limits.loosest
        )
        if found.template[0] >= 0:
            yield found

    def forget(self, atoms: Int | npt.NDArray[np.bool_]) -> None:
        """Let some atoms be matched no more."""
        if len(atoms):
            self.template[atoms], self._held = -1, None

    def look_again(self) -> None:
        """Search at the atoms in doubt, the simplest phases first, and let what fits better or is simpler grow."""
        held = self.held()
        rmsd = self.values[:, 0]
        worse = rmsd > np.maximum(WARMER[0] / 1.25, _WORSE * held.level)
        pure = self.library.n_codes[self.library.phase[self.template]] == 1
        alone = held.support < np.where(pure, _ALONE_PURE, _ALONE)
        atoms = np.flatnonzero((self.template >= 0) & (worse | alone))
        phase = self.library.phase[self.template[atoms]]
        bar = self.limits.clearly * (rmsd[atoms] + ALIKE) - ALIKE  # `kernels_growth.better_than`
        enough = np.where(alone[atoms], 1.15 * rmsd[atoms] + 0.01, bar)
        most = np.bincount(self.library.phase[self.template[self.template >= 0]], minlength=len(self.library.n_codes))
        host = np.argmax(np.where(self.library.simple, most, -1))  # what atoms beside interstitials may be
        mixed = self.library.n_codes[phase] > 1
        allowed = np.column_stack([self.allowed[atoms], np.where(mixed, host, -1).astype(np.int16)])
        simple = self._simplest_first(allowed, phase, self._among_own(atoms))[:, :_FEW]
        found = self._searched(atoms, simple, enough, np.maximum(bar, enough))
        hit = found.template >= 0
        atoms, old, found = atoms[hit], phase[hit], found.taken(hit)
        new = self.library.phase[found.template]
        size = np.diff(np.searchsorted(self.library.phase, np.arange(len(self.library.n_codes) + 1)))
        better = found.values[:, 0] < bar[hit]
        simpler = alone[atoms] & (size[new] < size[old]) & (found.values[:, 0] < 1.15 * rmsd[atoms] + 0.01)
        sheet = self.library.sheet[found.template] & ~self.library.sheet[self.template[atoms]]
        taken = (new != old) & (better | simpler) & ~sheet
        self.tries[:] = 0
        self.plant(found.taken(taken))

    def _among_own(self, atoms: Int) -> npt.NDArray[np.bool_]:
        """Return which of some matched atoms have a shell of their own species alone."""
        size = np.diff(self.library.offsets)[self.template[atoms]]
        held = (np.arange(self.slots.shape[1])[None] < size[:, None]) & (self.slots[atoms] >= 0)
        around = self.near.species[np.take_along_axis(self.near.neighbour[atoms], self.slots[atoms] * held, axis=1)]
        return ((around == self.near.species[atoms][:, None]) | ~held).all(axis=1)

    def _simplest_first(
        self, allowed: npt.NDArray[np.int16], phase: Int, among_own: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int16]:
        """Return the phases allowed with as many species as `phase`: PTM's first, then by the size of their cells.

        Where an atom is among its own, a phase of one species may be: the host of interstitials.
        """
        library = self.library
        size = np.diff(np.searchsorted(library.phase, np.arange(len(library.n_codes) + 1)))
        n_codes = library.n_codes[allowed]
        like = (n_codes == library.n_codes[phase][:, None]) | ((n_codes == 1) & among_own[:, None])
        like &= allowed >= 0
        for k in range(1, allowed.shape[1]):
            like[:, k] &= (allowed[:, :k] != allowed[:, k : k + 1]).all(axis=1)
        rank = np.where(library.simple, 0, int(size.max()) + 1) + size  # lattices that PTM knows come first
        order = np.argsort(np.where(like, rank[allowed], np.iinfo(np.int64).max), axis=1, kind="stable")
        return np.take_along_axis(np.where(like, allowed, np.int16(-1)), order, axis=1)

    def plant(self, found: Seeds) -> None:
        """Let seeds grow."""
        atoms = found.atoms
        self.template[atoms], self.gradient[atoms], self.values[atoms] = found.template, found.gradient, found.values
        self.slots[atoms] = found.slots
        self.grain[atoms] = self.n_grains + np.arange(len(atoms))
        self.n_grains += len(atoms)
        self.codes.append(found.codes)
        self.spread(atoms)

    def spread(self, fresh: Int) -> None:
        """Let matched atoms tell their neighbours what they should be, until nobody changes."""
        if not len(fresh):
            return
        self._held = None
        codes = np.concatenate(self.codes)
        while len(fresh):
            n_asked = hand_on(
                self.library, self.limits, self.strict, fresh, self.template, self.gradient, self.values, self.slots,
                self.grain, codes, self.allowed, self.tries, MOST_TRIES, self.near.species, self.near.neighbour,
                self._asked, self._giver, self._asked_template, 0,
            )  # fmt: skip
            fresh = self._round(np.sort(self._asked[:n_asked]), codes)
        self.codes = [codes]

    def _round(self, asked: Int, codes: Int) -> Int:
        """Fit what their neighbours say to the atoms that are asked; return those that changed."""
        near, n_asked = self.near, len(asked)
        gradient, values = np.zeros((n_asked, 3, 3)), np.zeros((n_asked, 5))
        slots = np.zeros((n_asked, self.slots.shape[1]), dtype=np.int16)
        grain, good = np.zeros(n_asked, dtype=np.int64), np.zeros(n_asked, dtype=bool)

        def work(first: int, last: int) -> None:
            take_over(
                self.library, self.limits, asked, self._giver, self._asked_template, near.count, near.vectors,
                near.neighbour, near.species, self.gradient, self.values, self.grain, codes, first, last, gradient,
                values, slots, grain, good,
            )  # fmt: skip

        over_rows(work, n_asked, _ROWS)
        changed = np.empty(n_asked, dtype=np.int64)
        n_changed = commit(
            self.limits, asked, self._asked_template, gradient, values, slots, grain, good, self.tries, self.template,
            self.gradient, self.values, self.slots, self.grain, changed,
        )  # fmt: skip
        self._giver[asked] = -1
        return changed[:n_changed]

    def matches(self) -> Matches:
        """Return what is matched, held against each other."""
        n_codes = int(self.library.n_codes.max())
        codes = np.concatenate(self.codes) if self.codes else np.zeros((0, n_codes), dtype=np.int64)
        return Matches(
            template=self.template,
            gradient=self.gradient,
            values=self.values,
            slots=self.slots,
            grain=self.grain,
            codes=codes,
            held=self.held(),
        )
