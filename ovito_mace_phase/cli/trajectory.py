"""One trajectory file through an OVITO pipeline with the modifier, frame by frame, to a labelled trajectory."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from ovito.data import DataCollection, Property
from ovito.io import export_file, import_file
from ovito.modifiers import ExpressionSelectionModifier
from ovito.pipeline import Pipeline
from tqdm import tqdm

from ovito_mace_phase import MacePhaseModifier
from ovito_mace_phase.errors import InputError, MacePhaseError
from ovito_mace_phase.model_store import get_table
from ovito_mace_phase.phases import PhaseTable
from ovito_mace_phase.summary import FrameSummary, summarise

from .files import finished_file, parse_frames

_FORMATS = {"xyz": ("xyz", ".xyz"), "dump": ("lammps/dump", ".dump")}
Kind = tuple[int, str, tuple[float, float, float]]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line asks for; `settings` are the modifier's parameters, `select` an OVITO expression or ""."""

    settings: dict[str, Any]
    select: str
    frames: str
    folder: Path
    file_format: str
    picture: bool


@dataclass(frozen=True, kw_only=True)
class LastFrame:
    """The atoms of the last frame, for the picture."""

    positions: npt.NDArray[np.float64]
    phase: npt.NDArray[np.int32]
    cell: npt.NDArray[np.float64] | None
    kinds: tuple[Kind, ...]


@dataclass(frozen=True, kw_only=True)
class Classified:
    """What came out of one file; `fault` is why it ended before the last frame asked for, as in a file cut short."""

    frames: list[FrameSummary]
    trajectory: Path
    last: LastFrame
    notes: tuple[str, ...]
    fault: str
    text: str


def classify_file(file: Path, stem: str, options: Options) -> Classified:
    """Classify the frames of one file and write the labelled trajectory.

    A fault in a later frame ends the work; the frames before it are kept.

    Raises
    ------
    InputError
        When OVITO cannot read the file, it has no atoms, or the frames do not exist.
    """
    pipeline = _open(file)
    if options.select:
        pipeline.modifiers.append(ExpressionSelectionModifier(expression=options.select))
    modifier = MacePhaseModifier(only_selected=bool(options.select), **options.settings)
    pipeline.modifiers.append(modifier)
    frames = parse_frames(options.frames, pipeline.num_frames)
    table = get_table(modifier.model_file)
    target = _target(file, stem, options)
    kind = _FORMATS[options.file_format][0]
    summaries: list[FrameSummary] = []
    notes: dict[str, None] = {}
    last: DataCollection | None = None
    fault = ""
    with (
        finished_file(target) as temporary,
        temporary.open("wb") as stream,
        tempfile.TemporaryDirectory(dir=options.folder) as scratch,
    ):
        for index in tqdm(frames, desc=stem, unit="frame"):
            try:
                last = _compute(pipeline, index, file)
            except MacePhaseError as error:
                if last is None:
                    raise
                fault = str(error) if f"frame {index} " in str(error) else f"frame {index}: {error}"
                break
            summaries.append(_summary(last, index, table))
            notes.update(dict.fromkeys(filter(None, last.attributes["MacePhase.warnings"].split("; "))))
            if index == frames[0]:
                _keep_order_parameters(modifier, last)
            part = Path(scratch) / "frame"
            with _readable_errors(f"cannot write frame {index} to {target}, {_free(options.folder)}"):
                export_file(last, str(part), kind, columns=_columns(last))
            with part.open("rb") as source:
                shutil.copyfileobj(source, stream)
    if last is None:
        raise InputError(f"{file} has no frames")
    return Classified(
        frames=summaries,
        trajectory=target,
        last=_last(last, table),
        notes=tuple(notes),
        fault=fault,
        text=_text(summaries, pipeline.num_frames, last),
    )


def _free(folder: Path) -> str:
    return f"with {shutil.disk_usage(folder).free / 1e6:.1f} MB left on the disk"


def _open(file: Path) -> Pipeline:
    with _readable_errors(f"OVITO cannot read {file}"):
        return import_file(str(file))


def _compute(pipeline: Pipeline, index: int, file: Path) -> DataCollection:
    """Evaluate one frame; the modifier's notes are printed once at the end instead of as warnings."""
    with _readable_errors(f"OVITO cannot read frame {index} of {file}"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            return pipeline.compute(index)
        except RuntimeError as error:
            _, selection, reason = str(error).partition("'Expression selection' reported:")
            if not selection:
                raise
            raise InputError(f"--select is no OVITO expression that fits this file: {reason.strip()}") from error


@contextmanager
def _readable_errors(what: str) -> Iterator[None]:
    """OVITO reports unreadable files and failed writes as RuntimeError; one sentence of it is for the user."""
    try:
        yield
    except RuntimeError as error:
        if type(error) is not RuntimeError or error.__traceback__ is None or not _from_ovito(error):
            raise
        raise InputError(f"{what}: {' '.join(str(error).split())}") from error


def _from_ovito(error: RuntimeError) -> bool:
    """Whether the innermost Python frame is OVITO's or this file, and not the network's."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    return name.split(".")[0] == "ovito" or name == __name__


def _target(file: Path, stem: str, options: Options) -> Path:
    target = options.folder / f"{stem}{_FORMATS[options.file_format][1]}"
    if target.exists() and target.resolve() == file.resolve():
        target = target.with_name(f"{stem}.labelled{target.suffix}")
    return target


def _keep_order_parameters(modifier: MacePhaseModifier, data: DataCollection) -> None:
    """Write the same columns in every frame: those of the first."""
    keys = [name.removeprefix("OP_") for name in data.particles.keys() if name.startswith("OP_")]  # noqa: SIM118 - not a dict
    modifier.order_parameters = ",".join(keys) or "none"


def _columns(data: DataCollection) -> list[str]:
    first = [name for name in ("Particle Identifier", "Particle Type") if name in data.particles]
    last = [name for name in data.particles.keys() if name.startswith(("OP_", "Distance_"))]  # noqa: SIM118
    if "Phase Before Denoising" in data.particles:
        last += ["Phase Before Denoising", *(f"Denoising Displacement.{axis}" for axis in "XYZ")]
    return [*first, "Position.X", "Position.Y", "Position.Z", "Phase", "Confidence", "Phase Margin", *last]


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


def _summary(data: DataCollection, index: int, table: PhaseTable) -> FrameSummary:
    chosen = _chosen(data)
    phase, confidence = np.asarray(data.particles["Phase"])[chosen], np.asarray(data.particles["Confidence"])[chosen]
    timestep = data.attributes.get("Timestep")
    return summarise(
        phase, confidence, _kinds(data, phase, table), frame=index, timestep=None if timestep is None else int(timestep)
    )


def _last(data: DataCollection, table: PhaseTable) -> LastFrame:
    chosen = _chosen(data)
    phase = np.array(data.particles["Phase"], dtype=np.int32)[chosen]
    present = set(np.unique(phase).tolist())
    return LastFrame(
        positions=np.array(data.particles.positions, dtype=np.float64)[chosen],
        phase=phase,
        cell=None if data.cell is None else np.array(data.cell[...], dtype=np.float64),
        kinds=tuple(kind for kind in _kinds(data, phase, table) if kind[0] in present),
    )


def _text(frames: list[FrameSummary], n_frames: int, data: DataCollection) -> str:
    atoms = {summary.n_atoms for summary in frames}
    count = _number_of(atoms.pop(), "atom") if len(atoms) == 1 else f"{min(atoms)} to {max(atoms)} atoms"
    which = f"frame {frames[0].frame} of {n_frames}" if len(frames) == 1 else f"{len(frames)} of {n_frames} frames"
    return f"{count}, {which}, model {data.attributes['MacePhase.model']}{_denoised(data)}"


def _denoised(data: DataCollection) -> str:
    """Tell what denoising did to the last frame."""
    if "MacePhase.denoising.steps" not in data.attributes:
        return ""
    steps, rms = (data.attributes[f"MacePhase.denoising.{name}"] for name in ("steps", "rms_displacement"))
    rest = "at rest" if data.attributes["MacePhase.denoising.converged"] else "not at rest yet"
    return f", denoised in {_number_of(steps, 'step')}: moved by {rms:.3g} rms, {rest}"


def _number_of(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
