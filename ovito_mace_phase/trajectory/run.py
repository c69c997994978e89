"""One trajectory file on its way to its results.

file, settings -> `FrameTask` -> `scheduler` (workers, work folder) -> labelled trajectory, `TrajectoryResult`

This module is read by every worker before OVITO is, and so imports OVITO within functions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ovito_mace_phase.classification.settings import Settings
from ovito_mace_phase.model.registry import model_path
from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.runtime.files import finished_file, parse_frames

from .checksum import checksum, input_files
from .live import LiveTable
from .origin import origin_of
from .record import FrameAtoms, FrameRecord
from .remote import FrameCall, check_thread
from .result import TrajectoryResult, gather
from .scheduler import run_frames
from .store import WorkFolder
from .task import FileFormat, FrameTask, unreadable
from .workers import Workers

_SUFFIXES = {"xyz": ".xyz", "dump": ".dump"}


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
        with closing(self.steps(table)) as steps:
            while True:
                try:
                    record = next(steps)
                except StopIteration as end:
                    return end.value
                if progress is not None:
                    progress(record)

    def steps(self, table: Path | None = None) -> Generator[FrameRecord, None, TrajectoryResult]:
        """Do what `classify` does, a frame at a time: yields each, and returns the result."""
        live = None if table is None else LiveTable(table, self.work.path, self.frames)
        try:
            fault = yield from self._consume(live)
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

    def _consume(self, live: LiveTable | None) -> Generator[FrameRecord, None, tuple[int, str] | None]:
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
                yield record

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
