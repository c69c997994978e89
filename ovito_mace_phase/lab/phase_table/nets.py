"""Oxygen nets of ices as crystals of one species: frames of oxygen alone, one-site water (mW), silicon on such nets.

Where the net of an ice is that of a crystal of the table (`Ice.alone`) it has no phase of its own: that of Ih is
hexagonal diamond. Cells are GenIce2's, idealised by spglib and made primitive.
"""

from __future__ import annotations

from collections.abc import Iterable

from ovito_mace_phase.phases.record import Phase

from .cells import standard_primitive
from .ices import NET_SOURCE, WATER_CITATION, Ice, net_cell

PREFIX = "NET_"
SYMPREC = 1e-3


def net_phases(ices: Iterable[Ice]) -> list[Phase]:
    """Return the nets that have no phase yet; their ids are 0 and their colours black."""
    return [_phase(ice) for ice in ices if ice.alone == ""]


def _phase(ice: Ice) -> Phase:
    cell = standard_primitive(net_cell(ice), SYMPREC)
    if cell is None:
        raise ValueError(f"spglib makes no cell of the net of {ice.key}")
    return Phase(
        id=0,
        key=PREFIX + ice.key,
        name=f"Oxygen net of {ice.name[0].lower()}{ice.name[1:]}",
        aflow=None,
        strukturbericht=None,
        pearson=None,
        space_group=ice.space_group,
        mineral=None,
        group=PREFIX + ice.key,
        color=(0.0, 0.0, 0.0),
        n_species=1,
        reference=cell,
        source=NET_SOURCE.format(ice.lattice),
        citation=WATER_CITATION,
        merged=(),
    )
