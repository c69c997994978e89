"""One trajectory file for the command line: its frames with a progress bar, then tables, pictures and the report."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ovito_mace_phase.classification.settings import Settings
from ovito_mace_phase.model.store import get_table
from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.runtime.files import finished_file
from ovito_mace_phase.runtime.png_text import add_text

from .display import Display
from .movie import draw_movie, spread
from .picture import draw_sheet
from .picture_colors import shares_told_apart, substitutes_text
from .pictured_frames import explanation, pictured
from .plots import plot_confidence, plot_order_parameters, plot_phases
from .record import HINT, FrameRecord
from .result import TrajectoryResult
from .run import TrajectoryRun
from .summary import FrameSummary, over_frames
from .task import FileFormat
from .workers import Workers

OF_THE_MACHINE = "not rendered by OVITO"
"""In notes that are the same for every file."""
_NAMES = (
    *("phases.parquet", "phases.png", "confidence.png", "order_parameters.png"),
    *("frame.png", "movie.gif", "report.html"),
)
"""Ends of the names of files that not every run writes; a session may be the user's own."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line asks for; `select` is an OVITO expression or ""."""

    settings: Settings
    select: str
    frames: str
    folder: Path
    file_format: FileFormat
    workers: Workers
    restart: bool
    force: bool
    parquet: bool
    picture: bool
    plots: bool
    movie: int
    report: bool
    session: bool
    reader: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Written:
    """The result of one file, and the files it was written to."""

    result: TrajectoryResult
    files: tuple[Path, ...]
    notes: tuple[str, ...]


def classify_file(file: Path, stem: str, options: Options) -> Written:
    """Classify the frames of one file, and write what was asked for.

    A fault in a later frame ends the work; the frames before it are written.

    Parameters
    ----------
    file : Path
    stem : str
        Name of the results.
    options : Options

    Raises
    ------
    InputError
        When OVITO cannot read the file, it has no atoms, the frames do not exist, or there are results of another run.
    """
    session = options.folder / f"{stem}.ovito"
    if options.session and session.exists() and not options.force:
        raise InputError(f"{session} would be replaced: choose another output folder, or replace it with --force")
    run = TrajectoryRun(
        file,
        output=options.folder,
        stem=stem,
        frames=options.frames,
        select=options.select,
        settings=options.settings,
        file_format=options.file_format,
        workers=options.workers,
        restart=options.restart,
        force=options.force,
        reader=options.reader,
    )
    with Display(stem, options.folder / f"{stem}.work") as display, run:
        earlier = len(run.work.done())
        if earlier:
            click.echo(f"{file}: {earlier} of {len(run.frames)} frames are there from a run that was cut off", err=True)
        display.frames(len(run.frames))

        def show(_: FrameRecord) -> None:
            display.frame_done()
            if display.complete:
                display.stage("joining the labelled frames")

        result = run.classify(run.table, show)
        outputs = _Outputs(run, result, stem, options)
        outputs.write(display.stage)
        run.close()
    return Written(result=result, files=tuple(outputs.files), notes=tuple(outputs.notes))


class _Outputs:
    """The output files, one by one."""

    def __init__(self, run: TrajectoryRun, result: TrajectoryResult, stem: str, options: Options) -> None:
        self._run = run
        self._result = result
        self._stem = stem
        self._options = options
        self._pictures: list[tuple[str, Path]] = []  # caption and file, for the report
        labelled = [] if result.labelled is None else [result.labelled]
        self.files = [*labelled, run.table]
        self.notes = list(result.notes)
        self._colors = {share.key: share.color for share in shares_told_apart(result.frames)}
        if options.picture or options.movie:
            self.notes += filter(None, [substitutes_text(result.frames)])

    def write(self, tell: Callable[[str], None]) -> None:
        """Write all that was asked for; `tell` hears what is being done."""
        tell("writing tables and plots")
        if self._options.parquet:
            with self._file("phases.parquet") as path:
                self._result.write_parquet(path)
        with self._file("phases.png") as path:
            plot_phases(path, self._result.frames, self._stem)
        if self._options.plots:
            self._distributions()
        shown = pictured(self._result.frames)
        tell("drawing the atoms")
        if self._options.picture and shown:
            self._picture(shown)
        if self._options.movie and shown:
            self._movie()
        if self._options.session and self._result.labelled is not None:
            self._session(self._result.labelled)
        if self._options.report:
            with self._file("report.html") as path:
                self._result.write_report(path, title=self._stem, pictures=self._pictures)
        if self._options.force:  # what is left of the run whose results are replaced
            for path in {self._options.folder / f"{self._stem}.{name}" for name in _NAMES} - set(self.files):
                path.unlink(missing_ok=True)

    def _session(self, labelled: Path) -> None:
        from .session_file import write_session

        table = get_table(self._options.settings.model)
        phases = sorted(
            (table.by_key(share.key).id, share.key, share.color) for share in over_frames(self._result.frames)
        )
        self.files.append(labelled.with_name(f"{self._stem}.ovito"))
        with finished_file(self.files[-1]) as path:  # beside the trajectory, of which it keeps the relative path
            write_session(path, labelled, phases)

    def _distributions(self) -> None:
        with self._file("confidence.png") as path:
            plot_confidence(path, self._result.frames, self._result.confidence, self._stem)
        if self._result.order_parameters:
            with self._file("order_parameters.png") as path:
                plot_order_parameters(path, self._result.frames, self._result.order_parameters, self._stem)

    def _picture(self, shown: list[tuple[FrameSummary, str]]) -> None:
        with self._file("frame.png") as path:
            reason = draw_sheet(path, self._run.atoms, shown, self._colors, self._stem)
        self._pictures.append((explanation(self._result.frames, shown), self.files[-1]))
        if reason:
            self.notes.append(f"frame.png is a flat drawing, {OF_THE_MACHINE}: {reason}")

    def _movie(self) -> None:
        frames = spread(self._result.frames, self._options.movie)
        with self._file("movie.gif") as path:
            reason = draw_movie(
                path,
                self._run.atoms,
                frames,
                self._colors,
                self._run.work.path,
                title=self._stem,
                comment="; ".join(f"{name}: {text}" for name, text in self._result.origin.texts().items()),
            )
        self._pictures.append((f"{len(frames)} of {len(self._result.frames)} frames", self.files[-1]))
        if reason:
            self.notes.append(f"movie.gif shows flat drawings, {OF_THE_MACHINE}: {reason}")

    @contextmanager
    def _file(self, name: str) -> Iterator[Path]:
        """Give a path to write to; a PNG then says what it was made from."""
        self.files.append(self._options.folder / f"{self._stem}.{name}")
        with self._run.output(self.files[-1].name) as path:
            yield path
            if path.suffix == ".png":
                add_text(path, self._result.origin.texts())


def report_text(file: Path, written: Written, told: Container[str] = ()) -> str:
    """Return the text for the terminal, without notes that were `told` for an earlier file."""
    result = written.result
    lines = [f"\n{file}  ({result.text})", result.tables]
    lines += [note if note.startswith(HINT) else f"note: {note}" for note in written.notes if note not in told]
    folder = written.files[0].parent
    lines.append(f"written to {folder}: " + ", ".join(path.name for path in written.files))
    return "\n".join(lines)
