"""Crystals that no file of the sources has: A15 of one species, and garnets with two kinds of cations.

A15 has no free coordinate. A garnet with the cations of the octahedra and of the tetrahedra alike (yttrium aluminium
garnet) is the garnet of the table with two of its species made one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ovito_mace_phase.phases.record import Phase, ReferenceCell

_YAG = np.array([0, 2, 1, 0])  # of the garnet's letters: a, c, oxygen, d


def by_hand(crystals: Iterable[Phase]) -> list[Phase]:
    """Return the phases, garnets only where the garnet is given; their ids are 0 and their colours black."""
    garnet = next((phase for phase in crystals if phase.key == "GARNET"), None)
    return [beta_tungsten(), *([yag(garnet)] if garnet is not None else [])]


def beta_tungsten() -> Phase:
    """Return A15 with one species on both of its sites."""
    a = 5.05
    rows = [[0, 0, 0], [0.5, 0.5, 0.5]]
    rows += [[0.25, 0, 0.5], [0.75, 0, 0.5], [0.5, 0.25, 0], [0.5, 0.75, 0], [0, 0.5, 0.25], [0, 0.5, 0.75]]
    return Phase(
        id=0,
        key="BETA_W",
        name="Beta-tungsten (A15 of one species)",
        aflow=None,
        strukturbericht="A15",
        pearson="cP8",
        space_group=223,
        mineral=None,
        group="BETA_W",
        color=(0.0, 0.0, 0.0),
        n_species=1,
        reference=ReferenceCell(
            cell=a * np.eye(3), species=np.zeros(8, dtype=np.int64), fractional=np.array(rows, dtype=np.float64)
        ),
        source="built by hand: no free coordinate",
        citation="Hartmann, Ebert, Bretschneider, Z. anorg. allg. Chem. 198, 116 (1931)",
        merged=(),
    )


def yag(garnet: Phase) -> Phase:
    """Return the garnet whose cations on a and d are one species."""
    cell = garnet.reference
    if cell is None:
        raise ValueError("the garnet has no reference cell")
    return replace(
        garnet,
        id=0,
        key="GARNET_YAG",
        name="Garnet with two kinds of cations (YAG)",
        aflow=None,
        strukturbericht=None,
        mineral=None,
        group="GARNET_YAG",
        n_species=3,
        reference=replace(cell, species=_YAG[cell.species]),
        source=f"GARNET with the cations of a and d alike, {garnet.source}",
        merged=(),
    )
