"""What PTM and CNA write, written from our phases: `Structure Type`, their attributes, their table of counts.

ids 0 to 8 (PTM) or 0 to 4 (CNA) are theirs, with their names and colours; further phases keep their own ids, or become
Other. Source: what `PolyhedralTemplateMatchingModifier` and `CommonNeighborAnalysisModifier` of OVITO 3.17 write.
"""

from __future__ import annotations

import itertools
from collections.abc import Container
from typing import Literal

import numpy as np
import numpy.typing as npt
from ovito.data import AttributeDataObject, DataCollection, DataTable  # type: ignore[attr-defined]

from ovito_mace_phase.phases import Phase, PhaseTable

from .structure_list import StructureSettings
from .write_results import set_types

Compatibility = Literal["none", "PTM", "CNA"]
PREFIXES = {"PTM": "PolyhedralTemplateMatching", "CNA": "CommonNeighborAnalysis"}
N_TYPES = {"PTM": 9, "CNA": 5}
TABLE = "structures"


def write_compatible(
    data: DataCollection,
    mode: Compatibility,
    *,
    further_phases: bool,
    table: PhaseTable,
    settings: StructureSettings,
    color_by_type: bool,
) -> None:
    """Write the output of PTM or CNA from the property `Phase` of `data`.

    Parameters
    ----------
    data : DataCollection
        With the properties `Phase` and, if `color_by_type`, `Color`.
    mode : {"none", "PTM", "CNA"}
    further_phases : bool
        Keep phases that the other modifier does not know; False makes them Other, and so does `Correspondences` of a
        PTM upstream: OVITO 3.17 ends with a segmentation fault if GrainSegmentation meets an id above 8.
    table : PhaseTable
    settings : StructureSettings
    color_by_type : bool
        Colour the atoms anew where phases have become Other.
    """
    if mode == "none":
        return
    phase = np.array(data.particles["Phase"], dtype=np.int32)
    known = N_TYPES[mode]
    if not further_phases or "Correspondences" in data.particles:  # GrainSegmentation crashes on ids PTM lacks
        further_phases = False
        phase[phase >= known] = 0
    own = [table.by_id(number) for number in range(known)]
    shown = own + [table.by_id(int(number)) for number in np.unique(phase) if number >= known]
    typed = data.particles_.create_property("Structure Type", data=phase)
    set_types(typed, shown, settings)
    if color_by_type and not further_phases:
        colors = np.array([settings.color(entry) for entry in shown])
        data.particles_.create_property("Color", data=colors[phase])
    ids = np.array([entry.id for entry in shown], dtype=np.int32)
    counts = np.bincount(np.searchsorted(ids, phase), minlength=len(ids)).astype(np.int64)
    present = set(data.attributes)
    for entry, count in zip(shown, counts, strict=True):
        name = numbered(f"{PREFIXES[mode]}.counts.{entry.key}", present)
        data.objects.append(AttributeDataObject(identifier=name, value=int(count)))
    _write_table(data, shown, ids, counts, settings)


def _write_table(
    data: DataCollection,
    shown: list[Phase],
    ids: npt.NDArray[np.int32],
    counts: npt.NDArray[np.int64],
    settings: StructureSettings,
) -> None:
    """Write the bar chart."""
    name = numbered(TABLE, data.tables)
    chart = data.tables.create(identifier=name, title="Structure counts", plot_mode=DataTable.PlotMode.BarChart)
    chart.x = chart.create_property("Structure type", data=ids)
    set_types(chart.x, [phase for phase in shown if settings.enabled(phase.key)], settings)
    chart.y = chart.create_property("Count", data=counts, dtype=np.int64)


def numbered(name: str, present: Container[str]) -> str:
    """Return the name, or where there is one already the next of `name.2`, `name.3` ..., as OVITO numbers them."""
    numbers = (name if number == 1 else f"{name}.{number}" for number in itertools.count(1))
    return next(one for one in numbers if one not in present)
