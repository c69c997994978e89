"""One training sample: a crystal as molecular dynamics might show it, in network units.

    structure -> unit density -> strain -> supercell -> species on random carriers -> noise -> length factor x jitter

Noise is white with one amplitude per sample (A per component, at 13 A^3 per atom), drawn as `NoiseLaw` says; strain is
part of the clean structure. Everything is drawn afresh for every sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..frame import Frame
from ..lengths import TARGET_VOLUME, length_factor, local_spacing
from .structures import CrystalStructure

MIN_ATOMS, MIN_WIDTH, MAX_ATOMS = 32, 6.0, 160


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
    """

    sigma: tuple[float, float] = (0.0, 0.15)
    hot: tuple[float, float] = (0.15, 0.30)
    hot_share: float = 0.3
    strain: float = 0.03
    jitter: float = 0.08


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A frame in network units with its carriers and noise amplitude."""

    frame: Frame
    carrier: npt.NDArray[np.int64]
    sigma: float


def draw(structure: CrystalStructure, law: SampleLaw, n_carriers: int, rng: np.random.Generator) -> Sample:
    """Draw one sample of a crystal structure."""
    cell, fractional, species = supercell(structure)
    strain = rng.uniform(-1.0, 1.0, (3, 3)) * law.strain * rng.uniform()
    cell = cell @ (np.eye(3) + 0.5 * (strain + strain.T))
    low, high = law.hot if rng.uniform() < law.hot_share else law.sigma
    sigma = float(rng.uniform(low, high))
    positions = fractional @ cell + rng.normal(0.0, sigma, fractional.shape)
    frame = Frame(positions=positions, species=species, species_names=tuple(str(s) for s in range(int(species.max()) + 1)),
                  cell=cell, pbc=np.ones(3, dtype=bool))
    return to_network_units(frame, law.jitter, n_carriers, sigma, rng)


def to_network_units(frame: Frame, jitter: float, n_carriers: int, sigma: float, rng: np.random.Generator) -> Sample:
    """Normalise lengths as at use, apply the jitter, put species on random carriers."""
    factor = length_factor(local_spacing(frame)) * (1.0 + rng.uniform(-jitter, jitter))
    carrier = rng.permutation(n_carriers)[frame.species]
    scaled = Frame(positions=frame.positions * factor, species=frame.species, species_names=frame.species_names,
                   cell=frame.cell * factor, pbc=frame.pbc)
    return Sample(frame=scaled, carrier=carrier, sigma=sigma)


def supercell(structure: CrystalStructure) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Repeat a structure, at unit density, until noise is no rigid shift of images.

    Returns
    -------
    cell : (3, 3) float64
    fractional : (n_atoms, 3) float64
    species : (n_atoms,) int64
    """
    cell = structure.cell * (TARGET_VOLUME * len(structure) / abs(np.linalg.det(structure.cell))) ** (1.0 / 3.0)
    widths = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    repeat = np.ones(3, dtype=int)
    while True:
        n_atoms = len(structure) * int(repeat.prod())
        narrow = int(np.argmin(widths * repeat))
        enough = n_atoms >= MIN_ATOMS and (widths * repeat)[narrow] >= MIN_WIDTH
        if enough or (n_atoms >= MIN_ATOMS and n_atoms * (repeat[narrow] + 1) // repeat[narrow] > MAX_ATOMS):
            break
        repeat[narrow] += 1
    steps = np.stack(np.meshgrid(*[np.arange(r) for r in repeat], indexing="ij"), axis=-1).reshape(-1, 1, 3)
    fractional = ((structure.fractional[None] + steps) / repeat).reshape(-1, 3)
    return cell * repeat[:, None], fractional, np.tile(structure.species, len(steps))
