"""Crystal structures to train on: labelled Materials Project entries, reference cells of the table, ices.

Every structure keeps only what a prototype is: a cell, fractional coordinates and anonymous species codes. The chemical
system serves the split and is never shown to the network.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from ase.geometry import cellpar_to_cell

from ovito_mace_phase.phases import Phase
from ovito_mace_phase.runtime.errors import InputError

from .npz import read_arrays

Part = Literal["train", "validation", "test"]
_VALIDATION, _TEST = 0.10, 0.20
_FIELDS = ("ids", "label", "d", "cell", "natoms", "Z", "frac")


@dataclass(frozen=True, kw_only=True, eq=False)
class CrystalStructure:
    """One crystal of known phase.

    Attributes
    ----------
    phase : int
        Column of the phase in the model (position in its list of phases).
    cell : (3, 3) float64
        Rows, A.
    fractional : (n_atoms, 3) float64
    species : (n_atoms,) int64
        Anonymous codes.
    system : str
        Chemical system, "Cl-Na", or a name of its own for structures without one.
    source : str
        Where it comes from, "mp-22862" for example.
    """

    phase: int
    cell: npt.NDArray[np.float64]
    fractional: npt.NDArray[np.float64]
    species: npt.NDArray[np.int64]
    system: str
    source: str

    def __len__(self) -> int:
        return len(self.species)


def part_of(system: str, seed: int) -> Part:
    """Part of the split a chemical system belongs to: a hash, so that it never depends on the order of the data."""
    digest = hashlib.sha256(f"{seed}:{system}".encode()).digest()
    draw = int.from_bytes(digest[:8], "big") / 2.0**64
    return "validation" if draw < _VALIDATION else "test" if draw < _VALIDATION + _TEST else "train"


def split_seed(card: Mapping[str, Any]) -> int:
    """Return the seed of the split that a model was trained with, from its card.

    Cards of the first stage do not name it: there it is the seed of the run.
    """
    training = card.get("training") or {}
    return int(training.get("split_seed", training.get("settings", {}).get("seed", 0)))


def load_labelled(
    path: Path, phases: Sequence[Phase], *, max_distance: float = 0.15, max_atoms: int = 200
) -> list[CrystalStructure]:
    """Read the labelled structures whose AFLOW label is a phase of the table.

    Parameters
    ----------
    path : Path
        `npz` with ids, label, d, cell (a b c alpha beta gamma), natoms, Z, frac.
    phases : sequence of Phase
        The model's phases; the position in this list is the class.
    max_distance : float
        Largest fingerprint distance `d` to the prototype.
    max_atoms : int
        Larger cells are left out.

    Raises
    ------
    InputError
        When the file is missing or lacks a field.
    """
    column = {label: i for i, phase in enumerate(phases) for label in (phase.aflow, *phase.merged) if label}
    read = _read(path, max_distance=max_distance, max_atoms=max_atoms)
    return [dataclasses.replace(one, phase=column[label]) for label, one in read if label in column]


def load_unlisted(
    path: Path, phases: Sequence[Phase], seed: int, *, max_distance: float = 0.15, max_atoms: int = 120
) -> dict[Part, list[list[CrystalStructure]]]:
    """Read the structures whose prototype no phase of the table is: crystals that must come out as Other.

    Split by prototype, through a hash, so that those of the test part are of kinds never shown. Parameters as of
    `load_labelled`.

    Returns
    -------
    dict
        For each part the prototypes, each a list of structures, with phase 0.
    """
    listed = {label for phase in phases for label in (phase.aflow, *phase.merged) if label}
    kinds: dict[str, list[CrystalStructure]] = {}
    for label, one in _read(path, max_distance=max_distance, max_atoms=max_atoms):
        if label not in listed:
            kinds.setdefault(label, []).append(one)
    out: dict[Part, list[list[CrystalStructure]]] = {"train": [], "validation": [], "test": []}
    for label in sorted(kinds):
        out[part_of(f"prototype {label}", seed)].append(kinds[label])
    return out


def _read(path: Path, *, max_distance: float, max_atoms: int) -> Iterator[tuple[str, CrystalStructure]]:
    """Yield AFLOW label and structure of every entry, phase 0."""
    if not path.is_file():
        raise InputError(
            f"no labelled structures at {path}; pass --data with the npz file (docs/training.md says what is in it)"
        )
    data = read_arrays(path)
    missing = [name for name in _FIELDS if name not in data]
    if missing:
        raise InputError(f"{path} lacks the arrays {', '.join(missing)}; docs/training.md lists what it must hold")
    start = np.concatenate([[0], np.cumsum(data["natoms"])])
    for k, label in enumerate(data["label"]):
        if data["d"][k] > max_distance or data["natoms"][k] > max_atoms:
            continue
        atoms = slice(start[k], start[k + 1])
        numbers = data["Z"][atoms]
        yield (
            str(label),
            CrystalStructure(
                phase=0,
                cell=cellpar_to_cell(data["cell"][k].astype(float)),
                fractional=data["frac"][atoms].astype(np.float64),
                species=np.unique(numbers, return_inverse=True)[1].astype(np.int64),
                system="-".join(str(z) for z in sorted(set(numbers.tolist()))),
                source=str(data["ids"][k]),
            ),
        )


def reference_structures(phases: Sequence[Phase], labelled: Sequence[CrystalStructure]) -> list[CrystalStructure]:
    """Return the table's reference cells; one taken from a labelled entry keeps its chemical system, hence its part."""
    system_of = {structure.source: structure.system for structure in labelled}
    out = []
    for column, phase in enumerate(phases):
        if phase.reference is None:
            continue
        source = next((word.strip("(),;") for word in phase.source.split() if word.strip("(),;") in system_of), "")
        out.append(
            CrystalStructure(
                phase=column,
                cell=phase.reference.cell,
                fractional=phase.reference.fractional,
                species=phase.reference.species,
                system=system_of.get(source, f"reference {phase.key}"),
                source=source or f"reference {phase.key}",
            )
        )
    return out


def split(
    labelled: Sequence[CrystalStructure], references: Sequence[CrystalStructure], n_phases: int, seed: int
) -> dict[Part, list[CrystalStructure]]:
    """Split by chemical system: no chemical system, hence no duplicate of an entry, appears in two parts.

    References made from published parameters train. A phase that would have nothing to train on gets its reference as
    training structure, and loses the test entries of the same system.
    """
    parts: dict[Part, list[CrystalStructure]] = {"train": [], "validation": [], "test": []}
    for structure in labelled:
        parts[part_of(structure.system, seed)].append(structure)
    for structure in references:
        if structure.system.startswith("reference ") or part_of(structure.system, seed) == "train":
            parts["train"].append(structure)
    trained = Counter(structure.phase for structure in parts["train"])
    orphans = {structure.phase: structure for structure in references if trained[structure.phase] == 0}
    for phase, structure in orphans.items():
        parts["train"].append(structure)
        for name in ("validation", "test"):
            parts[name] = [other for other in parts[name] if other.phase != phase or other.system != structure.system]
    return parts
