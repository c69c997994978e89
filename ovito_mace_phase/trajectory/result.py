"""The result of a trajectory: one summary per frame, histograms over all, the table, the file of the atoms."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .origin import Origin
from .record import FrameRecord, add_bins
from .summary import COLUMNS, FrameSummary, reasons_text, table_rows, table_text, write_csv, write_parquet


@dataclass(frozen=True, kw_only=True)
class TrajectoryResult:
    """The classified frames of a trajectory.

    Attributes
    ----------
    file : Path
        The file that was read.
    frames : tuple of FrameSummary
        Phases of each frame, in the order asked for.
    n_frames_in_file : int
    labelled : Path or None
        Trajectory of the labelled atoms.
    confidence, order_parameters : dict of str to Counter
        Histograms over all frames: of the confidence of each phase, and of each order parameter (see
        `trajectory.record`).
    notes : tuple of str
        What the user should know.
    fault : str
        Why the frames end before the last one asked for, as in a damaged file; else "".
    model : str
        Name of the model.
    denoised : str
        What denoising did to the last frame; "" without.
    other : Counter of str
        Reason -> atoms that are Other for it, all frames together.
    origin : Origin
        Program, model, settings and input, with checksums; pictures and the report carry it.
    """

    file: Path
    frames: tuple[FrameSummary, ...]
    n_frames_in_file: int
    labelled: Path | None
    confidence: dict[str, Counter[int]]
    order_parameters: dict[str, Counter[int]]
    notes: tuple[str, ...]
    fault: str
    model: str
    denoised: str
    other: Counter[str]
    origin: Origin

    @property
    def scores(self) -> dict[str, Counter[int]]:
        """Old name of `order_parameters`."""
        warnings.warn("TrajectoryResult.scores is now order_parameters", FutureWarning, stacklevel=2)
        return self.order_parameters

    def __str__(self) -> str:
        return "\n".join((self.text, self.tables))

    @property
    def tables(self) -> str:
        """Phases, why atoms are Other, and what denoising did."""
        several = len(self.frames) > 1
        denoised = f"frame {self.frames[-1].frame}: {self.denoised}" if several and self.denoised else self.denoised
        texts = (table_text(self.frames), reasons_text(self.other, len(self.frames)), denoised)
        return "\n".join(filter(None, texts))

    @property
    def text(self) -> str:
        """Atoms, frames and model in one line."""
        atoms = {summary.n_atoms for summary in self.frames}
        count = _number_of(atoms.pop(), "atom") if len(atoms) == 1 else f"{min(atoms)} to {max(atoms)} atoms"
        total = self.n_frames_in_file
        one = len(self.frames) == 1
        which = f"frame {self.frames[0].frame} of {total}" if one else f"{len(self.frames)} of {total} frames"
        return f"{count}, {which}, model {self.model}"

    def columns(self) -> dict[str, list[Any]]:
        """Return the table of frames and phases as columns by name, for `pandas.DataFrame` or `polars.DataFrame`."""
        rows = list(table_rows(self.frames))
        return {name: [row[place] for row in rows] for place, name in enumerate(COLUMNS)}

    def fractions(self, key: str) -> list[float]:
        """Return the fraction of the atoms that have the phase `key`, frame by frame."""
        return [summary.fraction(key) for summary in self.frames]

    def write_csv(self, path: str | Path) -> None:
        """Write the table of frames and phases as text."""
        write_csv(Path(path), self.frames)

    def write_parquet(self, path: str | Path) -> None:
        """Write the table of frames and phases as Parquet; MissingPackageError without pyarrow."""
        write_parquet(Path(path), self.frames)

    def write_report(self, path: str | Path, **more: Any) -> None:
        """Write plots and tables as one self-contained HTML page; for `more` see `report.write_report`."""
        from .report import write_report

        write_report(Path(path), self, **more)


def gather(
    records: Iterable[FrameRecord],
    *,
    file: Path,
    n_frames_in_file: int,
    labelled: Path | None,
    fault: str,
    origin: Origin,
    notes: Sequence[str] = (),
) -> TrajectoryResult:
    """Add up the records of frames, in order; `notes` are of the file as a whole."""
    frames: list[FrameSummary] = []
    confidence: dict[str, Counter[int]] = {}
    order_parameters: dict[str, Counter[int]] = {}
    of_frames: dict[str, list[tuple[int, str]]] = {}
    other: Counter[str] = Counter()
    model = denoised = ""
    for record in records:
        frames.append(record.summary)
        add_bins(confidence, record.confidence)
        add_bins(order_parameters, record.order_parameters)
        other.update(record.other)
        for note in record.notes:
            of_frames.setdefault(_words(note), []).append((record.summary.frame, note))
        model, denoised = record.model, record.denoised
    return TrajectoryResult(
        file=file,
        frames=tuple(frames),
        n_frames_in_file=n_frames_in_file,
        labelled=labelled,
        confidence=confidence,
        order_parameters=order_parameters,
        notes=(*notes, *(_told_once(told) for told in of_frames.values())),
        fault=fault,
        model=model,
        denoised=denoised,
        other=other,
        origin=origin,
    )


def _words(note: str) -> str:
    """Return a note without what differs from frame to frame: numbers, and what stands in brackets and quotes."""
    return re.sub(r"\([^)]*\)|'[^']*'|\d+", "", note)


def _told_once(told: list[tuple[int, str]]) -> str:
    """Return the note of the first of several frames, and say so where it is another in the others."""
    frame, note = told[0]
    differing = len({text for _, text in told}) > 1
    return f"{note} (frame {frame}; alike in {_number_of(len(told) - 1, 'more frame')})" if differing else note


def _number_of(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
