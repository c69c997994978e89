"""Crystals with stacking faults and twins: layers of one structure in another that differs in the stacking alone.

A stacking is a word of h and c, one letter to a layer: layer i is h where layers i - 1 and i + 1 have the same
position, c where they differ. All c is fcc (cubic diamond, zincblende), all h is hcp (hexagonal diamond, wurtzite).
Layer i + 1 is shifted against layer i by d_i = +-1/3 of the layer's diagonal; h turns the sign. Faults in fcc: twin h,
intrinsic hh, extrinsic hch; in hcp: growth c, deformation cc, extrinsic ccc. Every atom has the label of its layer,
as in common neighbour analysis. Source: Hirth and Lothe, Theory of Dislocations (1982), chapter 10; h and c as in
Jagodzinski, Acta Cryst. 2 (1949) 201.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.length_scale import TARGET_VOLUME
from ovito_mace_phase.lab.crystals import RISE, grid, stack

FAULTS = {"c": ("h", "hh", "hch"), "h": ("c", "cc", "ccc")}


@dataclass(frozen=True, kw_only=True)
class Family:
    """Structures that differ in stacking alone; `Phase.stacking` names the phases of its c and h layers.

    Attributes
    ----------
    name : str
    basis : tuple of (species, height)
        Atoms on every site of a layer; height over the distance of layers.
    repeat : int
        Sites along each edge of a layer.
    """

    name: str
    basis: tuple[tuple[int, float], ...]
    repeat: int

    @property
    def cubic(self) -> str:
        """`Phase.stacking` of the phase of c layers."""
        return f"{self.name}:c"

    @property
    def hexagonal(self) -> str:
        """`Phase.stacking` of the phase of h layers."""
        return f"{self.name}:h"


FAMILIES = (
    Family(name="close_packed", basis=((0, 0.0),), repeat=3),
    Family(name="diamond", basis=((0, 0.0), (0, 0.75)), repeat=2),
    Family(name="zincblende", basis=((0, 0.0), (1, 0.75)), repeat=2),
)
_SHARES = (0.6, 0.2, 0.2)


@dataclass(frozen=True, kw_only=True)
class Stacking:
    """A crystal with faults.

    Attributes
    ----------
    cell : (3, 3) float64
        Rows, A in network units.
    fractional : (n_atoms, 3) float64
    species : (n_atoms,) int64
    hexagonal : (n_atoms,) bool
        Atoms of h layers.
    family : Family
    """

    cell: npt.NDArray[np.float64]
    fractional: npt.NDArray[np.float64]
    species: npt.NDArray[np.int64]
    hexagonal: npt.NDArray[np.bool_]
    family: Family


def random_stacking(rng: np.random.Generator) -> Stacking:
    """Draw a family, a host, and one or two faults at least three layers apart."""
    family = FAMILIES[int(rng.choice(len(FAMILIES), p=_SHARES))]
    return stacked(random_word(rng), family, stretch=1.0 + rng.uniform(-0.02, 0.02))


def random_word(rng: np.random.Generator) -> str:
    """Return a word of 9 to 12 layers that goes on periodically: the number of h is even."""
    host = "c" if rng.uniform() < 0.7 else "h"
    while True:
        n_layers = int(rng.integers(9, 13))
        word = ""
        for _ in range(int(rng.integers(1, 3))):
            fault = FAULTS[host][int(rng.integers(len(FAULTS[host])))]
            word += fault + host * int(rng.integers(3, 6))
        word += host * (n_layers - len(word))
        if len(word) <= 12 and word.count("h") % 2 == 0:
            turn = int(rng.integers(len(word)))
            return word[turn:] + word[:turn]


def stacked(word: str, family: Family, stretch: float = 1.0) -> Stacking:
    """Build the crystal of a word; `stretch` is the distance of layers over the ideal one."""
    shift, sign, shifts = 0, 1, []
    for letter in word:
        shifts.append(shift)
        sign = -sign if letter == "h" else sign
        shift += sign
    area, rise = np.sqrt(3.0) / 2.0, RISE * stretch
    a = (TARGET_VOLUME * len(family.basis) / (area * rise)) ** (1.0 / 3.0)
    one, two = np.array([1.0, 0.0, 0.0]), np.array([0.5, area, 0.0])
    third = (one + two) / 3.0
    sites = grid(np.array([family.repeat, family.repeat, 1]))
    plane = sites[:, :1] * one + sites[:, 1:2] * two
    places, layer = stack(plane, shifts, third, rise, [lift for _, lift in family.basis])
    species = np.repeat([kind for kind, _ in family.basis], len(plane))
    top = np.array([0.0, 0.0, len(word) * rise])
    cell = np.array([family.repeat * one, family.repeat * two, top + shift * third])
    return Stacking(
        cell=a * cell,
        fractional=places @ np.linalg.inv(cell),
        species=np.tile(species, len(word)).astype(np.int64),
        hexagonal=np.array([letter == "h" for letter in word])[layer],
        family=family,
    )
