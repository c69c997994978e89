"""Crystals of prototypes outside the table, from a file of the AFLOW encyclopedia: they must come out as Other.

    [{"label", "cell" (3, 3), "frac" (n, 3), "species" (n,)}, ...]   gzipped JSON; near duplicates beside it, CSV

A prototype is left out if its label is a phase's, if it is a near duplicate of one whose label is, if it has the
geometry of a phase, all species counted as one (total radial distributions nearer than ALIKE, see
`lab.phase_table.radial_distances`), or if its primitive cell, species again as one, holds SIMPLE atoms or fewer: such
crystals are homogeneous deformations of fcc, bcc, sc, hcp, diamond and the like. The split is that of
`structures.load_unlisted`, by label; near duplicates go together, into the test part if one of them does, so that no
crystal of a test prototype is shown under another label.
"""

from __future__ import annotations

import csv
import gzip
import json
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.lab.phase_table.radial_distances import partial_distributions
from ovito_mace_phase.phases import Phase, ReferenceCell
from ovito_mace_phase.runtime.errors import InputError, MissingPackageError

from .structures import CrystalStructure, Part, part_of

Float = npt.NDArray[np.float64]
ALIKE, SIMPLE = 0.12, 2
PROTOTYPES = "aflow1999_structures.json.gz"
"""Name of the file, which lies beside the labelled structures."""
DUPLICATES = "aflow1999_near_duplicates.csv"
_FIELDS = ("label", "cell", "frac", "species")
_LOOSE = 0.05  # of the cube root of the volume per atom
_LARGEST = 120  # atoms of the cell of a phase: that of a smaller crystal is no larger
_CLOSEST = 0.45  # of the cube root of the volume per atom: split positions lie closer


class ListedGeometry:
    """Radial distributions of the phases of a table, to tell whether a crystal has the geometry of one.

    Parameters
    ----------
    phases : sequence of Phase
    """

    def __init__(self, phases: Sequence[Phase]) -> None:
        every = [phase.reference for phase in phases if phase.reference is not None]
        cells = [cell for cell in every if cell.n_atoms <= _LARGEST]
        self._known = np.array([_total(cell.cell, cell.fractional) for cell in cells])
        self._sums = self._known.sum(axis=1)

    def distance(self, structure: CrystalStructure) -> float:
        """Return the distance to the nearest phase, 0 to about 2; species count as one."""
        own = _total(structure.cell, structure.fractional)
        return float((np.abs(self._known - own).sum(axis=1) / (0.5 * (self._sums + own.sum()))).min())

    def has(self, structure: CrystalStructure, within: float = ALIKE) -> bool:
        """Whether a crystal has the geometry of a phase, up to a distance."""
        return self.distance(structure) < within


def load_prototypes(
    path: Path, phases: Sequence[Phase], seed: int, *, max_atoms: int = 60, most_species: int = 6
) -> dict[Part, list[CrystalStructure]]:
    """Read the crystals of prototypes that no phase of the table is, by part of the split, one to a prototype.

    Parameters
    ----------
    path : Path
        Gzipped JSON; near duplicates are read from `DUPLICATES` in the same folder if it is there.
    phases : sequence of Phase
    seed : int
        Of the split.
    max_atoms, most_species : int
        Larger cells, and those of more species, are left out.

    Raises
    ------
    InputError
        When the file is missing or holds something else.
    """
    listed = frozenset(label for phase in phases for label in (phase.aflow, *phase.merged) if label)
    alike = _duplicates(path.parent / DUPLICATES)
    geometry = ListedGeometry(phases)
    out: dict[Part, list[CrystalStructure]] = {"train": [], "validation": [], "test": []}
    for label, structure in _read(path):
        group = alike.get(label, {label})
        small = len(structure) <= max_atoms and structure.species.max() < most_species
        if group & listed or not small or _has_split_sites(structure):
            continue
        if primitive_size(structure) <= SIMPLE or geometry.has(structure):
            continue
        parts = {part_of(f"prototype {one}", seed) for one in group}
        part: Part = "test" if "test" in parts else "validation" if "validation" in parts else "train"
        out[part].append(structure)
    return out


@cache
def _read(path: Path) -> list[tuple[str, CrystalStructure]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            entries = json.load(stream)
        return [(str(entry["label"]), _structure(entry)) for entry in entries]
    except FileNotFoundError:
        raise InputError(f"no file of prototypes at {path}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        fields = ", ".join(_FIELDS)
        raise InputError(f"{path} is no gzipped JSON list of prototypes ({fields}): {error!r}") from error


def _structure(entry: dict[str, Any]) -> CrystalStructure:
    return CrystalStructure(
        phase=0,
        cell=np.array(entry["cell"], dtype=np.float64).reshape(3, 3),
        fractional=np.array(entry["frac"], dtype=np.float64).reshape(-1, 3),
        species=np.unique(entry["species"], return_inverse=True)[1].astype(np.int64),
        system=f"prototype {entry['label']}",
        source=f"AFLOW {entry['label']}",
    )


def _duplicates(path: Path) -> dict[str, set[str]]:
    """Return the labels that are near duplicates of each label, itself among them; transitive."""
    groups: dict[str, set[str]] = {}
    if path.is_file():
        with path.open(encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                one, other = row["label_a"], row["label_b"]
                joined = groups.get(one, {one}) | groups.get(other, {other})
                groups.update(dict.fromkeys(joined, joined))
    return groups


def _has_split_sites(structure: CrystalStructure) -> bool:
    """Whether two atoms lie closer than any of a solid: sites that are occupied in part."""
    unit = (abs(np.linalg.det(structure.cell)) / len(structure)) ** (1.0 / 3.0)
    apart = structure.fractional[:, None] - structure.fractional[None]
    distance = np.linalg.norm((apart - np.round(apart)) @ structure.cell, axis=2)
    np.fill_diagonal(distance, np.inf)
    return bool(distance.min() < _CLOSEST * unit)


def _total(cell: Float, fractional: Float) -> Float:
    one = ReferenceCell(cell=cell, species=np.zeros(len(fractional), dtype=np.int64), fractional=fractional)
    return partial_distributions(one)[0, 0]


def primitive_size(structure: CrystalStructure) -> int:
    """Return the number of atoms of the primitive cell, species counted as one; places may be off by _LOOSE.

    Raises
    ------
    MissingPackageError
        Without spglib.
    """
    try:
        import spglib
    except ImportError as error:
        raise MissingPackageError(
            f'primitive cells need spglib ({error}): pip install "ovito-mace-phase[train]"'
        ) from None
    unit = (abs(np.linalg.det(structure.cell)) / len(structure)) ** (1.0 / 3.0)
    crystal: Any = (structure.cell, structure.fractional, np.ones(len(structure), dtype=np.int64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = spglib.find_primitive(crystal, symprec=_LOOSE * unit)
    return len(structure) if found is None else len(found[2])


def prototypes_beside(labelled: Path | None) -> Path | None:
    """Return the file of prototypes in the folder of the labelled structures, where there is one."""
    found = None if labelled is None else labelled.parent / PROTOTYPES
    return found if found is not None and found.is_file() else None
