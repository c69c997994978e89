"""Crystals that are not in the table: prototypes of a file, and crystals of random symmetry. Other at every atom.

prototype  AFLOW's, see `lab.data.prototypes`; those of the test part are of labels that the suite `unlisted` tests
random     a random space group setting and lattice of its system, 1 to 3 orbits of random places, some of them on
           symmetry elements; the scale is set by the nearest pair, too open and too dense ones are thrown away, and
           those nearer than FAR to the geometry of a phase; at least FEWEST atoms in the primitive cell, species
           counted as one, since simpler crystals are strained ones of the table
"""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

import numpy as np
from ase.geometry import cellpar_to_cell

from ovito_mace_phase.lab.crystals import Float, Int
from ovito_mace_phase.lab.data.prototypes import ListedGeometry, load_prototypes, primitive_size
from ovito_mace_phase.lab.data.structures import CrystalStructure, Part
from ovito_mace_phase.phases import Phase
from ovito_mace_phase.runtime.errors import InputError, MissingPackageError

from .made import OTHER, Made, made, nearest_distances
from .stock import Stock, block

_SETTINGS = 530
FEWEST, FAR, _MOST_ATOMS = 6, 0.25, 24
_DENSE, _OPEN = 0.7, 2.2  # volume per atom over the cube of the nearest distance; fcc 0.707, bcc 0.77, diamond 1.54
_MARKS = 12_000  # a place along an edge, so that fractions of symmetry elements are whole numbers
_SPECIAL = (0.0, 0.25, 1.0 / 3.0, 0.5)


def prototype(stock: Stock, rng: np.random.Generator) -> Made:
    """Return a crystal of a prototype outside the table; InputError where the stock has no file of them."""
    if stock.prototypes is None:
        raise InputError("crystals of other prototypes need the file of them")
    every = _prototypes(stock.prototypes, tuple(stock.phases), stock.seed)[stock.part]
    if not every:
        raise InputError(f"{stock.prototypes} has no prototype for the part {stock.part}")
    structure = every[int(rng.integers(len(every)))]
    positions, cell, species = block(structure, stock.size(rng))
    return made(structure.source, positions, species, cell, OTHER)


def random_crystal(stock: Stock, rng: np.random.Generator) -> Made:
    """Return a crystal of a random space group that is no phase of the table."""
    listed = _listed(tuple(stock.phases))
    while True:
        setting, n_orbits = stock.plan(
            "random", lambda r: (int(r.integers(1, _SETTINGS + 1)), int(r.integers(1, 4))), rng
        )
        structure = _draw(setting, n_orbits, rng)
        if structure is None or primitive_size(structure) < FEWEST:
            continue
        if not listed.has(structure, FAR):
            break
    positions, cell, species = block(structure, stock.size(rng))
    return made(structure.source, positions, species, cell, OTHER)


@cache
def _prototypes(path: Path, phases: tuple[Phase, ...], seed: int) -> dict[Part, list[CrystalStructure]]:
    return load_prototypes(path, phases, seed)


@cache
def _listed(phases: tuple[Phase, ...]) -> ListedGeometry:
    return ListedGeometry(phases)


def _draw(setting: int, n_orbits: int, rng: np.random.Generator) -> CrystalStructure | None:
    """Return a crystal of a setting (Hall number), or None where its atoms do not pack."""
    rotations, translations, system = _symmetry(setting)
    cell = _lattice(system, rng)
    fractional, species = np.zeros((0, 3)), np.zeros(0, dtype=np.int64)
    for kind in range(n_orbits):
        orbit = _orbit(_place(rng), rotations, translations)
        fractional = np.concatenate([fractional, orbit])
        if len(fractional) > _MOST_ATOMS:
            return None
        species = np.concatenate([species, np.full(len(orbit), min(kind, int(rng.integers(0, 3))))])
    if len(fractional) < 2:
        return None
    apart = fractional[:, None] - fractional[None]
    if (np.abs(apart - np.round(apart)).max(axis=2) + np.eye(len(fractional)) < 0.02).any():
        return None
    nearest = float(nearest_distances(fractional @ cell, cell).min())
    room = abs(np.linalg.det(cell)) / len(fractional) / nearest**3
    if not _DENSE < room < _OPEN:
        return None
    return CrystalStructure(
        phase=OTHER,
        cell=cell * rng.uniform(2.0, 2.9) / nearest,
        fractional=fractional,
        species=np.unique(species, return_inverse=True)[1].astype(np.int64),
        system="random",
        source=f"random crystal, setting {setting}, {len(fractional)} atoms",
    )


@cache
def _symmetry(setting: int) -> tuple[Int, Float, str]:
    try:
        import spglib
    except ImportError as error:
        raise MissingPackageError(
            f'random crystals need spglib ({error}): pip install "ovito-mace-phase[train]"'
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, kind = spglib.get_symmetry_from_database(setting), spglib.get_spacegroup_type(setting)
    if found is None or kind is None:
        raise InputError(f"spglib knows no setting {setting}")
    rhombohedral = kind.choice == "R"
    number = kind.number
    names = ((2, "triclinic"), (15, "monoclinic"), (74, "orthorhombic"), (142, "tetragonal"), (194, "hexagonal"))
    system = next((name for last, name in names if number <= last), "cubic")
    if system == "monoclinic":
        system += str(kind.choice).strip("-")[0]
    return found["rotations"], found["translations"], "rhombohedral" if rhombohedral else system


def _lattice(system: str, rng: np.random.Generator) -> Float:
    a, b, c = np.exp(rng.uniform(-0.5, 0.5, 3))
    one, two, three = rng.uniform(65.0, 115.0, 3)
    parameters = {
        "triclinic": (a, b, c, one, two, three),
        "monoclinica": (a, b, c, one, 90.0, 90.0),
        "monoclinicb": (a, b, c, 90.0, one, 90.0),
        "monoclinicc": (a, b, c, 90.0, 90.0, one),
        "orthorhombic": (a, b, c, 90.0, 90.0, 90.0),
        "tetragonal": (a, a, c, 90.0, 90.0, 90.0),
        "hexagonal": (a, a, c, 90.0, 90.0, 120.0),
        "rhombohedral": (a, a, a, one, one, one),
        "cubic": (a, a, a, 90.0, 90.0, 90.0),
    }
    return np.asarray(cellpar_to_cell(parameters[system]), dtype=np.float64)


def _place(rng: np.random.Generator) -> Float:
    """Return a place whose coordinates are free, fractions of symmetry elements, or equal to each other."""
    x = rng.uniform(0.0, 1.0, 3)
    kind = rng.integers(0, 3, 3)
    place = np.where(kind == 0, rng.choice(_SPECIAL, 3), x)
    if rng.uniform() < 0.4:
        place[1] = rng.choice([1.0, -1.0, 2.0]) * place[0]
    if rng.uniform() < 0.3:
        place[2] = place[0]
    return np.asarray(place % 1.0)


def _orbit(place: Float, rotations: Int, translations: Float) -> Float:
    images = (rotations @ place + translations) % 1.0
    marks = np.round(images * _MARKS).astype(np.int64) % _MARKS
    return np.asarray(images[np.unique(marks, axis=0, return_index=True)[1]])
