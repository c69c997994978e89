"""One phase of the table, and its reference cell."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any

import numpy as np

FIRST_OWN_ID = 100_000
"""Ids from here on are those of phases that users add to a model."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceCell:
    """Ideal structure of a phase, with anonymous species.

    Attributes
    ----------
    cell
        ``(3, 3) float64``, rows are lattice vectors, in Angstrom.
    species
        ``(n_atoms,) int64`` codes 0, 1, ... in the order of the letters A, B, ... of the AFLOW label.
    fractional
        ``(n_atoms, 3) float64`` in units of the lattice vectors.
    """

    cell: np.ndarray
    species: np.ndarray
    fractional: np.ndarray

    @property
    def n_atoms(self) -> int:
        """Number of atoms in the cell."""
        return len(self.species)

    @property
    def positions(self) -> np.ndarray:
        """``(n_atoms, 3) float64`` Cartesian positions, in Angstrom."""
        return self.fractional @ self.cell


@dataclass(frozen=True, kw_only=True, eq=False)
class Phase:
    """One answer the classifier can give.

    Attributes
    ----------
    id
        Integer written to the ``Phase`` property: 0 to 8 are PTM's, all others start at 100. Never changes.
    key
        Name for OVITO attributes and expressions: ``A-Z``, ``0-9`` and ``_`` only.
    name
        Name to show.
    aflow
        AFLOW label with Wyckoff letters, or None where the encyclopedia has no entry.
    strukturbericht, pearson, space_group, mineral
        Usual designations; None where there is none. For ices the space group is that of the oxygen net.
    group
        Key of the lead phase of the equivalence group: phases that strain makes indistinguishable share it.
    color
        Red, green, blue in 0 ... 1.
    n_species
        Number of kinds of atoms.
    reference
        Ideal structure; None for Other and for icosahedral order.
    source, citation
        Where the reference cell comes from, its licence, and what to cite.
    merged
        Further AFLOW labels that are this phase (``label@mp-id``: isopointal structures, see docs/phases.md).
    common
        Whether simulations are full of it: it is drawn more often in training, and stays the likelier answer.
    alloy_parent
        Whether random alloys are made on its lattice in training, labelled with it.
    stacking
        Family of structures that differ by stacking alone and the layers that this phase consists of, h or c:
        ``close_packed:c`` is FCC. "" where there is none.
    lattice
        Key of the phase that OVITO's own methods, which do not look at species, know it by; None where they do not. Of
        an ice it is the lattice of the oxygens.
    family
        Key of the parent: the phase of highest symmetry of which it is a homogeneous deformation. "" where it has none.
    family_strain
        Deviatoric strain, measured from the parent, up to which a crystal is called by the parent's name.
    logit_offset
        What is taken off its logit after training (``lab/training/emphasis.py``).
    """

    id: int
    key: str
    name: str
    aflow: str | None
    strukturbericht: str | None
    pearson: str | None
    space_group: int | None
    mineral: str | None
    group: str
    color: tuple[float, float, float]
    n_species: int
    reference: ReferenceCell | None
    source: str
    citation: str
    merged: tuple[str, ...]
    common: bool = False
    alloy_parent: bool = False
    stacking: str = ""
    lattice: str | None = None
    family: str = ""
    family_strain: float = 0.0
    logit_offset: float = 0.0


FACTS: dict[str, Any] = {field.name: field.default for field in fields(Phase) if field.default is not MISSING}
"""Fields that a record may leave out, with their defaults."""
