"""One frame of a trajectory file through an OVITO pipeline with the modifier, to a finished frame of a work folder.

Called in worker processes, by the thread that imported OVITO.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
from ovito.data import DataCollection, Property
from ovito.modifiers import ExpressionSelectionModifier
from ovito.pipeline import FileSource, Pipeline

from ovito_mace_phase.classification.settings import Settings, to_parameters
from ovito_mace_phase.model.store import get_table
from ovito_mace_phase.phases import PhaseTable
from ovito_mace_phase.plugin.modifier import MacePhaseModifier
from ovito_mace_phase.plugin.remedies import as_option
from ovito_mace_phase.runtime.errors import InputError, OutputError
from ovito_mace_phase.runtime.hearing import tell

from .denoised_text import denoised_text
from .labelled_frame import write_labelled
from .opening import opened
from .record import HINT, LOGIT_WIDTH, FrameAtoms, FrameRecord, Kind, bin_confidence, bin_values
from .store import store_frame
from .summary import summarise
from .task import FrameTask, unreadable
from .under_way import shown_in

OF_TEMPLATES = {
    "output_rmsd": "RMSD",
    "output_site": "Site",
    "output_orientation": "Orientation",
    "output_deformation_gradient": "Elastic Deformation Gradient",
    "output_interatomic_distance": "Interatomic Distance",
}
"""Setting -> property."""
_opened: list[tuple[FrameTask, Pipeline, MacePhaseModifier, str]] = []


def count_frames(task: FrameTask) -> tuple[int, str]:
    """Return the number of frames of the file, and why they end early if they do; InputError if it cannot be read."""
    pipeline, _ = _open(task)
    return pipeline.num_frames, _opened[0][3]


def classify_frame(task: FrameTask, frame: int, order_parameters: tuple[str, ...] | None) -> FrameRecord:
    """Classify one frame and store it.

    Parameters
    ----------
    task : FrameTask
    frame : int
    order_parameters : tuple of str or None
        Replaces that of the settings: those of the first frame, so that all frames have the same columns.

    Raises
    ------
    InputError
        When OVITO cannot read the frame or it cannot be classified.
    OSError, OutputError
        When it cannot be stored.
    """
    pipeline, modifier = _open(task)
    if order_parameters is not None:
        modifier.order_parameters = ", ".join(order_parameters) or "none"
    with shown_in(task.folder, frame):
        data = _compute(pipeline, frame, task.file)
        tell("Writing the labelled atoms")
        record, atoms = _record(data, frame, get_table(task.settings.model), task.select)
        if task.file_format is None:
            store_frame(task.folder, record, atoms, None)
            return record
        with tempfile.TemporaryDirectory(prefix=".part", dir=task.folder) as scratch:
            part = Path(scratch) / "frame"
            with _readable_errors(f"cannot write frame {frame} to {task.folder}, {_free(task.folder)}", OutputError):
                written = _written(data, task.settings)
                source = cast("FileSource", pipeline.source).compute(frame)
                write_labelled(data, source, written, part, task.file_format)
            store_frame(task.folder, record, atoms, part)
    return record


def _free(folder: Path) -> str:
    return f"with {shutil.disk_usage(folder).free / 1e6:.1f} MB left on the disk"


def _open(task: FrameTask) -> tuple[Pipeline, MacePhaseModifier]:
    """Open the file once per process, as to scan it for frames takes time."""
    if not _opened or _opened[0][0] != task:
        _opened.clear()
        with _readable_errors(f"OVITO cannot read {task.file}"):
            pipeline, cut = opened(task)
        if task.select:
            pipeline.modifiers.append(ExpressionSelectionModifier(expression=task.select))
        modifier = MacePhaseModifier(**to_parameters(task.settings))
        pipeline.modifiers.append(modifier)
        _opened.append((task, pipeline, modifier, cut))
    return _opened[0][1:3]


def forget() -> None:
    """Close the file."""
    _opened.clear()


def _compute(pipeline: Pipeline, frame: int, file: Path) -> DataCollection:
    """Evaluate one frame; the modifier's notes are told once at the end instead of as warnings."""
    with _readable_errors(unreadable(frame, file)), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            return pipeline.compute(frame)
        except RuntimeError as error:
            _, selection, reason = str(error).partition("'Expression selection' reported:")
            if not selection:
                raise
            raise InputError(f"--select is no OVITO expression that fits this file: {reason.strip()}") from error


_ATOM_STYLE = (
    "name it with --atom-style, in Python atom_style: atomic, charge, full .. as in the LAMMPS input (or write "
    "'Atoms # charge' in the file)"
)


@contextmanager
def _readable_errors(what: str, kind: type[InputError | OutputError] = InputError) -> Iterator[None]:
    """OVITO reports unreadable files and failed writes as RuntimeError; one sentence of it is for the user."""
    try:
        yield
    except RuntimeError as error:
        if type(error) is not RuntimeError or error.__traceback__ is None or not _from_ovito(error):
            raise
        said = " ".join(str(error).split())
        remedy = f"; {_ATOM_STYLE}" if "atom style" in said else ""
        raise kind(f"{what}: {said}{remedy}") from error


def _from_ovito(error: RuntimeError) -> bool:
    """Whether the innermost Python frame is OVITO's or this file, and not the network's."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    return name.split(".")[0] == "ovito" or name == __name__


def _written(data: DataCollection, settings: Settings) -> list[str]:
    """Return the properties that were asked for, beside the phase and its confidence."""
    names = [name for name in data.particles.keys() if name.startswith(("OP_", "Distance_"))]  # noqa: SIM118 - not a dict
    if settings.verify != "off":
        names += [property_name for name, property_name in OF_TEMPLATES.items() if getattr(settings, name)]
    return [*names, "Phase Before Denoising", "Denoising Displacement"]


def _chosen(data: DataCollection) -> npt.NDArray[np.bool_]:
    """Which atoms were classified."""
    if not data.attributes["MacePhase.settings.only_selected"]:
        return np.ones(data.particles.count, dtype=bool)
    return np.asarray(data.particles.selection) != 0


def _kinds(data: DataCollection, phase: npt.NDArray[np.int32], table: PhaseTable) -> tuple[Kind, ...]:
    """Phases of the frame, most frequent first."""
    numbers = [kind.id for kind in cast("Property", data.particles["Phase"]).types]
    numbers.sort(key=lambda number: -int(np.count_nonzero(phase == number)))
    return tuple((number, table.by_id(number).key, table.by_id(number).color) for number in numbers)


def _record(data: DataCollection, frame: int, table: PhaseTable, select: str) -> tuple[FrameRecord, FrameAtoms]:
    """Gather what is kept of a frame."""
    chosen = _chosen(data)
    phase = np.array(data.particles["Phase"], dtype=np.int32)[chosen]
    confidence = np.asarray(data.particles["Confidence"])[chosen]
    kinds = _kinds(data, phase, table)
    present = set(np.unique(phase).tolist())
    shown = tuple(kind for kind in kinds if kind[0] in present)
    written = tuple(name.removeprefix("OP_") for name in data.particles.keys() if name.startswith("OP_"))  # noqa: SIM118
    timestep, time = (data.attributes.get(name) for name in ("Timestep", "Time"))
    record = FrameRecord(
        summary=summarise(
            phase,
            confidence,
            kinds,
            frame=frame,
            timestep=None if timestep is None else int(timestep),
            time=float(time) if isinstance(time, int | float) else None,
        ),
        confidence={key: bin_confidence(confidence[phase == number]) for number, key, _ in shown},
        order_parameters={
            key: bin_values(np.asarray(data.particles[f"OP_{key}"])[chosen], LOGIT_WIDTH) for key in written
        },
        notes=_notes(data, select),
        model=data.attributes["MacePhase.model"],
        denoised=denoised_text(data.attributes),
        other=_reasons(data),
    )
    atoms = FrameAtoms(
        positions=np.array(data.particles.positions, dtype=np.float32)[chosen],
        phase=phase,
        cell=None if data.cell is None else np.array(data.cell[...], dtype=np.float64),
        kinds=shown,
    )
    return record, atoms


def _notes(data: DataCollection, select: str) -> tuple[str, ...]:
    """Return the warnings of the frame, and which types were found to be alike; options go with what is selected."""
    species, asked = data.attributes["MacePhase.species"], data.attributes["MacePhase.settings.species"]
    expression, told = data.attributes["MacePhase.leave_out"], data.attributes["MacePhase.warnings"]
    if select and expression:
        told = told.replace(as_option(expression), as_option(f"({select}) && {expression}"))
    alike = ""
    if "," in species and asked == "auto" and "the network tells" not in told:
        alike = f"types that are alike count as one species: {species}"
    hints = [f"{HINT}{line}" for line in data.attributes["MacePhase.hints"].splitlines()]
    return tuple(filter(None, (*told.split("; "), alike, *hints)))


def _reasons(data: DataCollection) -> dict[str, int]:
    """Return how many of the classified atoms are Other for which reason, those that occur."""
    prefix = "MacePhase.other."
    found = {
        name.removeprefix(prefix): int(data.attributes[name]) for name in data.attributes if name.startswith(prefix)
    }
    return {name: count for name, count in found.items() if count and name != "not_selected"}
