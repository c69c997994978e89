"""Where training samples come from: crystals of every phase, random alloys, faults, background, molecular dynamics.

Within a phase chemical systems are drawn evenly, and within a system structures. Background, labelled Other, consists
of melts, random packings and amorphised crystals.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.lab.data.npz import Snapshot
from ovito_mace_phase.lab.data.structures import CrystalStructure
from ovito_mace_phase.lab.identity import digest
from ovito_mace_phase.phases import Phase
from ovito_mace_phase.runtime.errors import InputError

from .disorder import amorphised, random_packing, rattled_melt
from .kinds.registry import KindSource
from .pool import PoolSettings, pooled
from .sampler import CleanCrystal, Sample, SampleSettings, supercell, to_network_units
from .snapshots import check_phases, strained_snapshot
from .stackings import FAMILIES, random_stacking

DRAW_BACKGROUND = -1
"""Asked for in place of the column of a phase."""
OTHER_COLUMN = 0
"""Column of Other, the label of the background."""
Maker = Callable[[np.random.Generator], tuple[Sample, int]]
"""Returns a sample and its class, another one at every call."""
_TRIES = 20
_MELTS, _PACKINGS = 0.55, 0.20  # shares of the background; the rest are amorphised crystals


@dataclass(frozen=True, kw_only=True)
class SampleMix:
    """How often which kind of sample is drawn.

    Attributes
    ----------
    common_weight : float
        How many times as often as others the phases are drawn that simulations are full of.
    background, dynamics, stackings, unlisted : float
        Shares of background, of molecular dynamics, of stacking faults, and of crystals of prototypes that are not in
        the table; where there are none of a kind, phases are drawn instead.
    kinds : float
        Share of frames as users bring them beside perfect crystals (`kinds`), all kinds alike.
    alloy_share : float
        Share of random alloys among the crystals of a simple lattice.
    sample : SampleSettings
    pool : PoolSettings
        Of a stream.
    """

    common_weight: float = 6.0
    background: float = 0.1
    dynamics: float = 0.04
    stackings: float = 0.04
    unlisted: float = 0.025
    kinds: float = 0.0
    alloy_share: float = 0.25
    sample: SampleSettings = field(default_factory=SampleSettings)
    pool: PoolSettings = field(default_factory=PoolSettings)


class SampleSource:
    """Draws samples.

    Parameters
    ----------
    phases : sequence of Phase
        Classes; the first must be OTHER.
    structures : sequence of CrystalStructure
        Of one part of the split.
    melts : sequence of list of Frame
        Snapshots per system, of the same part.
    n_slots : int
    dynamics : sequence of Snapshot
        Hot crystals.
    unlisted : sequence of list of CrystalStructure
        Crystals of prototypes that are no class, by prototype: Other, though they can be denoised; those of more
        species than there are slots are left out. Outlier exposure,
        Hendrycks, Mazeika, Dietterich, ICLR 2019.
    kinds : KindSource, optional
        Frames of the kinds that users bring.
    """

    def __init__(
        self,
        phases: Sequence[Phase],
        structures: Sequence[CrystalStructure],
        melts: Sequence[Sequence[Frame]],
        n_slots: int,
        dynamics: Sequence[Snapshot] = (),
        unlisted: Sequence[Sequence[CrystalStructure]] = (),
        kinds: KindSource | None = None,
    ) -> None:
        few = [[one for one in kind if one.species.max() < n_slots] for kind in unlisted]
        self.unlisted = [kind for kind in few if kind]
        check_phases(dynamics, phases)
        self.phases, self.melts, self.n_slots, self.dynamics = phases, melts, n_slots, dynamics
        self.kinds = kinds
        self._column = {phase.key: k for k, phase in enumerate(phases)}
        self._layers = {phase.stacking: k for k, phase in enumerate(phases)}
        self._systems: dict[int, list[list[CrystalStructure]]] = {}
        by_system: dict[tuple[int, str], list[CrystalStructure]] = {}
        for structure in structures:
            by_system.setdefault((structure.phase, structure.system), []).append(structure)
        for (phase, _), group in by_system.items():
            self._systems.setdefault(phase, []).append(group)

    def prepare(self, mix: SampleMix) -> None:
        """Make on the main thread what cannot be made on another, for a mix that draws of it."""
        if self.kinds is not None and mix.kinds:
            self.kinds.prepare()

    @property
    def present(self) -> list[int]:
        """Columns of the phases that have structures."""
        return list(self._systems)

    def is_common(self, phase: int) -> bool:
        """Tell whether simulations are full of this phase."""
        return self.phases[phase].common

    def stream(
        self, mix: SampleMix, key: Sequence[int], phase_weights: Mapping[int, float] | None = None
    ) -> Iterator[tuple[Sample, int]]:
        """Yield samples of any kind and their classes without end, the same for the same key (seed, number, ..).

        Each is drawn by the law of `draw_any`, but crystals are used several times (`pool`); several times as fast.
        """
        rng = np.random.default_rng(key)
        return pooled(lambda one: self._any(mix, one, phase_weights, mix.pool.uses), mix.pool, rng)

    def draw_any(
        self, mix: SampleMix, rng: np.random.Generator, phase_weights: Mapping[int, float] | None = None
    ) -> tuple[Sample, int]:
        """Return a sample of any kind and its class; `phase_weights`: how much more often phases are drawn."""
        return self._any(mix, rng, phase_weights, 1)(rng)

    def _any(
        self, mix: SampleMix, rng: np.random.Generator, phase_weights: Mapping[int, float] | None, uses: int
    ) -> Maker:
        """Decide of what kind the next sample is, or the next `uses` samples."""
        kind, settings = rng.uniform(), mix.sample
        for share, there, maker in (
            (mix.dynamics, bool(self.dynamics), lambda: partial(self.snapshot, settings)),
            (mix.stackings, self.has_stackings, lambda: self._stacking(settings, uses)),
            (mix.unlisted, bool(self.unlisted), lambda: self._other_crystal(settings, uses)),
            (mix.kinds, self.kinds is not None, lambda: partial(self._of_a_kind, settings)),
        ):
            if 0.0 <= kind < share and there:
                return maker()
            kind -= share  # negative from here on where there is none of the kind drawn
        if 0.0 <= kind < mix.background:
            return partial(self.draw, DRAW_BACKGROUND, settings, mix.alloy_share)
        weight = np.where(self._common, mix.common_weight, 1.0)
        if phase_weights:
            weight *= [phase_weights.get(phase, 1.0) for phase in self.present]
        cumulative = np.cumsum(weight)
        chosen = int(np.searchsorted(cumulative, rng.uniform(0.0, cumulative[-1]), side="right"))
        return self._crystal(self.present[chosen], settings, mix.alloy_share, uses)

    @cached_property
    def _common(self) -> npt.NDArray[np.bool_]:
        return np.array([self.is_common(phase) for phase in self.present], dtype=bool)

    @cached_property
    def digest(self) -> str:
        """Digest of the data that samples are drawn from."""
        kinds = None if self.kinds is None else self.kinds.made_of
        return digest([self.phases, self._systems, self.melts, self.dynamics, self.unlisted, self.n_slots, kinds])

    def draw(
        self, phase: int, settings: SampleSettings, alloy_share: float, rng: np.random.Generator
    ) -> tuple[Sample, int]:
        """Return a sample of the phase, or of the background, and its class."""
        if phase == DRAW_BACKGROUND:
            return _tried("the background", lambda: self._background(settings, rng)), OTHER_COLUMN
        return self._crystal(phase, settings, alloy_share, 1)(rng)

    def _crystal(self, phase: int, settings: SampleSettings, alloy_share: float, uses: int) -> Maker:
        def clean(rng: np.random.Generator) -> CleanCrystal:
            return CleanCrystal.of(self.structure(phase, alloy_share, rng), settings, self.n_slots, rng, uses)

        return _Crystal(self.phases[phase].key, clean, phase)

    def snapshot(self, settings: SampleSettings, rng: np.random.Generator) -> tuple[Sample, int]:
        """Return a sample of molecular dynamics and its class."""
        chosen = self.dynamics[int(rng.integers(len(self.dynamics)))]
        label = OTHER_COLUMN if chosen.phase is None else self._column[chosen.phase]
        return strained_snapshot(chosen, settings, self.n_slots, rng), label

    def other_crystal(self, settings: SampleSettings, rng: np.random.Generator) -> tuple[Sample, int]:
        """Return a sample of a crystal that is no class, labelled Other."""
        return self._other_crystal(settings, 1)(rng)

    def _other_crystal(self, settings: SampleSettings, uses: int) -> Maker:
        def clean(rng: np.random.Generator) -> CleanCrystal:
            kind = self.unlisted[int(rng.integers(len(self.unlisted)))]
            return CleanCrystal.of(kind[int(rng.integers(len(kind)))], settings, self.n_slots, rng, uses)

        return _Crystal("crystals that are no class", clean, OTHER_COLUMN)

    def _of_a_kind(self, settings: SampleSettings, rng: np.random.Generator) -> tuple[Sample, int]:
        assert self.kinds is not None
        return self.kinds.draw(settings, self.n_slots, rng)

    @property
    def has_stackings(self) -> bool:
        """Whether all phases of `stackings` are among the classes."""
        return all(layer in self._layers for family in FAMILIES for layer in (family.cubic, family.hexagonal))

    def stacking(self, settings: SampleSettings, rng: np.random.Generator) -> tuple[Sample, int]:
        """Return a sample with stacking faults, labelled layer by layer, and the class of its first atom."""
        return self._stacking(settings, 1)(rng)

    def _stacking(self, settings: SampleSettings, uses: int) -> Maker:
        def clean(rng: np.random.Generator) -> CleanCrystal:
            made = random_stacking(rng)
            cubic, hexagonal = self._layers[made.family.cubic], self._layers[made.family.hexagonal]
            label = np.where(made.hexagonal, hexagonal, cubic)
            return CleanCrystal(
                made.cell, made.fractional, made.species, settings, self.n_slots, rng, draws=uses, label=label
            )

        return _Crystal("stacking faults", clean, None)

    def structure(self, phase: int, alloy_share: float, rng: np.random.Generator) -> CrystalStructure:
        """Return a crystal of the phase; the share `alloy_share` of those of a simple lattice are random alloys."""
        systems = self._systems[phase]
        group = systems[rng.integers(len(systems))]
        structure = group[rng.integers(len(group))]
        alloy = self.phases[phase].alloy_parent and rng.uniform() < alloy_share
        return random_alloy(structure, rng, self.n_slots) if alloy else structure

    def _background(self, settings: SampleSettings, rng: np.random.Generator) -> Sample:
        kind = rng.uniform()
        displacement = None
        if self.melts and kind < _MELTS:
            frame, displacement = rattled_melt(self.melts[int(rng.integers(len(self.melts)))], rng)
        elif kind < _MELTS + _PACKINGS:
            frame = random_packing(rng, int(rng.integers(1, 5)))
        else:
            frame = amorphised(self.structure(int(rng.choice(self.present)), 0.0, rng), rng)
        return to_network_units(frame, settings, self.n_slots, np.inf, rng, displacement)


class _Crystal:
    """Samples of one crystal, made when the first one is asked for; where one fails, a sample of another crystal.

    The crystal stays in use then, so that crystals that fail often are not drawn less often than they should be.
    `label`: class of the samples; None: that of their first atom.
    """

    def __init__(self, what: str, make: Callable[[np.random.Generator], CleanCrystal], label: int | None) -> None:
        self._what, self._make, self._label = what, make, label
        self._made: CleanCrystal | None = None

    def __call__(self, rng: np.random.Generator) -> tuple[Sample, int]:
        sample = None
        with contextlib.suppress(InputError):
            if self._made is None:
                self._made = self._make(rng)
            sample = self._made.sample(rng)
        if sample is None:
            sample = _tried(self._what, lambda: self._make(rng).sample(rng))
        if self._label is None:
            return sample, 0 if sample.label is None else int(sample.label[0])
        return sample, self._label


def _tried(what: str, make: Callable[[], Sample]) -> Sample:
    """Return a sample; one in which noise has put two atoms in one place is made again."""
    for _ in range(_TRIES):
        with contextlib.suppress(InputError):
            return make()
    raise InputError(f"{_TRIES} samples of {what} in a row had atoms at the same place; check the structures")


def random_alloy(structure: CrystalStructure, rng: np.random.Generator, most: int) -> CrystalStructure:
    """Put two to `most` species at random on the sites of a supercell; the label stays the parent lattice."""
    cell, fractional, species = supercell(structure)
    share = rng.dirichlet(np.ones(rng.integers(2, most + 1)) * 2.0)
    return dataclasses.replace(
        structure, cell=cell, fractional=fractional, species=rng.choice(len(share), size=len(species), p=share)
    )
