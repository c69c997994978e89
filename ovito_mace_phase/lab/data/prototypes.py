"""Crystals of prototypes outside the table, from a file of the AFLOW encyclopedia: they must come out as Other.

    [{"label", "cell" (3, 3), "frac" (n, 3), "species" (n,)}, ...]   gzipped JSON; near duplicates beside it, CSV

A prototype is left out if its label is a phase's, if it is a near duplicate of one whose label is, or if it has the
geometry of a phase, strained or not, all species counted as one: total radial distributions
(`lab.phase_table.radial_distances`) nearer than ALIKE, as they are or both strained until the surroundings are round,

    S = sum w v v^T over pairs,  w = exp(-|v|^2 / 2 WIDTH^2),      cell -> cell S^-1/2 (det S)^(1/6),  repeated

which takes homogeneous deformations of one crystal to the same one. The split is that of `structures.load_unlisted`,
by label; near duplicates go together, into the test part if one of them does, so that no crystal of a test prototype is
shown under another label.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.lab.phase_table.radial_distances import partial_distributions
from ovito_mace_phase.phases import Phase, ReferenceCell
from ovito_mace_phase.runtime.errors import InputError

from .structures import CrystalStructure, Part, part_of

Float = npt.NDArray[np.float64]
ALIKE = 0.12
PROTOTYPES = "aflow1999_structures.json.gz"
"""Name of the file, which lies beside the labelled structures."""
DUPLICATES = "aflow1999_near_duplicates.csv"
_FIELDS = ("label", "cell", "frac", "species")
_WIDTH, _REACH, _ROUNDS = 0.8, 2.6, 12  # in cube roots of the volume per atom
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
        self._known = np.array([_totals(cell.cell, cell.fractional) for cell in cells])
        self._sums = self._known.sum(axis=2)

    def distance(self, structure: CrystalStructure) -> float:
        """Return the distance to the nearest phase, strained or not, 0 to about 2; species count as one."""
        own = _totals(structure.cell, structure.fractional)
        return float((np.abs(self._known - own).sum(axis=2) / (0.5 * (self._sums + own.sum(axis=1)))).min())

    def has(self, structure: CrystalStructure) -> bool:
        """Whether a crystal has the geometry of a phase."""
        return self.distance(structure) < ALIKE


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
        if group & listed or not small or _has_split_sites(structure) or geometry.has(structure):
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


def _totals(cell: Float, fractional: Float) -> Float:
    """Return the total distributions, (2, n_grid), of a crystal as it is and strained until it is round."""
    species = np.zeros(len(fractional), dtype=np.int64)
    both = (cell, rounded(cell, fractional))
    cells = [ReferenceCell(cell=one, species=species, fractional=fractional) for one in both]
    return np.array([partial_distributions(one)[0, 0] for one in cells])


def rounded(cell: Float, fractional: Float) -> Float:
    """Return the cell of a crystal strained until the surroundings of its atoms are round, at the same volume."""
    unit = (abs(np.linalg.det(cell)) / len(fractional)) ** (1.0 / 3.0)
    for _ in range(_ROUNDS):
        vectors = neighbour_list(fractional @ cell, cell, np.ones(3, dtype=bool), _REACH * unit).vectors
        weight = np.exp(-(vectors**2).sum(axis=1) / (2.0 * (_WIDTH * unit) ** 2))
        values, axes = np.linalg.eigh(np.einsum("e,ei,ej->ij", weight, vectors, vectors))
        values = np.maximum(values, 0.05 * values.max())  # a sheet has no thickness
        stretch = np.sqrt(np.exp(np.log(values).mean()) / values)
        cell = cell @ (axes * stretch) @ axes.T
    return cell


def prototypes_beside(labelled: Path | None) -> Path | None:
    """Return the file of prototypes in the folder of the labelled structures, where there is one."""
    found = None if labelled is None else labelled.parent / PROTOTYPES
    return found if found is not None and found.is_file() else None
