"""Trajectory files: the entrance for many frames, from Python and the command line.

file, settings -> `FrameTask` -> `scheduler` (workers, work folder) -> labelled trajectory, `TrajectoryResult`

This module is read by every worker before OVITO is, and so imports OVITO within functions.
"""

from __future__ import annotations

import dataclasses
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovito_mace_phase.classification.settings import PARAMETERS, Settings, from_parameters
from ovito_mace_phase.model.registry import model_path
from ovito_mace_phase.model.store import get_table
from ovito_mace_phase.plugin.foreign_parameters import check_parameter
from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.runtime.files import check_input, finished_file, input_stems, output_folder, parse_frames
from ovito_mace_phase.runtime.threads import n_cores

from .checksum import checksum, input_files
from .live import LiveTable
from .origin import origin_of
from .record import FrameAtoms, FrameRecord
from .remote import FrameCall, check_thread
from .result import TrajectoryResult, gather
from .scheduler import run_frames
from .store import WorkFolder
from .task import FileFormat, FrameTask, unreadable

if TYPE_CHECKING:
    from .pools import Pool

_SUFFIXES = {"xyz": ".xyz", "dump": ".dump"}


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Which processes do the work.

    Attributes
    ----------
    jobs : int
        Worker processes on this machine, at most one for each core; 1: none, the frames are done here.
    scheduler : str
        Address of a Dask scheduler whose workers take the frames, or its scheduler file; "": none.
    threads : int
        Threads of the network, all processes of this machine together; 0: all cores. With a scheduler, of each worker;
        0: as many as Dask gave it.
    memory : str or None
        Budget of each process for features.
    """

    jobs: int = 1
    scheduler: str = ""
    threads: int = 0
    memory: str | None = None

    def pool(self, device: str) -> Pool:
        """Return the pool; raises InputError for a number of jobs that is none."""
        from .pools import HerePool, ProcessPool

        if self.jobs < 1:
            raise InputError(f"jobs must be at least 1, not {self.jobs}")
        jobs = min(self.jobs, n_cores())
        options: dict[str, Any] = {"threads": self.threads, "memory": self.memory, "device": device}
        if self.scheduler:
            if self.jobs > 1:
                raise InputError(
                    f"jobs = {self.jobs} is for this machine alone; a Dask scheduler has its own number of workers"
                )
            from .dask_pool import DaskPool

            return DaskPool(self.scheduler, **options)
        if jobs < self.jobs:
            warnings.warn(f"{self.jobs} jobs were asked for, {jobs} run: one for each core", UserWarning, stacklevel=2)
        if jobs > 1:
            return ProcessPool(jobs, **options)
        return HerePool(threads=self.threads, memory=self.memory)


class TrajectoryRun:
    """One trajectory file on its way; use it in a `with` statement.

    `classify` does the frames and writes the labelled trajectory; `close` then throws the work folder away. When the
    run ends otherwise, the finished frames stay for the next run with the same settings.

    Parameters
    ----------
    file : Path
    output : Path
        Folder of the results.
    stem : str
        Name of the results; the work folder is `<stem>.work`.
    frames : str
        Selection as in `files.parse_frames`.
    select : str
    settings : Settings
        `only_selected` follows from `select`.
    file_format : 'xyz', 'dump' or None
    workers : Workers
    restart : bool
        Throw away finished frames of an earlier run.
    force : bool
        Replace the results of another run.
    reader : tuple of (name, value)
        See `FrameTask`.

    Attributes
    ----------
    table : Path
        CSV file of the frames, `<stem>.phases.csv`.
    """

    def __init__(  # noqa: PLR0913 - as the command has them
        self,
        file: Path,
        *,
        output: Path,
        stem: str,
        frames: str = ":",
        select: str = "",
        settings: Settings | None = None,
        file_format: FileFormat | None = "xyz",
        workers: Workers | None = None,
        restart: bool = False,
        force: bool = False,
        reader: tuple[tuple[str, Any], ...] = (),
    ) -> None:
        if file_format is not None and file_format not in _SUFFIXES:
            raise InputError(f"file_format must be xyz, dump or None, not {file_format!r}")
        self._workers = workers or Workers()
        self._task = FrameTask(
            file=file.absolute(),
            select=select,
            settings=dataclasses.replace(settings or Settings(), only_selected=bool(select)),
            folder=(output / f"{stem}.work").absolute(),
            file_format=file_format,
            reader=reader,
        )
        self._output = output
        self._stem = stem
        self._selection = frames
        self._restart = restart
        self._force = force
        self.table = output / f"{stem}.phases.csv"
        self.work: WorkFolder
        self.frames: Sequence[int] = ()
        self.n_frames_in_file = 0
        self._cut = ""

    def __enter__(self) -> TrajectoryRun:
        check_thread()
        self._check_results()
        from .frame_worker import count_frames

        self.n_frames_in_file, self._cut = count_frames(self._task)
        self.frames = parse_frames(self._selection, self.n_frames_in_file)
        self.work = WorkFolder(self._task.folder, self._all_settings(), restart=self._restart)
        self.work.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        from .frame_worker import forget

        forget()
        if error is not None and (kept := len(self.work.done())):
            error.add_note(
                f"{kept} of {len(self.frames)} frames are finished and kept in {self._output / self.work.path.name}; "
                "repeat the command to go on with the others"
            )
        self.work.__exit__(kind, error, trace)

    def classify(
        self, table: Path | None = None, progress: Callable[[FrameRecord], None] | None = None
    ) -> TrajectoryResult:
        """Do all frames that are not finished, and write the labelled trajectory.

        Parameters
        ----------
        table : Path, optional
            CSV file of the frames, which grows with them.
        progress : callable, optional
            Called with each frame, those of an earlier run first, then as they are finished.

        Raises
        ------
        InputError
            When the first frame cannot be classified.
        """
        live = None if table is None else LiveTable(table, self.work.path, self.frames)
        try:
            fault = self._consume(live, progress)
        except BaseException:
            if live is not None:
                live.leave(self.work.record(frame).summary for frame in self.work.done() & set(self.frames))
            raise
        frames, text, notes = list(self.frames), "", []
        if self._cut:
            notes.append(f"the file is cut short or damaged after frame {self.n_frames_in_file - 1}: {self._cut}")
        if fault is not None:
            text = fault[1] if f"frame {fault[0]} " in fault[1] else f"frame {fault[0]}: {fault[1]}"
            frames = frames[: frames.index(fault[0])]
            if frames and fault[0] == self.n_frames_in_file - 1 and text.startswith(unreadable(*self._last())):
                notes.append(f"the last frame is left out, as the file is cut short or damaged: {text}")
                text = ""
        labelled = self._write_labelled(frames)
        result = gather(
            (self.work.record(frame) for frame in frames),
            file=self._task.file,
            n_frames_in_file=self.n_frames_in_file,
            labelled=labelled,
            fault=text,
            notes=notes,
            origin=origin_of(self._task, self._selection),
        )
        if table is not None:
            with finished_file(table, self.work.path) as path:
                result.write_csv(path)
        return result

    def atoms(self, frame: int) -> FrameAtoms:
        """Return the atoms of a finished frame."""
        return self.work.atoms(frame)

    @contextmanager
    def output(self, name: str) -> Iterator[Path]:
        """Give a path for a file of the output folder, which appears there when it is whole."""
        with finished_file(self._output / name, self.work.path) as path:
            yield path

    def close(self) -> None:
        """Remove the work folder: all results are written."""
        self.work.remove()

    def _consume(
        self, live: LiveTable | None, progress: Callable[[FrameRecord], None] | None
    ) -> tuple[int, str] | None:
        """Run to the end; return the first frame at fault and why, or None."""
        run = run_frames(FrameCall(self._task), self.frames, self.work, self._workers.pool(self._task.settings.device))
        with closing(run):
            while True:
                try:
                    record = next(run)
                except StopIteration as end:
                    return end.value
                if live is not None:
                    live.add(record.summary)
                if progress is not None:
                    progress(record)

    def _all_settings(self) -> dict[str, Any]:
        """All that the results depend on."""
        from ovito_mace_phase.model.network.model_file import model_paths

        task = self._task
        left_out = (
            "model",
            "device",
            "memory",
            "only_selected",
        )  # told by the files of the model, by select, or no matter
        return {
            "version": task.version,
            "input": checksum(input_files(task.file)),
            "model": checksum(path for path in model_paths(model_path(task.settings.model)) if path.exists()),
            "frames": self._selection,
            "select": task.select,
            "format": task.file_format,
            "reader": dict(task.reader),
            **{name: value for name, value in vars(task.settings).items() if name not in left_out},
        }

    def _check_results(self) -> None:
        """Refuse to replace what is there, unless it is a run that was cut off, which the work folder tells."""
        there = [path for path in (self._labelled(), self.table) if path is not None and path.exists()]
        if there and not self._force and not self._task.folder.exists():
            raise InputError(
                f"{' and '.join(path.name for path in there)} would be replaced in {self._output}: choose another "
                "output folder, or replace the results of the other run with --force (force=True)"
            )

    def _last(self) -> tuple[int, Path]:
        return self.n_frames_in_file - 1, self._task.file

    def _labelled(self) -> Path | None:
        """Return the path of the labelled trajectory, which is never that of the input."""
        if self._task.file_format is None:
            return None
        target = self._output / f"{self._stem}{_SUFFIXES[self._task.file_format]}"
        if target.exists() and target.resolve() == self._task.file.resolve():
            target = target.with_name(f"{self._stem}.labelled{target.suffix}")
        return target

    def _write_labelled(self, frames: Sequence[int]) -> Path | None:
        """Join the labelled atoms of all frames to one file."""
        target = self._labelled()
        if target is None:
            return None
        with finished_file(target, self.work.path) as temporary, temporary.open("wb") as stream:
            for frame in frames:
                self.work.copy_labelled(frame, stream)
        return target


def classify_trajectory(  # noqa: PLR0913 - the public signature
    file: str | Path,
    output: str | Path | None = None,
    *,
    frames: str = ":",
    select: str = "",
    file_format: FileFormat | None = "xyz",
    jobs: int = 1,
    scheduler: str = "",
    threads: int = 0,
    memory: str | None = None,
    restart: bool = False,
    force: bool = False,
    atom_style: str = "",
    columns: Sequence[str | None] = (),
    progress: Callable[[FrameRecord], None] | None = None,
    **settings: Any,
) -> TrajectoryResult:
    """Classify the frames of a trajectory file, with worker processes or a cluster.

    Every finished frame is kept in `output` until all are done. An interrupted run resumes when the call is repeated;
    repeated with other settings or another input it raises `InputError`.

    Parameters
    ----------
    file : str or Path
        In any format that OVITO reads; a pattern such as "dump.*" stands for the files of one trajectory.
    output : str or Path, optional
        Folder of the labelled trajectory and of `<name>.phases.csv`, created if needed. None leaves nothing on disk.
    frames : str
        START:STOP:STEP as in slices, or one number.
    select : str
        OVITO expression: classify only these atoms, as if the others did not exist.
    file_format : 'xyz', 'dump' or None
        Of the labelled trajectory; None writes none.
    jobs : int
        Worker processes; 1 works in this process. A script needs `if __name__ == "__main__":` before a call with
        more, since the processes are started afresh and read the script again.
    scheduler : str
        Address of a Dask scheduler, whose workers take the frames, or its scheduler file; input and output must lie
        where all workers see them.
    threads : int
        Threads of the network, of all jobs together; 0: all cores. With a scheduler, of each worker; 0: as many as Dask
        gave it.
    memory : str, optional
        Budget of each process for features, such as "500M".
    restart : bool
        Discard the frames of an interrupted run.
    force : bool
        Replace the results that another run left in `output`, instead of an error.
    atom_style : str
        Of a LAMMPS data file, such as "full", where it does not say so itself.
    columns : sequence of str or None
        Properties in the columns of a plain XYZ file or a dump: "Particle Type", "Position.X", ...; None for a column
        to leave out. () takes what the file says.
    progress : callable, optional
        Called with the `FrameRecord` of every frame as it is finished.
    **settings
        Parameters of `MacePhaseModifier`, such as `prior`, `denoise_steps` or `model`.

    Returns
    -------
    TrajectoryResult
        Summary of each frame; `columns()` is the table for pandas or polars, `fractions(key)` a phase over time.

    Raises
    ------
    InputError
        When the file, the first frame, or the settings cannot be used. A later frame that cannot be used ends the
        work: the frames before it are returned, with the reason in `fault`. A last frame that is incomplete is left
        out, with a note.
    OSError, OutputError
        When results cannot be written; finished frames are kept.
    WorkerLostError
        When workers end again and again; finished frames are kept.

    Examples
    --------
    >>> from ovito_mace_phase import classify_trajectory
    >>> result = classify_trajectory("sample_dumps/cu_melting.dump.gz", frames="0::6", prior="frame")
    >>> [round(x, 1) for x in result.fractions("FCC")]  # doctest: +SKIP
    [1.0, 0.6]
    """
    if "only_selected" in settings:
        raise InputError("only_selected is not used here; give the selection with select, such as 'ParticleType==1'")
    source = Path(file)
    check_input(source)
    wanted = _settings(settings)
    workers = Workers(jobs=jobs, scheduler=scheduler, threads=threads, memory=memory)
    with _folder(output) as folder:
        run = TrajectoryRun(
            source,
            output=folder,
            stem=input_stems([source])[0],
            frames=frames,
            select=select,
            settings=wanted,
            file_format=None if output is None else file_format,
            workers=workers,
            restart=restart,
            force=force,
            reader=reader_keywords(atom_style, columns),
        )
        with run:
            result = run.classify(None if output is None else run.table, progress)
            run.close()
    return result


def reader_keywords(atom_style: str, columns: Sequence[str | None]) -> tuple[tuple[str, Any], ...]:
    """Return what OVITO's reader is told about the file; nothing where the user says nothing."""
    given: dict[str, Any] = {"atom_style": atom_style, "columns": list(columns)}
    return tuple((name, value) for name, value in given.items() if value)


def _settings(parameters: dict[str, Any]) -> Settings:
    """Return the settings that parameters of the modifier stand for; TypeError for a name that is none."""
    given = dict(parameters)
    if "model_file" in given:
        warnings.warn("classify_trajectory(): the parameter 'model_file' is now 'model'", FutureWarning, stacklevel=3)
        given["model"] = given.pop("model_file")
    given = {
        name: value
        for name, value in given.items()
        if name in PARAMETERS or not check_parameter(name, value, PARAMETERS)
    }
    return from_parameters(given, get_table(given.get("model")))


@contextmanager
def _folder(output: str | Path | None) -> Iterator[Path]:
    if output is not None:
        yield output_folder(Path(output))
        return
    with tempfile.TemporaryDirectory(prefix="mace_phase_", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
