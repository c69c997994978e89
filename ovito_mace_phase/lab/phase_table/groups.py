"""Which reference cells are the same structure: pymatgen's anonymous matcher behind a cheap filter."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from ovito_mace_phase.phases.record import ReferenceCell

from .radial_distances import best_order, match_orders, partial_distributions

if TYPE_CHECKING:
    from pymatgen.core import Structure

Tolerances = tuple[float, float, float]

# Relative lattice lengths, sites in units of (volume per atom)^(1/3), angles in degrees.
# A homogeneous strain of 5 %, as training applies it, and little else: such phases share a group.
STRAINED = (0.05, 0.06, 3.0)
MEDIUM = (0.08, 0.12, 5.0)
# Bounds on the distance of the distributions: near-duplicates of the AFLOW list reach 0.38, or 0.56 where medium.
MAX_DISTANCE = {STRAINED: 0.45, MEDIUM: 0.9}


def same_structure(first: ReferenceCell, second: ReferenceCell, tolerances: Tolerances = STRAINED) -> bool:
    """Tell whether two cells match as anonymous species at any volume."""
    counts = [np.sort(np.bincount(cell.species)) for cell in (first, second)]
    if len(counts[0]) != len(counts[1]) or np.any(counts[0] * counts[1].sum() != counts[1] * counts[0].sum()):
        return False
    limit = MAX_DISTANCE[tolerances]
    distance, _ = best_order(second, partial_distributions(first), np.bincount(first.species))
    return distance < limit and _match(first, second, tolerances)


def matching_pairs(cells: Sequence[ReferenceCell], tolerances: Tolerances = STRAINED) -> list[tuple[int, int]]:
    """Return the pairs of indices, first below second, whose cells are the same structure."""
    families: dict[tuple[float, ...], list[int]] = {}
    for index, cell in enumerate(cells):
        fractions = np.sort(np.bincount(cell.species) / cell.n_atoms)
        families.setdefault(tuple(np.round(fractions, 6)), []).append(index)
    counts = [np.bincount(cell.species) for cell in cells]
    distributions = [partial_distributions(cell) for cell in cells]
    limit = MAX_DISTANCE[tolerances]
    pairs = []
    for family in families.values():
        for a, b in combinations(family, 2):
            distance, _ = match_orders(distributions[b], counts[b], distributions[a], counts[a])
            if distance < limit and _match(cells[a], cells[b], tolerances):
                pairs.append((a, b))
    return pairs


def _match(first: ReferenceCell, second: ReferenceCell, tolerances: Tolerances) -> bool:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        matcher = StructureMatcher(*tolerances, primitive_cell=True, scale=True, attempt_supercell=False)
        return bool(matcher.fit_anonymous(_structure(first), _structure(second)))


def _structure(cell: ReferenceCell) -> Structure:
    from pymatgen.core import Element, Structure

    # One atom per 10 A^3: the matcher scales, but it makes cells primitive at a fixed distance in Angstrom first.
    scale = (10.0 * cell.n_atoms / abs(np.linalg.det(cell.cell))) ** (1 / 3)
    elements = [Element.from_Z(29 + int(code)) for code in cell.species]
    return Structure(cell.cell * scale, elements, cell.fractional)
