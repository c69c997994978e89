"""What templates say of the atoms, to OVITO: PTM's properties for any phase, sites, and why atoms are Other.

    RMSD                          float64            Interatomic Distance  float64
    Orientation                   float32 x 4        x, y, z, w
    Elastic Deformation Gradient  float64 x 9        columns of F one after the other, as PTM writes them
    Site                          typed              see `phases.site_names`

Atoms that nothing fits have zeros, as with PTM; those whose fit was rejected keep its numbers, as with PTM. Main thread
only.
"""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt
from ovito.data import DataCollection, DataTable, ElementType  # type: ignore[attr-defined]

from ovito_mace_phase.classification.geometry.verdict import Reason
from ovito_mace_phase.classification.readout.labels import OTHER_ID
from ovito_mace_phase.classification.result import PhaseResult
from ovito_mace_phase.phases import PhaseTable
from ovito_mace_phase.phases.site_names import SITES, site_id, site_names

from .put_property import put_property
from .read_atoms import AtomsIn
from .structure_list import Color, StructureSettings
from .write_results import PREFIX, new_table, set_attributes, to_all_atoms

REASONS_TABLE = "mace-other"
RMSD_TABLE = "mace-rmsd"
NO_SITE = "none"
N_BINS = 100
_BEYOND = 1.01  # upper end of PTM's histogram, times the largest rmsd
_GOLDEN = (5**0.5 - 1) / 2  # of a turn of the hue from site to site: no two are alike
_COLORFUL, _BRIGHT = 0.55, 0.75  # least saturation and value
_GREY = (0.95, 0.95, 0.95)
_AFTER = ("close", "switched_off", "not_selected")


def write_geometry(
    data: DataCollection, atoms: AtomsIn, result: PhaseResult, *, table: PhaseTable, structures: StructureSettings
) -> None:
    """Write the properties that the settings ask for, and the histogram of the rmsd.

    Parameters
    ----------
    data : DataCollection
    atoms : AtomsIn
    result : PhaseResult
        Of the chosen atoms; the others get zeros. Nothing is written where its labels were not verified.
    table : PhaseTable
    structures : StructureSettings
        Atoms of phases switched off have no site.
    """
    if result.geometry is None:
        return
    settings, particles = result.settings, data.particles_
    if settings.output_rmsd:
        put_property(particles, "RMSD", to_all_atoms(_zeros(result.rmsd), atoms, np.float64(0)))
        write_rmsd_table(data, RMSD_TABLE, result.rmsd)
    if settings.output_interatomic_distance:
        lengths = to_all_atoms(_zeros(result.interatomic_distance), atoms, np.float64(0))
        put_property(particles, "Interatomic Distance", lengths)
    if settings.output_orientation:
        turns = _zeros(result.orientation).astype(np.float32)
        put_property(particles, "Orientation", to_all_atoms(turns, atoms, np.float32(0)))
    if settings.output_deformation_gradient:
        columns = np.swapaxes(_zeros(result.deformation_gradient), 1, 2).reshape(-1, 9)
        put_property(
            particles, "Elastic Deformation Gradient", to_all_atoms(columns, atoms, np.float64(0)), dtype=np.float64
        )
    if settings.output_site:
        _write_sites(data, atoms, result, table, structures)


def write_reasons(
    data: DataCollection, atoms: AtomsIn, result: PhaseResult, *, table: PhaseTable, structures: StructureSettings
) -> None:
    """Write how many atoms are Other for which reason, which adds up to `counts.OTHER`, as attributes and bar chart.

    And `unverified`: atoms whose phase was not held against a template; parameters as in `write_geometry`.
    """
    off = np.isin(result.phase, [table.by_key(key).id for key in structures.disabled])
    other = result.phase == OTHER_ID
    counts = {
        reason.name.lower(): int(np.count_nonzero(other & (result.reason == reason)))
        for reason in Reason
        if reason != Reason.NONE
    }
    left = atoms.n_atoms - len(result)
    counts |= dict(zip(_AFTER, (int(np.sum(other)) - sum(counts.values()), int(np.sum(off)), left), strict=True))
    unverified = ~other & ~off & ((result.reason == Reason.NO_TEMPLATE) | (result.geometry is None))
    set_attributes(data, {f"{PREFIX}.other.{name}": count for name, count in counts.items()})
    set_attributes(data, {f"{PREFIX}.unverified": int(np.count_nonzero(unverified))})
    chart = new_table(data, REASONS_TABLE, "Atoms that are Other", DataTable.PlotMode.BarChart)
    numbers = np.arange(1, len(counts) + 1, dtype=np.int32)
    chart.x = chart.create_property("Reason", data=numbers)
    for number, name in zip(numbers.tolist(), counts, strict=True):
        chart.x.types.append(ElementType(id=number, name=name.replace("_", " "), color=_GREY))
    chart.y = chart.create_property("Count", data=np.array(list(counts.values()), dtype=np.int64), dtype=np.int64)


def write_rmsd_table(data: DataCollection, identifier: str, rmsd: npt.NDArray[np.float64]) -> None:
    """Write the histogram of the rmsd of all atoms that something fits, as PTM does."""
    known = rmsd[np.isfinite(rmsd)]
    end = _BEYOND * float(known.max(initial=0.0))
    counts = np.histogram(known, bins=N_BINS, range=(0.0, end or 1.0))[0].astype(np.int64)
    chart = new_table(data, identifier, "RMSD distribution", DataTable.PlotMode.Line)
    chart.y = chart.create_property("Count", data=counts, dtype=np.int64)
    chart.interval = (0.0, end)
    chart.axis_label_x = "RMSD"


def _write_sites(
    data: DataCollection, atoms: AtomsIn, result: PhaseResult, table: PhaseTable, structures: StructureSettings
) -> None:
    """Write the sites, with a type for each that occurs."""
    shown = ~np.isin(result.phase, [table.by_key(key).id for key in structures.disabled])
    has = (result.site >= 0) & (result.phase != OTHER_ID) & shown
    numbers = np.where(has, site_id(result.phase, result.site), 0).astype(np.int32)
    typed = put_property(data.particles_, "Site", to_all_atoms(numbers, atoms, np.int32(0)))
    typed.types.clear()
    typed.types.append(ElementType(id=0, name=NO_SITE, color=_GREY))
    for number in np.unique(numbers[has]).tolist():
        phase, site = table.by_id(number // SITES), number % SITES - 1
        color = site_color(structures.color(phase), site)
        typed.types.append(ElementType(id=number, name=site_names(phase)[site], color=color))


def site_color(phase: Color, site: int) -> Color:
    """Return the colour of a site: that of its phase for the first one, others by turns of the hue."""
    if site == 0:
        return phase
    hue, saturation, value = colorsys.rgb_to_hsv(*phase)
    return colorsys.hsv_to_rgb((hue + site * _GOLDEN) % 1.0, max(saturation, _COLORFUL), max(value, _BRIGHT))


def _zeros(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.nan_to_num(values, nan=0.0)
