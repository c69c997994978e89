"""One training sample: a crystal as molecular dynamics might show it, in network units.

    structure -> unit density -> strain -> supercell -> species on random slots -> noise -> length factor x jitter

Noise has one amplitude sigma per sample (A per component, at 13 A^3 per atom), drawn as `SampleSettings` says, and is
white or correlated (`noise`). Strain is part of the clean structure. Everything is drawn afresh for every sample.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.atoms.length_scale import length_factor, local_spacing
from ovito_mace_phase.atoms.species import assign_slots
from ovito_mace_phase.lab.crystals import repeat, widths
from ovito_mace_phase.lab.data.structures import CrystalStructure

from .noise import ThermalNoise

MIN_ATOMS, MIN_WIDTH, MOST_SAMPLE_ATOMS = 32, 6.0, 160
LARGE = 108


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """Ranges of what is drawn afresh for every sample.

    Attributes
    ----------
    sigma : (low, high) float
        Noise per Cartesian component, A in network units.
    hot : (low, high) float
        Second noise range.
    hot_share : float
        Share of the samples with noise from the second range.
    strain : float
        Largest component of the symmetric strain.
    jitter : float
        Largest relative change of the lengths after normalisation.
    any_slots : float
        Share of the samples whose n species sit on any n slots; the others permute the first n. Negative: slots
        are assigned as at use (`species.assign_slots`), for scores.
    vacancies : float
        Share of the samples that lack 1 to 4 % of their atoms.
    surfaces : float
        Share of the samples that are cut open along one direction.
    atoms : (low, high) int
        Least number of atoms of a supercell; it has at most 160, or `high` where that is more.
    correlated : float
        Share of the samples whose noise is that of an elastic network; the others have white noise (`noise`).
    """

    sigma: tuple[float, float] = (0.0, 0.15)
    hot: tuple[float, float] = (0.15, 0.30)
    hot_share: float = 0.4
    strain: float = 0.03
    jitter: float = 0.08
    any_slots: float = 0.2
    vacancies: float = 0.1
    surfaces: float = 0.06
    atoms: tuple[int, int] = (MIN_ATOMS, LARGE)
    correlated: float = 0.6

    @classmethod
    def quiet(cls, least: float, most: float) -> SampleSettings:
        """Return white noise from `least` to `most` (A per component, network units) and nothing else.

        The one rule by which a model is measured and calibrated (held-out samples, distance fits, density floors, step
        errors): perfect crystals, species assigned as at use, white noise, which has no parameter but its amplitude.
        Noise like phonons, defects and permuted species are for training only. Where a measure needs more than this it
        replaces single fields and says why.
        """
        return cls(
            sigma=(least, most),
            hot_share=0.0,
            strain=0.0,
            jitter=0.0,
            any_slots=-1.0,
            vacancies=0.0,
            surfaces=0.0,
            correlated=0.0,
        )

    @classmethod
    def held_out(cls, least: float, most: float) -> SampleSettings:
        """Return `quiet` samples of held-out crystals, strained and scaled as in training.

        Deliberately more than `quiet`: a crystal in a simulation is strained and its length scale is estimated, and
        accuracies in the cards of earlier models were measured so.
        """
        default = cls()
        return dataclasses.replace(cls.quiet(least, most), strain=default.strain, jitter=default.jitter)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A frame in network units with its slots and noise.

    Attributes
    ----------
    frame : Frame
    slots : (n_atoms,) int64
    sigma : float
        Amplitude of the noise; NaN where it is not known.
    displacement : (n_atoms, 3) float64
        Noisy minus clean position, network units; NaN where there is no clean position.
    label : (n_atoms,) int64 or None
        Columns of the phases, where the atoms have not all the same.
    """

    frame: Frame
    slots: npt.NDArray[np.int64]
    sigma: float
    displacement: npt.NDArray[np.float64]
    label: npt.NDArray[np.int64] | None = None


class CleanCrystal:
    """A strained supercell in network units, of which any number of samples are drawn.

    Strain and the elastic network of correlated noise are drawn once; amplitude and kind of the noise, displacements,
    vacancies, surfaces, length factor and slots for every sample.

    Parameters
    ----------
    cell : (3, 3) float64
        Rows, A in network units.
    fractional : (n_atoms, 3) float64
    species : (n_atoms,) int64
    settings : SampleSettings
    n_slots : int
    rng : Generator
    draws : int
        Samples that will be drawn, about.
    label : (n_atoms,) int64, optional
        Columns of the phases, where the atoms have not all the same.
    """

    def __init__(
        self,
        cell: npt.NDArray[np.float64],
        fractional: npt.NDArray[np.float64],
        species: npt.NDArray[np.int64],
        settings: SampleSettings,
        n_slots: int,
        rng: np.random.Generator,
        draws: int = 1,
        label: npt.NDArray[np.int64] | None = None,
    ) -> None:
        strain = rng.uniform(-1.0, 1.0, (3, 3)) * settings.strain * rng.uniform()
        self._cell = cell @ (np.eye(3) + 0.5 * (strain + strain.T))
        self._positions = fractional @ self._cell
        self._species, self._label = species, label
        self._settings, self._n_slots = settings, n_slots
        self._noise = ThermalNoise(self._positions, self._cell, max(1, round(draws * settings.correlated)))

    @classmethod
    def of(
        cls,
        structure: CrystalStructure,
        settings: SampleSettings,
        n_slots: int,
        rng: np.random.Generator,
        draws: int = 1,
    ) -> CleanCrystal:
        """Return a supercell of a structure, its size drawn as the settings say."""
        low, high = settings.atoms
        grown = supercell(structure, int(rng.integers(low, high)), max(MOST_SAMPLE_ATOMS, high))
        return cls(*grown, settings, n_slots, rng, draws)

    def sample(self, rng: np.random.Generator) -> Sample:
        """Displace the atoms, remove some, put the species on slots."""
        s = self._settings
        sigma = float(rng.uniform(*(s.hot if rng.uniform() < s.hot_share else s.sigma)))
        shaken = self._noise.correlated if rng.uniform() < s.correlated else self._noise.white
        displacement = shaken(sigma, rng)
        positions, species, label = self._positions + displacement, self._species, self._label
        pbc = np.ones(3, dtype=bool)
        if rng.uniform() < s.surfaces:
            pbc[rng.integers(3)] = False
        if rng.uniform() < s.vacancies:
            kept = rng.permutation(len(species))[: int(len(species) * (1.0 - rng.uniform(0.01, 0.04)))]
            positions, species, displacement = positions[kept], species[kept], displacement[kept]
            label = None if label is None else label[kept]
        frame = Frame(
            positions=positions,
            species=species,
            species_names=tuple(str(code) for code in range(int(species.max()) + 1)),
            cell=self._cell,
            pbc=pbc,
        )
        found = to_network_units(frame, s, self._n_slots, sigma, rng, displacement)
        return found if label is None else dataclasses.replace(found, label=label)


def draw(structure: CrystalStructure, settings: SampleSettings, n_slots: int, rng: np.random.Generator) -> Sample:
    """Draw one sample of a crystal structure."""
    return CleanCrystal.of(structure, settings, n_slots, rng).sample(rng)


def to_network_units(
    frame: Frame,
    settings: SampleSettings,
    n_slots: int,
    sigma: float,
    rng: np.random.Generator,
    displacement: npt.NDArray[np.float64] | None = None,
) -> Sample:
    """Normalise lengths as at use, apply the jitter, put species on slots; None: no clean positions."""
    spacing = local_spacing(frame)
    factor = length_factor(spacing) * (1.0 + rng.uniform(-settings.jitter, settings.jitter))
    if settings.any_slots < 0:
        slots = assign_slots(frame, n_slots, spacing)
    else:
        choice = n_slots if rng.uniform() < settings.any_slots else frame.n_species
        slots = rng.permutation(choice)[frame.species]
    scaled = Frame(
        positions=frame.positions * factor,
        species=frame.species,
        species_names=frame.species_names,
        cell=frame.cell * factor,
        pbc=frame.pbc,
    )
    moved = np.full(frame.positions.shape, np.nan) if displacement is None else displacement * factor
    return Sample(frame=scaled, slots=slots, sigma=sigma, displacement=moved)


def supercell(
    structure: CrystalStructure, min_atoms: int = MIN_ATOMS, most_atoms: int = MOST_SAMPLE_ATOMS
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Repeat a structure, in network units, until noise is no rigid shift of images.

    Returns
    -------
    cell : (3, 3) float64
    fractional : (n_atoms, 3) float64
    species : (n_atoms,) int64
    """
    cell = structure.cell * _clean_factor(structure)
    thickness = widths(cell)
    times = np.ones(3, dtype=int)
    while True:
        n_atoms = len(structure) * int(times.prod())
        narrow = int(np.argmin(thickness * times))
        enough = n_atoms >= min_atoms and (thickness * times)[narrow] >= MIN_WIDTH
        if enough or (n_atoms >= MIN_ATOMS and n_atoms * (times[narrow] + 1) // times[narrow] > most_atoms):
            break
        times[narrow] += 1
    return repeat(cell, structure.fractional, structure.species, times)


_factors: WeakKeyDictionary[CrystalStructure, float] = WeakKeyDictionary()


def _clean_factor(structure: CrystalStructure) -> float:
    """Length factor of the ideal crystal; by local density, so that a sheet in vacuum is scaled like any other."""
    known = _factors.get(structure)
    if known is None:
        frame = Frame(
            positions=structure.fractional @ structure.cell,
            species=structure.species,
            species_names=(),
            cell=structure.cell,
            pbc=np.ones(3, dtype=bool),
        )
        known = _factors[structure] = length_factor(local_spacing(frame))
    return known
