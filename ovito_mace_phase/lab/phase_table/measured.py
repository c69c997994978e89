"""Facts about crystals whose layers are held by van der Waals forces: measured c/a, polytypes.

Computed cells can be far off: the layers of graphite AB are 3.90 A apart in that of the Materials Project, without
dispersion, and 3.355 A in the crystal.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ovito_mace_phase.phases.record import ReferenceCell

C_OVER_A = {
    "GRAPHITE_AB": (6.711 / 2.464, "c/a of Trucano and Chen, Nature 258, 136 (1975)"),
    "GRAPHITE_ABC": (4.08958, "c/a of Lipson and Stokes, Proc. R. Soc. A 181, 101 (1942)"),
}
"""Key -> c/a of the hexagonal cell, source."""

POLYTYPES = (("GRAPHITE_AB", "GRAPHITE_ABC"), ("MOS2_2H", "MOS2_3R"), ("CDI2", "CDCL2", "CDI2_4H"))
"""Phases that differ by the stacking of the same layers: each is tried where the other is proposed."""


def with_measured_ratio(key: str, cell: ReferenceCell, source: str) -> tuple[ReferenceCell, str]:
    """Return the cell, c along z, with the measured c/a where there is one, and its source."""
    if key not in C_OVER_A:
        return cell, source
    wanted, reference = C_OVER_A[key]
    vectors = cell.cell
    if np.allclose(vectors[2, :2], 0.0):
        edge, height = np.linalg.norm(vectors[0]), vectors[2, 2]
    else:  # primitive vectors of a rhombohedral lattice
        edge, height = np.linalg.norm(vectors[0] - vectors[1]), vectors[:, 2].sum()
    scaled = np.round(vectors * [1.0, 1.0, wanted * edge / height], 6)
    return dataclasses.replace(cell, cell=scaled), f"{source}; {reference}"
