"""Where training samples come from: crystals of every phase, random alloys, faults, background, molecular dynamics.

Within a phase the chemical systems are drawn evenly, and the structures of a system. Background, labelled Other, is
melts, random packings and shattered crystals.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.lab.data.structures import CrystalStructure
from ovito_mace_phase.lab.phase_table.ices import ICES
from ovito_mace_phase.phases import Phase
from ovito_mace_phase.runtime.errors import InputError

from .disorder import random_packing, shaken_melt, shattered
from .sampler import Sample, SampleLaw, draw, shaken, supercell, to_network_units
from .snapshots import Snapshot, check_phases, strained_snapshot
from .stackings import FAMILIES, random_stacking

COMMON = (
    "FCC",
    "HCP",
    "BCC",
    "CUBIC_DIAMOND",
    "HEX_DIAMOND",
    "SC",
    "ROCKSALT",
    "CSCL",
    "ZINCBLENDE",
    "WURTZITE",
    "FLUORITE",
    "L1_2",
    "L1_0",
    "OMEGA",
    "DHCP",
    "ALPHA_QUARTZ",
    "PEROVSKITE",
    "SPINEL",
    "RUTILE",
    "HEUSLER_L2_1",
    "D0_3",
    "LAVES_C15",
    "LAVES_C14",
    "A15",
    "CORUNDUM",
    "BETA_SN",
    "D0_19",
    "D0_22",
    *(ice.key for ice in ICES),
)
ALLOY_PARENTS = ("FCC", "BCC", "HCP")
BACKGROUND = -1
"""Asked for in place of a phase."""
_TRIES = 20
_MELTS, _PACKINGS = 0.55, 0.20  # shares of the background; the rest are shattered crystals


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
    n_carriers : int
    dynamics : sequence of Snapshot
        Hot crystals.
    unlisted : sequence of list of CrystalStructure
        Crystals of prototypes that are no class, by prototype: Other, though they can be denoised; those of more
        species than there are carriers are left out. Outlier exposure,
        Hendrycks, Mazeika, Dietterich, ICLR 2019.
    """

    def __init__(
        self,
        phases: Sequence[Phase],
        structures: Sequence[CrystalStructure],
        melts: Sequence[Sequence[Frame]],
        n_carriers: int,
        dynamics: Sequence[Snapshot] = (),
        unlisted: Sequence[Sequence[CrystalStructure]] = (),
    ) -> None:
        few = [[one for one in kind if one.species.max() < n_carriers] for kind in unlisted]
        self.unlisted = [kind for kind in few if kind]
        check_phases(dynamics, phases)
        self.phases, self.melts, self.n_carriers, self.dynamics = phases, melts, n_carriers, dynamics
        self._column = {phase.key: k for k, phase in enumerate(phases)}
        self._systems: dict[int, list[list[CrystalStructure]]] = {}
        by_system: dict[tuple[int, str], list[CrystalStructure]] = {}
        for structure in structures:
            by_system.setdefault((structure.phase, structure.system), []).append(structure)
        for (phase, _), group in by_system.items():
            self._systems.setdefault(phase, []).append(group)

    @property
    def present(self) -> list[int]:
        """Columns of the phases that have structures."""
        return list(self._systems)

    def is_common(self, phase: int) -> bool:
        """Tell whether simulations are full of this phase."""
        return self.phases[phase].key in COMMON

    def draw(self, phase: int, law: SampleLaw, alloy_share: float, rng: np.random.Generator) -> tuple[Sample, int]:
        """Return a sample of the phase, or of the background, and its class."""
        if phase == BACKGROUND:
            return _drawn("the background", lambda: self._background(law, rng)), 0
        return _drawn(
            self.phases[phase].key, lambda: draw(self.structure(phase, alloy_share, rng), law, self.n_carriers, rng)
        ), phase

    def snapshot(self, law: SampleLaw, rng: np.random.Generator) -> tuple[Sample, int]:
        """Return a sample of molecular dynamics and its class."""
        chosen = self.dynamics[int(rng.integers(len(self.dynamics)))]
        label = 0 if chosen.phase is None else self._column[chosen.phase]
        return strained_snapshot(chosen, law, self.n_carriers, rng), label

    def other_crystal(self, law: SampleLaw, rng: np.random.Generator) -> tuple[Sample, int]:
        """Return a sample of a crystal that is no class, labelled Other."""

        def one() -> Sample:
            kind = self.unlisted[int(rng.integers(len(self.unlisted)))]
            return draw(kind[int(rng.integers(len(kind)))], law, self.n_carriers, rng)

        return _drawn("crystals that are no class", one), 0

    @property
    def has_stackings(self) -> bool:
        """Whether all phases of `stackings` are among the classes."""
        return all(key in self._column for family in FAMILIES for key in (family.cubic, family.hexagonal))

    def stacking(self, law: SampleLaw, rng: np.random.Generator) -> tuple[Sample, int]:
        """Return a sample with stacking faults, labelled layer by layer, and the class of its first atom."""

        def one() -> Sample:
            made = random_stacking(rng)
            cubic, hexagonal = self._column[made.family.cubic], self._column[made.family.hexagonal]
            label = np.where(made.hexagonal, hexagonal, cubic)
            return shaken(made.cell, made.fractional, made.species, law, self.n_carriers, rng, label)

        sample = _drawn("stacking faults", one)
        return sample, int(sample.label[0]) if sample.label is not None else 0

    def structure(self, phase: int, alloy_share: float, rng: np.random.Generator) -> CrystalStructure:
        """Return a crystal of the phase; the share `alloy_share` of those of a simple lattice are random alloys."""
        systems = self._systems[phase]
        group = systems[rng.integers(len(systems))]
        structure = group[rng.integers(len(group))]
        alloy = self.phases[phase].key in ALLOY_PARENTS and rng.uniform() < alloy_share
        return random_alloy(structure, rng, self.n_carriers) if alloy else structure

    def _background(self, law: SampleLaw, rng: np.random.Generator) -> Sample:
        kind = rng.uniform()
        displacement = None
        if self.melts and kind < _MELTS:
            frame, displacement = shaken_melt(self.melts[int(rng.integers(len(self.melts)))], rng)
        elif kind < _MELTS + _PACKINGS:
            frame = random_packing(rng, int(rng.integers(1, 5)))
        else:
            frame = shattered(self.structure(int(rng.choice(self.present)), 0.0, rng), rng)
        return to_network_units(frame, law, self.n_carriers, np.inf, rng, displacement)


def _drawn(what: str, make: Callable[[], Sample]) -> Sample:
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
