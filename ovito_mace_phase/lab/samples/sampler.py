"""One training sample: a crystal as molecular dynamics might show it, in network units.

    structure -> unit density -> strain -> supercell -> species on random carriers -> noise -> length factor x jitter

Noise has one amplitude sigma per sample (A per component, at 13 A^3 per atom), drawn as `SampleLaw` says, and is white
or correlated (`noise`). Strain is part of the clean structure. Everything is drawn afresh for every sample.
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
from ovito_mace_phase.lab.data.structures import CrystalStructure

from .noise import correlated, white

MIN_ATOMS, MIN_WIDTH, MAX_ATOMS = 32, 6.0, 160
LARGE = 108


@dataclass(frozen=True, kw_only=True)
class SampleLaw:
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
    any_carriers : float
        Share of the samples whose n species sit on any n carriers; the others permute the first n. Negative: carriers
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
    any_carriers: float = 0.2
    vacancies: float = 0.1
    surfaces: float = 0.06
    correlated: float = 0.6


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A frame in network units with its carriers and noise.

    Attributes
    ----------
    frame : Frame
    carrier : (n_atoms,) int64
    sigma : float
        Amplitude of the noise; NaN where it is not known.
    displacement : (n_atoms, 3) float64
        Noisy minus clean position, network units; NaN where there is no clean position.
    label : (n_atoms,) int64 or None
        Columns of the phases, where the atoms have not all the same.
    """

    frame: Frame
    carrier: npt.NDArray[np.int64]
    sigma: float
    displacement: npt.NDArray[np.float64]
    label: npt.NDArray[np.int64] | None = None


def draw(structure: CrystalStructure, law: SampleLaw, n_carriers: int, rng: np.random.Generator) -> Sample:
    """Draw one sample of a crystal structure."""
    return shaken(*supercell(structure, int(rng.integers(MIN_ATOMS, LARGE))), law, n_carriers, rng)


def shaken(
    cell: npt.NDArray[np.float64],
    fractional: npt.NDArray[np.float64],
    species: npt.NDArray[np.int64],
    law: SampleLaw,
    n_carriers: int,
    rng: np.random.Generator,
    label: npt.NDArray[np.int64] | None = None,
) -> Sample:
    """Strain a crystal in network units, shake it, take atoms out, put its species on carriers."""
    strain = rng.uniform(-1.0, 1.0, (3, 3)) * law.strain * rng.uniform()
    cell = cell @ (np.eye(3) + 0.5 * (strain + strain.T))
    low, high = law.hot if rng.uniform() < law.hot_share else law.sigma
    sigma = float(rng.uniform(low, high))
    positions = fractional @ cell
    displacement = (correlated if rng.uniform() < law.correlated else white)(positions, cell, sigma, rng)
    positions += displacement
    pbc = np.ones(3, dtype=bool)
    if rng.uniform() < law.surfaces:
        pbc[rng.integers(3)] = False
    if rng.uniform() < law.vacancies:
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
    return dataclasses.replace(to_network_units(frame, law, n_carriers, sigma, rng, displacement), label=label)


def to_network_units(
    frame: Frame,
    law: SampleLaw,
    n_carriers: int,
    sigma: float,
    rng: np.random.Generator,
    displacement: npt.NDArray[np.float64] | None = None,
) -> Sample:
    """Normalise lengths as at use, apply the jitter, put species on carriers; None: no clean positions."""
    spacing = local_spacing(frame)
    factor = length_factor(spacing) * (1.0 + rng.uniform(-law.jitter, law.jitter))
    if law.any_carriers < 0:
        carrier = assign_slots(frame, n_carriers, spacing)
    else:
        slots = n_carriers if rng.uniform() < law.any_carriers else frame.n_species
        carrier = rng.permutation(slots)[frame.species]
    scaled = Frame(
        positions=frame.positions * factor,
        species=frame.species,
        species_names=frame.species_names,
        cell=frame.cell * factor,
        pbc=frame.pbc,
    )
    moved = np.full(frame.positions.shape, np.nan) if displacement is None else displacement * factor
    return Sample(frame=scaled, carrier=carrier, sigma=sigma, displacement=moved)


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
    widths = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    repeat = np.ones(3, dtype=int)
    while True:
        n_atoms = len(structure) * int(repeat.prod())
        narrow = int(np.argmin(widths * repeat))
        enough = n_atoms >= min_atoms and (widths * repeat)[narrow] >= MIN_WIDTH
        if enough or (n_atoms >= MIN_ATOMS and n_atoms * (repeat[narrow] + 1) // repeat[narrow] > MAX_ATOMS):
            break
        repeat[narrow] += 1
    steps = np.stack(np.meshgrid(*[np.arange(r) for r in repeat], indexing="ij"), axis=-1).reshape(-1, 1, 3)
    fractional = ((structure.fractional[None] + steps) / repeat).reshape(-1, 3)
    return cell * repeat[:, None], fractional, np.tile(structure.species, len(steps))


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
