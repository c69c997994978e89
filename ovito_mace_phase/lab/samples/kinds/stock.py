"""What kinds are built of: the crystals of one part of the split, and which plans belong to that part.

    part of a plan = hash of (kind, plan, seed)      as chemical systems are split (`lab.data.structures.part_of`)

Simple lattices are in every part, since a lattice has no other form: of those that a part has no crystals of, the
reference cell is taken. What is done to them differs from part to part.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from ovito_mace_phase.lab.crystals import Float, Int, repeat, widths
from ovito_mace_phase.lab.data.structures import CrystalStructure, Part, part_of, reference_structures
from ovito_mace_phase.phases import Phase
from ovito_mace_phase.runtime.errors import InputError

from .made import OTHER

_TRIES = 2000
_WATER = ("ICE_", "CLATHRATE_")
_FLAT = ("MONO_", "GRAPHENE")
_COMMON = 0.5
Plan = TypeVar("Plan", bound=Hashable)


class Stock:
    """Crystals to build of.

    Parameters
    ----------
    phases : sequence of Phase
        Columns of the labels; the first is OTHER.
    structures : sequence of CrystalStructure
        Of one part; reference cells stand in for simple lattices that it lacks.
    part : 'train', 'validation' or 'test'
    seed : int
        Of the split of plans.
    atoms : (int, int)
        Fewest and most atoms that a frame should have; some kinds have fewer.
    most_species : int
        Species that the network tells apart.
    prototypes : Path, optional
        File of crystals of prototypes outside the table (`lab.data.prototypes`).
    """

    def __init__(
        self,
        phases: Sequence[Phase],
        structures: Sequence[CrystalStructure],
        part: Part,
        *,
        seed: int = 0,
        atoms: tuple[int, int] = (60, 400),
        most_species: int = 6,
        prototypes: Path | None = None,
    ) -> None:
        self.phases, self.part, self.seed = phases, part, seed
        self.atoms, self.most_species, self.prototypes = atoms, most_species, prototypes
        self.columns = {phase.key: column for column, phase in enumerate(phases)}
        self._groups: dict[int, dict[str, list[CrystalStructure]]] = {}
        for structure in structures:
            self._groups.setdefault(structure.phase, {}).setdefault(structure.system, []).append(structure)
        for structure in reference_structures(phases, []):
            if phases[structure.phase].common and structure.phase not in self._groups:
                self._groups[structure.phase] = {structure.system: [structure]}

    def column(self, *keys: str) -> int:
        """Return the column of the first of the phases that the table has, or that of Other."""
        return next((self.columns[key] for key in keys if key in self.columns), OTHER)

    @property
    def crystals(self) -> list[int]:
        """Columns of the phases to build of: neither water, which is a kind of its own, nor single layers."""
        return [c for c in self._groups if not self.phases[c].key.startswith((*_WATER, *_FLAT))]

    @property
    def ices(self) -> list[int]:
        """Columns of ices and hydrates."""
        return [c for c in self._groups if self.phases[c].key.startswith(_WATER)]

    def a_phase(self, rng: np.random.Generator) -> int:
        """Draw the column of a phase: half of the time of one that simulations are full of."""
        every = self.crystals
        common = [c for c in every if self.phases[c].common]
        return int(rng.choice(common if common and rng.uniform() < _COMMON else every))

    def crystal(self, column: int, rng: np.random.Generator) -> CrystalStructure:
        """Draw a crystal of a phase: chemical systems evenly, then structures evenly."""
        systems = list(self._groups[column].values())
        group = systems[int(rng.integers(len(systems)))]
        return group[int(rng.integers(len(group)))]

    def size(self, rng: np.random.Generator, least: int = 0) -> int:
        """Draw a number of atoms, small ones more often."""
        low, high = max(self.atoms[0], least), max(self.atoms[1], least + 1)
        return int(np.exp(rng.uniform(np.log(low), np.log(high))))

    def plan(self, kind: str, draw: Callable[[np.random.Generator], Plan], rng: np.random.Generator) -> Plan:
        """Draw plans until one belongs to this part.

        Raises
        ------
        InputError
            When a kind has no plan for the part.
        """
        for _ in range(_TRIES):
            found = draw(rng)
            if part_of(f"{kind} {found}", self.seed) == self.part:
                return found
        raise InputError(f"no plan of the kind {kind} belongs to the part {self.part}; take another seed of the split")


def block(structure: CrystalStructure, n_atoms: int) -> tuple[Float, Float, Int]:
    """Return positions, cell and species of a crystal repeated until it has `n_atoms`, about as wide as it is high."""
    times = np.ones(3, dtype=np.int64)
    width = widths(structure.cell)
    while len(structure) * times.prod() < n_atoms:
        times[np.argmin(width * times)] += 1
    cell, fractional, species = repeat(structure.cell, structure.fractional, structure.species, times)
    return fractional @ cell, cell, species


def other_faces(cell: Float, fractional: Float, rng: np.random.Generator) -> tuple[Float, Float]:
    """Return another cell of the same crystal, with other lattice planes as faces, and the coordinates in it."""
    change = np.eye(3)
    for _ in range(int(rng.integers(0, 4))):
        row, column = rng.permutation(3)[:2]
        step = np.eye(3)
        step[row, column] = rng.choice([-1.0, 1.0])
        change = step @ change
    return change @ cell, (fractional @ np.linalg.inv(change)) % 1.0


def random_turn(rng: np.random.Generator) -> Float:
    """Return a random rotation, (3, 3)."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))
