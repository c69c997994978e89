"""The phases that are set by hand: PTM's nine, elemental omega, and In as FCC."""

from __future__ import annotations

from typing import Any

import numpy as np

from ovito_mace_phase.phases.record import Phase, ReferenceCell

from .cells import MP_CITATION
from .sources import Proposal

PTM_CITATION = "Larsen, Schmidt, Schiøtz, Modelling Simul. Mater. Sci. Eng. 24, 055007 (2016)"

# id, key, name, colour: those of OVITO's polyhedral template matching.
PTM = (
    (0, "OTHER", "Other", (0.95, 0.95, 0.95)),
    (1, "FCC", "FCC", (0.4, 1.0, 0.4)),
    (2, "HCP", "HCP", (1.0, 0.4, 0.4)),
    (3, "BCC", "BCC", (0.4, 0.4, 1.0)),
    (4, "ICO", "ICO", (0.95, 0.8, 0.2)),
    (5, "SC", "Simple cubic", (0.627, 0.078, 0.996)),
    (6, "CUBIC_DIAMOND", "Cubic diamond", (0.075, 0.627, 0.996)),
    (7, "HEX_DIAMOND", "Hexagonal diamond", (0.996, 0.537, 0.0)),
    (8, "GRAPHENE", "Graphene", (0.627, 0.471, 0.996)),
)

# In (A6) is listed with the face-centred tetragonal cell: an FCC lattice with c/a 1.08.
PTM_PROPOSALS = {
    "FCC": Proposal(label="A_cF4_225_a-001", merged=("A_tI2_139_a-001",), title="FCC"),
    "HCP": Proposal(label="A_hP2_194_c-001", merged=(), title="HCP"),
    "BCC": Proposal(label="A_cI2_229_a-001", merged=(), title="BCC"),
    "SC": Proposal(label="A_cP1_221_a-001", merged=(), title="Simple cubic"),
    "CUBIC_DIAMOND": Proposal(label="A_cF8_227_a-001", merged=(), title="Cubic diamond", mineral="Diamond"),
    "HEX_DIAMOND": Proposal(label="A_hP4_194_f-001", merged=(), title="Hexagonal diamond", mineral="Lonsdaleite"),
}

FACTS: dict[str, dict[str, Any]] = {
    "FCC": {"common": True, "alloy_parent": True, "stacking": "close_packed:c", "lattice": "FCC"},
    "HCP": {"common": True, "alloy_parent": True, "stacking": "close_packed:h", "lattice": "HCP"},
    "BCC": {"common": True, "alloy_parent": True, "lattice": "BCC"},
    "SC": {"common": True, "lattice": "SC"},
    "CUBIC_DIAMOND": {"common": True, "stacking": "diamond:c", "lattice": "CUBIC_DIAMOND"},
    "HEX_DIAMOND": {"common": True, "stacking": "diamond:h", "lattice": "HEX_DIAMOND"},
}
"""Fields of these phases that have a default; those of the named phases are columns of ``named.csv``."""
_DESIGNATIONS = {"FCC": "A1", "HCP": "A3", "BCC": "A2", "SC": "A_h", "CUBIC_DIAMOND": "A4"}


def ptm_phase(
    entry: tuple[int, str, str, tuple[float, float, float]], built: tuple[ReferenceCell, str, str] | None
) -> Phase:
    """Return one of PTM's phases, with its reference cell where it is a crystal."""
    number, key, name, color = entry
    proposal = PTM_PROPOSALS.get(key)
    reference, source, citation = None, "no crystal", PTM_CITATION
    if built is not None:
        reference, source, citation = built
    if key == "GRAPHENE":
        reference, source = graphene_cell(), "built by hand: one sheet, C-C 1.42 Angstrom, 15 Angstrom of vacuum"
    label = proposal.label if proposal else None
    return Phase(
        id=number,
        key=key,
        name=name,
        aflow=label,
        strukturbericht=_DESIGNATIONS.get(key),
        pearson=label.split("_")[1] if label else None,
        space_group=int(label.split("_")[2]) if label else None,
        mineral=proposal.mineral if proposal else None,
        group=key,
        color=color,
        n_species=1,
        reference=reference,
        source=source,
        citation=citation,
        merged=proposal.merged if proposal else (),
        **FACTS.get(key, {}),
    )


def graphene_cell() -> ReferenceCell:
    """Return one sheet of graphene; the third lattice vector only holds vacuum."""
    a = 1.42 * np.sqrt(3)
    cell = np.array([[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, 15.0]])
    fractional = np.array([[1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]])
    return ReferenceCell(cell=cell, species=np.zeros(2, dtype=np.int64), fractional=fractional)


def omega_phase() -> Phase:
    """Return elemental omega (Ti, Zr, Hf): AFLOW files it under AlB2 with two species."""
    a, ratio = 4.577, 0.613
    cell = np.array([[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, a * ratio]])
    fractional = np.array([[0, 0, 0], [1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]])
    return Phase(
        id=100,
        key="OMEGA",
        name="Omega (Ti, elemental)",
        aflow=None,
        strukturbericht=None,
        pearson="hP3",
        space_group=191,
        mineral=None,
        group="OMEGA",
        color=(0, 0, 0),
        n_species=1,
        reference=ReferenceCell(cell=cell, species=np.zeros(3, dtype=np.int64), fractional=fractional),
        source="built by hand, omega-Ti with c/a 0.613; compare Materials Project mp-72",
        citation=MP_CITATION,
        merged=(),
        common=True,
    )
