"""From a `PhaseResult` to OVITO: typed property, scores, colours, attributes and a bar chart. Main thread only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from ovito.data import DataCollection, DataTable, ElementType, Property

from .classify import PhaseResult
from .ovito_input import AtomsIn
from .phases import Phase, phase_table

PREFIX = "MacePhase"
TABLE = "mace-phase"
AUTO_FRACTION = 0.01
AUTO_MOST = 8


def type_name(phase: Phase) -> str:
    """Return the phase's name in OVITO: PTM's own for PTM's lattices, the key for the others."""
    return phase.name if phase.id < 100 else phase.key


def write_result(
    data: DataCollection,
    atoms: AtomsIn,
    result: PhaseResult,
    *,
    listed: Sequence[str],
    order_parameters: Sequence[str],
    color_by_type: bool,
) -> None:
    """Write the result of one frame.

    Parameters
    ----------
    data : DataCollection
    atoms : AtomsIn
        As read from `data`.
    result : PhaseResult
        Of the chosen atoms. The others get phase 0, confidence and margin 0, and NaN as order parameter.
    listed : sequence of str
        Keys of phases to list even when no atom has them.
    order_parameters : sequence of str
        Keys of the phases whose order parameter is written.
    color_by_type : bool
        Write the `Color` of every atom.
    """
    phase = _spread(result.phase.astype(np.int32), atoms, np.int32(0))
    shown = _shown_phases(phase, listed)
    particles = data.particles_
    typed = particles.create_property("Phase", data=phase)
    _set_types(typed, shown)
    particles.create_property("Confidence", data=_spread(result.confidence.astype(np.float32), atoms, np.float32(0)))
    particles.create_property("Phase Margin", data=_spread(result.margin.astype(np.float32), atoms, np.float32(0)))
    for key in order_parameters:
        values = np.asarray(result.order_parameter(key), dtype=np.float32)
        particles.create_property(f"OP_{key}", data=_spread(values, atoms, np.float32(np.nan)))
    if color_by_type:
        particles.create_property("Color", data=_colors(phase, shown))
    _write_counts(data, phase, shown, typed)
    data.attributes[f"{PREFIX}.classified_atoms"] = len(result.phase)


def write_settings(data: DataCollection, settings: Mapping[str, str | float | int], warnings: Sequence[str]) -> None:
    """Write the settings used and the warnings as global attributes."""
    for name, value in settings.items():
        data.attributes[f"{PREFIX}.{name}"] = value
    data.attributes[f"{PREFIX}.warnings"] = "; ".join(warnings)


def frequent_phases(result: PhaseResult) -> tuple[str, ...]:
    """Return the keys of the phases of at least 1 % of the atoms, most frequent first, at most 8, without Other."""
    if not len(result.phase):
        return ()
    fractions = {key: value for key, value in result.fractions().items() if key != "OTHER" and value >= AUTO_FRACTION}
    available = {phase.key for phase in result.phases}
    ordered = sorted(fractions, key=lambda key: -fractions[key])
    return tuple(key for key in ordered if key in available)[:AUTO_MOST]


def _spread(values: npt.NDArray, atoms: AtomsIn, rest: np.generic) -> npt.NDArray:
    """Values of the chosen atoms on all atoms."""
    if atoms.chosen is None:
        return values
    out = np.full(atoms.n_atoms, rest, dtype=values.dtype)
    out[atoms.chosen] = values
    return out


def _shown_phases(phase: npt.NDArray[np.int32], listed: Sequence[str]) -> list[Phase]:
    """Other, the phases present and those the user named, by id."""
    table = phase_table()
    shown = {table.by_id(int(number)).id: table.by_id(int(number)) for number in (0, *np.unique(phase))}
    shown.update({table.by_key(key).id: table.by_key(key) for key in listed})
    return [shown[number] for number in sorted(shown)]


def _set_types(typed: Property, shown: Sequence[Phase]) -> None:
    """Replace the types of a property, which keeps those of an earlier modifier otherwise."""
    typed.types.clear()
    for phase in shown:
        typed.types.append(ElementType(id=phase.id, name=type_name(phase), color=phase.color))


def _colors(phase: npt.NDArray[np.int32], shown: Sequence[Phase]) -> npt.NDArray[np.float64]:
    colors = np.array([entry.color for entry in shown], dtype=np.float64)
    return colors[np.searchsorted([entry.id for entry in shown], phase)]


def _write_counts(data: DataCollection, phase: npt.NDArray[np.int32], shown: Sequence[Phase], typed: Property) -> None:
    """Write `counts` and `fractions` of all atoms, unselected ones being Other as in PTM, and the bar chart."""
    ids = np.array([entry.id for entry in shown], dtype=np.int32)
    counts = np.bincount(np.searchsorted(ids, phase), minlength=len(ids)).astype(np.int64)
    for entry, count in zip(shown, counts, strict=True):
        data.attributes[f"{PREFIX}.counts.{entry.key}"] = int(count)
        data.attributes[f"{PREFIX}.fractions.{entry.key}"] = float(count / len(phase)) if len(phase) else 0.0
    table = data.tables.create(identifier=TABLE, title="Phase counts", plot_mode=DataTable.PlotMode.BarChart)
    table.x = table.create_property("Phase", data=ids)
    _set_types(table.x, shown)
    table.y = table.create_property("Count", data=counts)
    table.axis_label_x = typed.name
