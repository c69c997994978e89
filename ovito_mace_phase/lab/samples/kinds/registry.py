"""The kinds by name, pools of them, and training samples of them.

A frame of a slow kind (minimised, or by dynamics) is kept in a pool and used again with fresh noise. Member k of a pool
is made of (seed, kind, part, k) alone, so that what a seed gives does not depend on what was drawn before.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.atoms.length_scale import length_factor, local_spacing
from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.lab.samples.noise import ThermalNoise
from ovito_mace_phase.lab.samples.sampler import Sample, SampleSettings, to_network_units
from ovito_mace_phase.runtime.errors import InputError

from . import defects, foreign, interfaces, interstitials, liquids, mixed, sheets, strained, surfaces, vacuum, water
from .made import OTHER, Made
from .stock import Stock

_TRIES = 20
_CLOSEST = 0.6  # A, nearer than in any molecule
_STRAIN_OF_LIQUIDS = 0.02


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind: how it is made, what it is in words, how many frames a pool holds (0: no pool), how often it is drawn.

    Frames that OVITO labels are made on the main thread, since OVITO does not survive another: `KindSource.prepare`.
    """

    make: Callable[[Stock, np.random.Generator], Made]
    about: str
    pool: int = 0
    by_ovito: bool = False
    weight: float = 1.0


KINDS: dict[str, Kind] = {
    "mixed sublattice": Kind(make=mixed.mixed_sublattice, about="a sublattice shared by several species"),
    "antisites": Kind(make=mixed.antisites, about="1 to 10 % of the atoms on the wrong sublattice"),
    "interstitials": Kind(make=interstitials.interstitials, about="dilute to full, in holes of crystals", pool=192),
    "vapour": Kind(make=vacuum.vapour, about="atoms far apart", pool=192),
    "clusters": Kind(make=vacuum.clusters, about="drops of 2 to 60 atoms", pool=192),
    "molecules": Kind(make=vacuum.molecules, about="gas and dense", pool=192),
    "chains": Kind(make=vacuum.chains, about="polymers", pool=96),
    "cages and tubes": Kind(make=vacuum.cages, about="closed cages, nanotubes", pool=96),
    "single layers": Kind(make=sheets.sheet, about="two-dimensional lattices"),
    "films": Kind(make=surfaces.film, about="2 to 4 planes of atoms"),
    "slabs": Kind(make=surfaces.slab, about="two surfaces"),
    "particles": Kind(make=surfaces.particle, about="round and faceted"),
    "voids": Kind(make=surfaces.void, about="a round void in a crystal"),
    "vacancies": Kind(make=surfaces.vacancies, about="few, or many on one sublattice"),
    "icosahedra, decahedra": Kind(make=surfaces.multiply_twinned, about="labels of CNA", pool=48, by_ovito=True),
    "metal defects": Kind(
        make=defects.metal_defects, about="boundaries, dislocations; labels of CNA", pool=160, by_ovito=True
    ),
    "strained": Kind(make=strained.strained, about="shear and tension to 15 %"),
    "liquid mixtures": Kind(make=liquids.mixture, about="hot, undercooled, glass", pool=160),
    "tetrahedral liquids": Kind(make=liquids.tetrahedral, about="hot, undercooled, glass", pool=96),
    "ices": Kind(make=water.ice, about="water models, guests", pool=192),
    "liquid water": Kind(make=water.liquid_water, about="with hydrogens, also supercooled", pool=96),
    "other prototypes": Kind(make=foreign.prototype, about="crystals outside the table, of a file"),
    "random crystals": Kind(make=foreign.random_crystal, about="of random symmetry", pool=512),
    "interfaces": Kind(make=interfaces.interface, about="two crystals side by side", pool=2000, weight=8.0),
}
"""Name of the kind: how it is made."""


class KindSource:
    """Draws frames and samples of kinds.

    Parameters
    ----------
    stock : Stock
    seed : int
        Of the pools.
    """

    def __init__(self, stock: Stock, seed: int = 0) -> None:
        self.stock, self.seed = stock, seed
        self._pools: dict[tuple[str, int], Made] = {}

    @property
    def made_of(self) -> list[object]:
        """What decides the frames besides the crystals of the stock: for the identity of a run."""
        stock = self.stock
        prototypes = None if stock.prototypes is None else stock.prototypes.name
        return [self.names, self.seed, stock.part, stock.seed, list(stock.atoms), stock.most_species, prototypes]

    @property
    def names(self) -> list[str]:
        """Kinds that there is what to build of."""
        without = set() if self.stock.prototypes else {"other prototypes"}
        without |= set() if self.stock.ices else {"ices"}
        return [name for name in KINDS if name not in without]

    def frame(self, name: str, rng: np.random.Generator) -> Made:
        """Draw a frame of a kind, without noise; InputError for a kind that there is not."""
        if name not in KINDS:
            raise InputError(f"there is no kind {name!r}; the kinds are {', '.join(KINDS)}")
        kind = KINDS[name]
        if not kind.pool:
            return self._made(name, rng)
        return self._member(name, int(rng.integers(kind.pool)))

    def prepare(self) -> None:
        """Fill the pools of the kinds that OVITO labels; call it on the main thread before another draws of them."""
        for name in self.names:
            if KINDS[name].by_ovito:
                for member in range(KINDS[name].pool):
                    self._member(name, member)

    def _member(self, name: str, member: int) -> Made:
        if (name, member) not in self._pools:
            key = zlib.crc32(f"{name} {self.stock.part}".encode())
            self._pools[name, member] = self._made(name, np.random.default_rng([self.seed, key, member]))
        return self._pools[name, member]

    def sample(self, name: str, settings: SampleSettings, n_slots: int, rng: np.random.Generator) -> Sample:
        """Draw a training sample of a kind; one in which two atoms are at one place is drawn again."""
        for _ in range(_TRIES):
            try:
                return sample_of(self.frame(name, rng), settings, n_slots, rng)
            except InputError as error:
                last = error
        raise InputError(f"{_TRIES} samples of the kind {name} in a row could not be made: {last}")

    def draw(self, settings: SampleSettings, n_slots: int, rng: np.random.Generator) -> tuple[Sample, int]:
        """Draw a training sample of any kind, by their weights, and the class of its first atom."""
        names = self.names
        weight = np.cumsum([KINDS[name].weight for name in names])
        chosen = int(np.searchsorted(weight, rng.uniform(0.0, weight[-1]), side="right"))
        sample = self.sample(names[chosen], settings, n_slots, rng)
        return sample, OTHER if sample.label is None else max(int(sample.label[0]), OTHER)

    def _made(self, name: str, rng: np.random.Generator) -> Made:
        for _ in range(_TRIES):
            found = KINDS[name].make(self.stock, rng)
            if len(found.frame) and not _overlaps(found.frame):
                return found
        raise InputError(f"{_TRIES} frames of the kind {name} in a row had no atoms, or atoms nearer than {_CLOSEST} A")


def _overlaps(frame: Frame) -> bool:
    """Whether two atoms are nearer than those of any molecule; the search goes farther in empty boxes."""
    reach = max(_CLOSEST, 0.03 * float(np.linalg.norm(frame.cell, axis=1).max()))
    edges = neighbour_list(frame.positions, frame.cell, frame.pbc, reach)
    return bool((np.linalg.norm(edges.vectors, axis=1) < _CLOSEST).any())


def shaken(found: Made, sigma: float, rng: np.random.Generator) -> tuple[Made, np.ndarray]:
    """Return a frame with white noise of `sigma` (A in network units, per component), and the displacements, A.

    No atom moves by more than melting allows (`noise.ThermalNoise`); molecules move as a whole too.
    """
    frame = found.frame
    factor = length_factor(local_spacing(frame, overlap=True))
    moved = ThermalNoise(frame.positions * factor, frame.cell * factor).white(sigma, rng) / factor
    return dataclasses.replace(found, frame=dataclasses.replace(frame, positions=frame.positions + moved)), moved


def sample_of(found: Made, settings: SampleSettings, n_slots: int, rng: np.random.Generator) -> Sample:
    """Return a training sample: strained a little, with noise, in network units, its species on slots."""
    strain = rng.uniform(-1.0, 1.0, (3, 3)) * (settings.strain if found.still else _STRAIN_OF_LIQUIDS) * rng.uniform()
    change = np.eye(3) + 0.5 * (strain + strain.T)
    frame = found.frame
    bent = dataclasses.replace(frame, positions=frame.positions @ change, cell=frame.cell @ change)
    low, high = settings.hot if rng.uniform() < settings.hot_share else settings.sigma
    sigma = float(rng.uniform(low, high)) if found.still else float(rng.uniform(0.0, 0.05))
    noisy, moved = shaken(dataclasses.replace(found, frame=bent), sigma, rng)
    known = moved if found.still else None
    sample = to_network_units(noisy.frame, settings, n_slots, sigma if found.still else np.nan, rng, known)
    return dataclasses.replace(sample, label=found.label)
