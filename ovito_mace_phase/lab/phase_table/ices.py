"""Ices and clathrate hydrates: oxygen nets idealised by spglib, hydrogen put on them by GenIce2 (MIT licence).

GenIce2 draws a proton disorder that obeys the ice rules (M. Matsumoto, T. Yagasaki, H. Tanaka,
J. Comput. Chem. 39, 61 (2018)). Polymorphs that differ by the order of their protons alone share one phase.
"""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from ovito_mace_phase.lab.crystals import repeat, widths
from ovito_mace_phase.phases.record import ReferenceCell

from .cells import space_group, standard_conventional, standard_primitive

# Bonds must not reach halfway round the cell, or GenIce2 could not tell an image from the molecule itself.
MIN_SPACING = 5.6
# Gas-phase water, oxygen at the origin, its axis along z as GenIce2 turns it: O-H 0.9572 A, H-O-H 104.52 degrees.
HYDROGEN = 0.9572 * np.array([[0, s * np.sin(np.radians(52.26)), np.cos(np.radians(52.26))] for s in (1, -1)])
SEED = 1
WATER_SOURCE = "GenIce2 lattice {} (MIT), oxygen net idealised, protons disordered with a fixed seed"
NET_SOURCE = "GenIce2 lattice {} (MIT), oxygen alone, idealised"
WATER_CITATION = "Matsumoto, Yagasaki, Tanaka, J. Comput. Chem. 39, 61 (2018)"


@dataclass(frozen=True)
class Ice:
    """One hydrogen-bonded net: key, name, GenIce2's lattice, space group of the oxygen net, lattice known to OVITO.

    `alone` is the key of the phase of one species that its oxygen is by itself; "" where no other phase is.
    """

    key: str
    name: str
    lattice: str
    space_group: int
    # Interpenetrating nets whose bonds no distance tells from contacts keep the cell and the bonds of GenIce2.
    native: bool = False
    oxygens: str | None = None
    alone: str = ""


ICES = (
    Ice("ICE_IH", "Ice Ih (and XI)", "Ih", 194, oxygens="HEX_DIAMOND", alone="HEX_DIAMOND"),
    Ice("ICE_IC", "Ice Ic", "Ic", 227, oxygens="CUBIC_DIAMOND", alone="CUBIC_DIAMOND"),
    Ice("ICE_II", "Ice II", "II", 148),
    Ice("ICE_III", "Ice III (and IX)", "IX", 92),
    Ice("ICE_IV", "Ice IV", "IV", 167),
    Ice("ICE_V", "Ice V (and XIII)", "V", 15),
    Ice("ICE_VI", "Ice VI (and XV)", "VI", 137),
    Ice("ICE_VII", "Ice VII (and VIII)", "VII", 229, native=True, alone="BCC"),
    Ice("ICE_XII", "Ice XII (and XIV)", "XII", 122),
    Ice("ICE_XVII", "Ice XVII", "XVII", 178),
    Ice("ICE_0", "Ice 0", "0", 138, alone="T12"),
    Ice("ICE_I", "Ice i (hypothetical)", "i", 139),
    Ice("CLATHRATE_SI", "Clathrate hydrate sI", "CS1", 223, alone="SI46"),
    Ice("CLATHRATE_SII", "Clathrate hydrate sII (and ice XVI)", "CS2", 227, alone="SI136"),
    Ice("CLATHRATE_SH", "Clathrate hydrate sH", "HS3", 191),
)


def ice_cell(ice: Ice, seed: int = SEED) -> ReferenceCell:
    """Return the water geometry of an ice: oxygen is species 0, hydrogen species 1, two to an oxygen.

    `seed` chooses one of the proton arrangements that obey the ice rules.
    """
    # GenIce2 reports every stage to the root logger.
    logging.disable(logging.WARNING)
    try:
        return _ice_cell(ice, seed)
    finally:
        logging.disable(logging.NOTSET)


def _ice_cell(ice: Ice, seed: int) -> ReferenceCell:
    net, pairs = _native(ice)
    if ice.native:
        return _with_hydrogen(net, pairs, seed)
    net = _smallest_cell(net, ice)
    return _with_hydrogen(net, bonds(net), seed)


def net_cell(ice: Ice) -> ReferenceCell:
    """Return the oxygen net of an ice in a cell that its bonds do not span, idealised, of one species."""
    logging.disable(logging.WARNING)
    try:
        net, _ = _native(ice)
        return net if ice.native else _smallest_cell(net, ice)
    finally:
        logging.disable(logging.NOTSET)


def _native(ice: Ice) -> tuple[ReferenceCell, list[tuple[int, int]]]:
    """Return GenIce2's cell of the oxygens, and its bonds where it lists them."""
    from genice2.genice import GenIce
    from genice2.plugin import safe_import

    native = GenIce(safe_import("lattice", ice.lattice).Lattice())
    net = ReferenceCell(
        cell=native.cell1.mat * 10,
        species=np.zeros(len(native.waters1), dtype=np.int64),
        fractional=np.asarray(native.waters1),
    )
    return net, [(int(i), int(j)) for i, j in native.pairs1 or ()]


def oxygen_net(cell: ReferenceCell) -> ReferenceCell:
    """Return the oxygen atoms of a water cell as a cell of one species."""
    oxygen = cell.species == 0
    return ReferenceCell(cell=cell.cell, species=cell.species[oxygen], fractional=cell.fractional[oxygen])


def bonds(net: ReferenceCell) -> list[tuple[int, int]]:
    """Return the pairs of oxygen atoms nearer than 3.05 Angstrom; every atom must have four."""
    vectors = net.fractional[:, None] - net.fractional[None]
    distances = np.linalg.norm((vectors - np.round(vectors)) @ net.cell, axis=-1)
    near = np.triu(distances < 3.05, k=1)
    if not np.all(near.sum(0) + near.sum(1) == 4):
        raise ValueError("the net is not four-coordinated")
    return [(int(i), int(j)) for i, j in np.argwhere(near)]


def _smallest_cell(net: ReferenceCell, ice: Ice) -> ReferenceCell:
    for symprec in (0.01, 0.1, 0.2, 0.3):
        choices = [make(net, symprec) for make in (standard_primitive, standard_conventional)]
        if all(choice is not None and space_group(choice) == ice.space_group for choice in choices):
            return min((_repeat(choice) for choice in choices if choice), key=lambda cell: cell.n_atoms)
    raise ValueError(f"the oxygen net of {ice.lattice} has not the space group {ice.space_group}")


def _repeat(net: ReferenceCell) -> ReferenceCell:
    times = np.ceil(MIN_SPACING / widths(net.cell) - 1e-6).astype(int)
    cell, fractional, species = repeat(net.cell, net.fractional, net.species, times)
    return ReferenceCell(cell=cell, species=species, fractional=fractional)


def _with_hydrogen(net: ReferenceCell, pairs: list[tuple[int, int]], seed: int) -> ReferenceCell:
    from genice2.genice import GenIce
    from genice2.plugin import safe_import

    grams = 18.015 * net.n_atoms / 0.602214
    lattice = SimpleNamespace(
        cell=net.cell / 10,
        waters=net.fractional.copy(),
        coord="relative",
        pairs=pairs,
        density=grams / abs(np.linalg.det(net.cell)),
        __doc__="",
    )
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - GenIce2 draws from the global generator
    raw = safe_import("format", "raw").Format(stage=[5])
    data = GenIce(lattice).generate_ice(raw, depol="optimal")
    oxygen = np.asarray(data["reppositions"]) @ net.cell
    hydrogen = (oxygen[:, None] + HYDROGEN @ np.asarray(data["rotmatrices"])).reshape(-1, 3)
    fractional = (np.concatenate([oxygen, hydrogen]) @ np.linalg.inv(net.cell)) % 1.0
    return ReferenceCell(
        cell=net.cell, species=np.repeat([0, 1], [net.n_atoms, 2 * net.n_atoms]), fractional=fractional
    )
