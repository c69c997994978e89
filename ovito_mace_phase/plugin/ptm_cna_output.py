"""Output in the form of PTM and CNA: `Structure Type`, their attributes, their table of counts.

ids 0 to 8 (PTM) or 0 to 4 (CNA) are theirs, with their names and colours; further phases keep their own ids, or become
Other. Source: what `PolyhedralTemplateMatchingModifier` and `CommonNeighborAnalysisModifier` of OVITO 3.17 write.
"""

from __future__ import annotations

import itertools
from collections.abc import Container

import numpy as np
import numpy.typing as npt
from ovito.data import AttributeDataObject, DataCollection, DataTable  # type: ignore[attr-defined]

from ovito_mace_phase.classification.result import PhaseResult
from ovito_mace_phase.phases import Phase, PhaseTable

from .structure_list import StructureSettings
from .write_geometry import write_rmsd_table
from .write_results import set_types

PREFIXES = {"PTM": "PolyhedralTemplateMatching", "CNA": "CommonNeighborAnalysis"}
N_TYPES = {"PTM": 9, "CNA": 5}
TABLE = "structures"
RMSD_TABLE = "ptm-rmsd"


def write_compatible(
    data: DataCollection,
    result: PhaseResult,
    *,
    table: PhaseTable,
    structures: StructureSettings,
) -> None:
    """Write the output of PTM or CNA from the property `Phase` of `data`.

    Parameters
    ----------
    data : DataCollection
        With the properties `Phase` and, if `color_by_type`, `Color`.
    result : PhaseResult
        `compatibility` of its settings, not "none", says what to write; with "PTM" also the histogram of the rmsd,
        where the labels were verified. Without `further_phases` those that the other modifier lacks become Other, and
        so they do with `Correspondences` of a PTM upstream: OVITO 3.17 ends with a segmentation fault if
        GrainSegmentation meets an id above 8. With `color_by_type` the atoms are then coloured anew.
    table : PhaseTable
    structures : StructureSettings
        Phases switched off, and colours.
    """
    settings = result.settings
    mode = settings.compatibility
    phase = np.array(data.particles["Phase"], dtype=np.int32)
    known = N_TYPES[mode]
    further_phases = settings.further_phases and "Correspondences" not in data.particles
    if not further_phases:
        phase[phase >= known] = 0
    own = [table.by_id(number) for number in range(known)]
    shown = own + [table.by_id(int(number)) for number in np.unique(phase) if number >= known]
    typed = data.particles_.create_property("Structure Type", data=phase)
    set_types(typed, shown, structures, names_of_ptm=True)
    if settings.color_by_type and not further_phases:
        colors = np.array([structures.color(entry) for entry in shown])
        data.particles_.create_property("Color", data=colors[phase])
    ids = np.array([entry.id for entry in shown], dtype=np.int32)
    counts = np.bincount(np.searchsorted(ids, phase), minlength=len(ids)).astype(np.int64)
    present = set(data.attributes)
    found = {phase.key: int(count) for phase, count in zip(shown, counts, strict=True)}
    if further_phases:  # those that are named, 0 too
        found |= dict.fromkeys({*(settings.phases or ()), *(settings.order_parameters or ())} - set(found), 0)
    for key, count in found.items():
        name = numbered(f"{PREFIXES[mode]}.counts.{key}", present)
        data.objects.append(AttributeDataObject(identifier=name, value=count))
    _write_table(data, shown, ids, counts, structures)
    if mode == "PTM" and result.geometry is not None:
        write_rmsd_table(data, numbered(RMSD_TABLE, data.tables), result.rmsd)


def _write_table(
    data: DataCollection,
    shown: list[Phase],
    ids: npt.NDArray[np.int32],
    counts: npt.NDArray[np.int64],
    structures: StructureSettings,
) -> None:
    """Write the bar chart."""
    name = numbered(TABLE, data.tables)
    chart = data.tables.create(identifier=name, title="Structure counts", plot_mode=DataTable.PlotMode.BarChart)
    chart.x = chart.create_property("Structure type", data=ids)
    enabled = [phase for phase in shown if structures.enabled(phase.key)]
    set_types(chart.x, enabled, structures, names_of_ptm=True)
    chart.y = chart.create_property("Count", data=counts, dtype=np.int64)


def numbered(name: str, present: Container[str]) -> str:
    """Return the name, or where there is one already the next of `name.2`, `name.3` ..., as OVITO numbers them."""
    numbers = (name if number == 1 else f"{name}.{number}" for number in itertools.count(1))
    return next(one for one in numbers if one not in present)
