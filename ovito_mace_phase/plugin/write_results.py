"""From a `PhaseResult` to OVITO: properties, colours, attributes and a bar chart. Main thread only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from ovito.data import AttributeDataObject, DataCollection, DataTable, ElementType, Property  # type: ignore[attr-defined]

from ovito_mace_phase.atoms.length_scale import TARGET_VOLUME
from ovito_mace_phase.classification.result import PhaseResult
from ovito_mace_phase.classification.stages import samples
from ovito_mace_phase.phases import Phase, PhaseTable
from ovito_mace_phase.phases.table import N_OF_PTM

from .put_property import put_property
from .read_atoms import AtomsIn
from .structure_list import StructureSettings

PREFIX = "MacePhase"
TABLE = "mace-phase"
STEPS_TABLE = "mace-denoising"


def write_result(
    data: DataCollection,
    atoms: AtomsIn,
    result: PhaseResult,
    *,
    table: PhaseTable,
    structures: StructureSettings,
) -> None:
    """Write the result of one frame; phases that the settings name are listed even when no atom has them.

    Parameters
    ----------
    data : DataCollection
    atoms : AtomsIn
        As read from `data`.
    result : PhaseResult
        Of the chosen atoms. The others get phase 0, confidence and margin 0, and NaN as order parameter.
    table : PhaseTable
        Names and colours of the phases.
    structures : StructureSettings
        Phases switched off, which are written as Other, and colours.
    """
    phase = to_all_atoms(result.phase, atoms, np.int32(0))
    off = [table.by_key(key).id for key in structures.disabled]
    if off:
        phase = np.where(np.isin(phase, off), np.int32(0), phase)
    settings = result.settings
    listed = (*(settings.phases or ()), *(settings.order_parameters or ()))
    shown = _shown_phases(phase, listed, table)
    particles = data.particles_
    typed = put_property(particles, "Phase", phase)
    set_types(typed, shown, structures)
    put_property(particles, "Confidence", to_all_atoms(result.confidence, atoms, np.float32(0)))
    if settings.order_parameters != () or not samples(settings):
        put_property(particles, "Phase Margin", to_all_atoms(result.margin, atoms, np.float32(0)))
    for key, logits in result.order_parameters.items():
        put_property(particles, f"OP_{key}", to_all_atoms(logits, atoms, np.float32(np.nan)))
    for key, lengths in result.distances.items():
        put_property(particles, f"Distance_{key}", to_all_atoms(lengths, atoms, np.float32(np.nan)))
    if settings.color_by_type:
        put_property(particles, "Color", _colors(phase, shown, structures))
    _write_counts(data, phase, shown, structures, table)
    data.attributes[f"{PREFIX}.classified_atoms"] = len(result.phase)


def write_denoised(
    data: DataCollection,
    atoms: AtomsIn,
    result: PhaseResult,
    *,
    table: PhaseTable,
    structures: StructureSettings,
) -> None:
    """Write denoised positions, displacements, the phases before and the table of steps, if there was denoising.

    Atoms that were not chosen stay where they are. With `apply_to_positions` the particles are moved.
    """
    denoised, before = result.denoised, result.before
    if denoised is None or before is None:
        return
    particles = data.particles_
    displacement = np.zeros((atoms.n_atoms, 3))
    displacement[slice(None) if atoms.chosen is None else atoms.chosen] = denoised.displacement
    places = np.asarray(particles.positions, dtype=np.float64) + displacement
    put_property(particles, "Denoised Position", places, components=["X", "Y", "Z"])
    put_property(particles, "Denoising Displacement", displacement, components=["X", "Y", "Z"])
    phase = to_all_atoms(before.phase, atoms, np.int32(0))
    set_types(put_property(particles, "Phase Before Denoising", phase), _shown_phases(phase, (), table), structures)
    if result.settings.apply_to_positions:
        particles.positions_[:] = places
    steps = denoised.steps
    curve = new_table(data, STEPS_TABLE, "Denoising", DataTable.PlotMode.Line)
    curve.x = curve.create_property("Step", data=np.array([step.number for step in steps], dtype=np.int64))
    curve.y = curve.create_property("logP per atom", data=np.array([step.log_density for step in steps]))
    curve.create_property("Rms step", data=np.array([step.rms for step in steps]))
    curve.create_property("Step size", data=np.array([step.size for step in steps]))
    rms = float(np.sqrt((denoised.displacement**2).sum(axis=1).mean())) if len(denoised.displacement) else 0.0
    data.attributes[f"{PREFIX}.denoising.steps"] = max(0, len(steps) - 1)
    data.attributes[f"{PREFIX}.denoising.converged"] = int(denoised.converged)
    data.attributes[f"{PREFIX}.denoising.rms_displacement"] = rms
    factor = denoised.network_frame.factor
    data.attributes[f"{PREFIX}.denoising.last_step"] = steps[-1].rms if steps else 0.0
    data.attributes[f"{PREFIX}.denoising.length"] = TARGET_VOLUME ** (1.0 / 3.0) / factor


def write_settings(
    data: DataCollection,
    result: PhaseResult,
    shown: Mapping[str, str | float | int],
    warnings: Sequence[str],
    leave_out: str = "",
    hints: Sequence[str] = (),
) -> None:
    """Write global attributes: name of the model, what it ran on, species, settings as in the panel, warnings.

    `leave_out` is the selection without the atoms that lie on others.
    """
    data.attributes[f"{PREFIX}.model"] = str(result.card.get("name", ""))
    data.attributes[f"{PREFIX}.device"] = result.device
    if result.settings.order_parameters == () and samples(result.settings):
        data.attributes[f"{PREFIX}.sampled"] = int(result.sampled)
    data.attributes[f"{PREFIX}.species"] = result.species
    for name, value in shown.items():
        data.attributes[f"{PREFIX}.settings.{name}"] = value
    data.attributes[f"{PREFIX}.warnings"] = "; ".join(warnings)
    data.attributes[f"{PREFIX}.leave_out"] = leave_out
    data.attributes[f"{PREFIX}.hints"] = "\n".join(hints)


def to_all_atoms(values: npt.NDArray, atoms: AtomsIn, rest: np.generic) -> npt.NDArray:
    """Values of the chosen atoms on all atoms."""
    if atoms.chosen is None:
        return values
    out = np.full((atoms.n_atoms, *values.shape[1:]), rest, dtype=values.dtype)
    out[atoms.chosen] = values
    return out


def _shown_phases(phase: npt.NDArray[np.int32], listed: Sequence[str], table: PhaseTable) -> list[Phase]:
    """Other, the phases present and those the user named, by id."""
    shown = {table.by_id(int(number)).id: table.by_id(int(number)) for number in (0, *np.unique(phase))}
    shown.update({table.by_key(key).id: table.by_key(key) for key in listed})
    return [shown[number] for number in sorted(shown)]


def set_types(
    typed: Property, shown: Sequence[Phase], structures: StructureSettings, *, names_of_ptm: bool = False
) -> None:
    """Replace the types of a property, which keeps those of an earlier modifier otherwise.

    Names are the keys; with `names_of_ptm` those of its lattices are "Other", "Simple cubic" and so on.
    """
    typed.types.clear()
    for phase in shown:
        color, enabled = structures.color(phase), structures.enabled(phase.key)
        name = phase.name if names_of_ptm and phase.id < N_OF_PTM else phase.key
        typed.types.append(ElementType(id=phase.id, name=name, color=color, enabled=enabled))


def _colors(
    phase: npt.NDArray[np.int32], shown: Sequence[Phase], structures: StructureSettings
) -> npt.NDArray[np.float64]:
    colors = np.array([structures.color(entry) for entry in shown], dtype=np.float64)
    return colors[np.searchsorted([entry.id for entry in shown], phase)]


def _write_counts(
    data: DataCollection,
    phase: npt.NDArray[np.int32],
    shown: Sequence[Phase],
    structures: StructureSettings,
    table: PhaseTable,
) -> None:
    """Write `counts` and `fractions` of all atoms, unselected ones being Other as in PTM, and the bar chart.

    Those of PTM's phases and of phases with settings of their own are always there: a series over frames needs them.
    """
    ids = np.array([entry.id for entry in shown], dtype=np.int32)
    counts = np.bincount(np.searchsorted(ids, phase), minlength=len(ids)).astype(np.int64)
    always = (*(table.by_id(number).key for number in range(N_OF_PTM)), *structures.changes)
    found: dict[str, int | float] = {
        f"{PREFIX}.{what}.{key}": zero for key in always for what, zero in (("counts", 0), ("fractions", 0.0))
    }
    for entry, count in zip(shown, counts, strict=True):
        found[f"{PREFIX}.counts.{entry.key}"] = int(count)
        found[f"{PREFIX}.fractions.{entry.key}"] = float(count / len(phase)) if len(phase) else 0.0
    set_attributes(data, found)
    chart = new_table(data, TABLE, "Phase counts", DataTable.PlotMode.BarChart)
    chart.x = chart.create_property("Phase", data=ids)
    set_types(chart.x, shown, structures)
    chart.y = chart.create_property("Count", data=counts, dtype=np.int64)


def set_attributes(data: DataCollection, values: Mapping[str, int | float]) -> None:
    """Set attributes; new ones at once, since OVITO looks through all of them for each that is set by name."""
    present = set(data.attributes)
    for name, value in values.items():
        if name in present:
            data.attributes[name] = value
        else:
            data.objects.append(AttributeDataObject(identifier=name, value=value))


def new_table(data: DataCollection, identifier: str, title: str, plot_mode: DataTable.PlotMode) -> DataTable:
    """Return an empty table in place of that of another modifier of this kind, which has rows of its own number."""
    if identifier in data.tables:
        data.objects.remove(data.tables[identifier])
    return data.tables.create(identifier=identifier, title=title, plot_mode=plot_mode)
