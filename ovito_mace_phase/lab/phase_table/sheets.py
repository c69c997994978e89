"""Two-dimensional crystals: lattices in a plane, and single layers of layered crystals of the table.

    layer   the atoms between two of the widest gaps of the heights along one axis of the conventional cell
    cell    the two other axes, and a third vector normal to them that only holds VACUUM

Graphene, which PTM knows, stands in `simple`. A sheet of one kind of layer may be flat or thick; its space group as a
crystal means nothing and is not given.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ovito_mace_phase.phases.record import Phase, ReferenceCell

from .cells import standard_conventional

VACUUM = 15.0
"""Angstrom between a sheet and its image."""
SYMPREC = 1e-3
_WIDEST = 0.9  # of the widest gap


@dataclass(frozen=True)
class Layer:
    """One layer of a phase of the table: key, name, key of that phase, axis that leads from layer to layer."""

    key: str
    name: str
    bulk: str
    axis: int = 2


@dataclass(frozen=True)
class Plane:
    """A lattice in a plane: cell (a, b, angle), fractional coordinates, heights in Angstrom, species, source."""

    key: str
    name: str
    a: float
    b: float
    angle: float
    fractional: tuple[tuple[float, float], ...]
    source: str = "built by hand: a lattice without free parameters"
    heights: tuple[float, ...] = ()
    species: tuple[int, ...] = ()


_HONEYCOMB = ((1 / 3, 2 / 3), (2 / 3, 1 / 3))
_CAHANGIROV = "Cahangirov et al., Phys. Rev. Lett. 102, 236804 (2009)"
PLANES = (
    Plane("MONO_HEXAGONAL", "Hexagonal lattice, one layer", 3.0, 3.0, 120.0, ((0.0, 0.0),)),
    Plane("MONO_SQUARE", "Square lattice, one layer", 3.0, 3.0, 90.0, ((0.0, 0.0),)),
    Plane("MONO_KAGOME", "Kagome lattice, one layer", 6.0, 6.0, 120.0, ((0.5, 0.0), (0.0, 0.5), (0.5, 0.5))),
    Plane(
        "MONO_ROCKSALT", "Rocksalt (100), one layer", 4.0, 4.0, 90.0, ((0.0, 0.0), (0.5, 0.5)), species=(0, 1)
    ),
    Plane(
        "MONO_SILICENE", "Silicene (buckled honeycomb)", 3.83, 3.83, 120.0, _HONEYCOMB,
        f"a 3.83 Angstrom, buckling 0.44 Angstrom: {_CAHANGIROV}", heights=(0.0, 0.44),
    ),
)  # fmt: skip
LAYERS = (
    Layer("MONO_BN", "Boron nitride, one layer", "H_BN"),
    Layer("MONO_A7", "Antimonene, blue phosphorene (one layer of A7)", "ARSENIC_A7"),
    Layer("MONO_BLACK_P", "Black phosphorene", "BLACK_P", axis=1),
    Layer("MONO_MOS2_2H", "2H-MoS2, one layer (trigonal prisms)", "MOS2_2H"),
    Layer("MONO_MOS2_1T", "1T-MoS2, one layer (octahedra; CdI2)", "CDI2"),
    Layer("MONO_GASE", "GaSe, one layer", "BETA_GASE"),
    Layer("MONO_BII3", "CrI3, one layer (BiI3)", "BII3"),
    Layer("MONO_BI2TE3", "Bi2Te3, one layer of five", "BI2TE3"),
    Layer("MONO_SNS", "SnS, one layer", "ALPHA_SNS", axis=0),
    Layer("MONO_PDSE2", "PdSe2, one layer (pentagons)", "PDSE2"),
    Layer("MONO_FEOCL", "FeOCl, one layer", "FEOCL"),
)
SHEETS = ("GRAPHENE", *(sheet.key for sheet in (*PLANES, *LAYERS)))
"""Keys of all sheets of the table."""


def sheet_phases(crystals: Iterable[Phase]) -> list[Phase]:
    """Return the sheets, layers of those crystals alone that are given; their ids are 0 and their colours black."""
    bulk = {phase.key: phase for phase in crystals if phase.reference is not None}
    made = [_phase(plane, plane_cell(plane), plane.source, plane.source) for plane in PLANES]
    for layer in LAYERS:
        if (crystal := bulk.get(layer.bulk)) is not None and crystal.reference is not None:
            cell = layer_cell(crystal.reference, layer.axis)
            made.append(_phase(layer, cell, f"one layer of {layer.bulk}, {crystal.source}", crystal.citation))
    return made


def plane_cell(plane: Plane) -> ReferenceCell:
    """Return the cell of a lattice in a plane."""
    angle = np.radians(plane.angle)
    heights = np.array(plane.heights or [0.0] * len(plane.fractional))
    width = VACUUM + np.ptp(heights)
    cell = np.array([[plane.a, 0, 0], [plane.b * np.cos(angle), plane.b * np.sin(angle), 0], [0, 0, width]])
    third = 0.5 + (heights - heights.mean()) / width
    return ReferenceCell(
        cell=cell.round(12),
        species=np.array(plane.species or [0] * len(plane.fractional), dtype=np.int64),
        fractional=np.column_stack([np.array(plane.fractional), third]),
    )


def layer_cell(crystal: ReferenceCell, axis: int) -> ReferenceCell:
    """Return one layer of a layered crystal.

    Raises
    ------
    ValueError
        Where the layers between the widest gaps are not alike in their atoms.
    """
    whole = standard_conventional(crystal, SYMPREC)
    if whole is None:
        raise ValueError("spglib finds no conventional cell")
    height = whole.fractional[:, axis] % 1.0
    order = np.argsort(height, kind="stable")
    gap = (np.roll(height[order], -1) - height[order]) % 1.0
    ends = np.flatnonzero(gap > _WIDEST * gap.max())
    layers = np.split(np.roll(order, -(ends[0] + 1)), np.cumsum(np.diff(ends)))
    counts = [np.bincount(whole.species[layer], minlength=int(whole.species.max()) + 1).tolist() for layer in layers]
    if any(count != counts[0] for count in counts):
        raise ValueError(f"layers of unequal atoms: {counts}")
    layer = layers[0]
    fractional = whole.fractional[layer]
    fractional[:, axis] -= np.floor(fractional[:, axis] - fractional[0, axis] + 1e-9)  # upwards from the lowest
    first, second = (whole.cell[k % 3] for k in (axis + 1, axis + 2))
    normal = np.cross(first, second)
    frame = np.array([first / np.linalg.norm(first), np.zeros(3), normal / np.linalg.norm(normal)])
    frame[1] = np.cross(frame[2], frame[0])
    positions = fractional @ whole.cell @ frame.T
    thickness = np.ptp(positions[:, 2])
    cell = np.zeros((3, 3))
    cell[:2] = np.array([first, second]) @ frame.T
    cell[2, 2] = thickness + VACUUM
    positions[:, 2] += 0.5 * cell[2, 2] - 0.5 * (positions[:, 2].min() + positions[:, 2].max())
    cell = cell.round(9)
    return ReferenceCell(
        cell=cell, species=whole.species[layer], fractional=np.round(positions @ np.linalg.inv(cell), 9) % 1.0
    )


def _phase(sheet: Plane | Layer, cell: ReferenceCell, source: str, citation: str) -> Phase:
    return Phase(
        id=0,
        key=sheet.key,
        name=sheet.name,
        aflow=None,
        strukturbericht=None,
        pearson=None,
        space_group=None,
        mineral=None,
        group=sheet.key,
        color=(0.0, 0.0, 0.0),
        n_species=int(cell.species.max()) + 1,
        reference=cell,
        source=f"{source}; {VACUUM:.0f} Angstrom of vacuum",
        citation=citation,
        merged=(),
    )
