"""One training sample: a crystal as molecular dynamics might show it, in network units.

    structure -> unit density -> strain -> supercell -> species on random slots -> noise -> length factor x jitter

Noise has one amplitude sigma per sample (A per component, at 13 A^3 per atom), drawn as `SampleSettings` says, and is
white or correlated (`noise`). Strain is part of the clean structure. Everything is drawn afresh for every sample.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.atoms.length_scale import length_factor, local_spacing
from ovito_mace_phase.atoms.species import assign_slots
from ovito_mace_phase.lab.crystals import repeat, widths
from ovito_mace_phase.lab.data.structures import CrystalStructure

from .noise import correlated, white

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


def draw(structure: CrystalStructure, settings: SampleSettings, n_slots: int, rng: np.random.Generator) -> Sample:
    """Draw one sample of a crystal structure."""
    return rattled(*supercell(structure, int(rng.integers(MIN_ATOMS, LARGE))), settings, n_slots, rng)


def rattled(
    cell: npt.NDArray[np.float64],
    fractional: npt.NDArray[np.float64],
    species: npt.NDArray[np.int64],
    settings: SampleSettings,
    n_slots: int,
    rng: np.random.Generator,
    label: npt.NDArray[np.int64] | None = None,
) -> Sample:
    """Strain a crystal in network units, displace its atoms, remove some, put its species on slots."""
    strain = rng.uniform(-1.0, 1.0, (3, 3)) * settings.strain * rng.uniform()
    cell = cell @ (np.eye(3) + 0.5 * (strain + strain.T))
    low, high = settings.hot if rng.uniform() < settings.hot_share else settings.sigma
    sigma = float(rng.uniform(low, high))
    positions = fractional @ cell
    displacement = (correlated if rng.uniform() < settings.correlated else white)(positions, cell, sigma, rng)
    positions += displacement
    pbc = np.ones(3, dtype=bool)
    if rng.uniform() < settings.surfaces:
        pbc[rng.integers(3)] = False
    if rng.uniform() < settings.vacancies:
        kept = rng.permutation(len(species))[: int(len(species) * (1.0 - rng.uniform(0.01, 0.04)))]
        positions, species, displacement = positions[kept], species[kept], displacement[kept]
        label = None if label is None else label[kept]
    frame = Frame(
        positions=positions,
        species=species,
        species_names=tuple(str(s) for s in range(int(species.max()) + 1)),
        cell=cell,
        pbc=pbc,
    )
    return dataclasses.replace(to_network_units(frame, settings, n_slots, sigma, rng, displacement), label=label)


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
    structure: CrystalStructure, min_atoms: int = MIN_ATOMS
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
        if enough or (n_atoms >= MIN_ATOMS and n_atoms * (times[narrow] + 1) // times[narrow] > MOST_SAMPLE_ATOMS):
            break
        times[narrow] += 1
    return repeat(cell, structure.fractional, structure.species, times)


@cache
def _clean_factor(structure: CrystalStructure) -> float:
    """Length factor of the ideal crystal; by local density, so that a sheet in vacuum is scaled like any other."""
    frame = Frame(
        positions=structure.fractional @ structure.cell,
        species=structure.species,
        species_names=(),
        cell=structure.cell,
        pbc=np.ones(3, dtype=bool),
    )
    return length_factor(local_spacing(frame))
