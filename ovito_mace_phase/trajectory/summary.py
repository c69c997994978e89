"""Counts of phases, frame by frame: the numbers behind the printed table, the files of phases and the plots."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.runtime.errors import MissingPackageError

_ROWS_AT_ONCE = 100_000  # of a Parquet table held in memory
RARE = 0.001
"""Share of the atoms below which phases are told in one line."""
_OVERVIEW = 3  # phases named in the line of a file


@dataclass(frozen=True, kw_only=True)
class PhaseShare:
    """The atoms of one phase in one frame."""

    key: str
    color: tuple[float, float, float]
    count: int
    confidence: float  # mean over these atoms, NaN without atoms


@dataclass(frozen=True, kw_only=True)
class FrameSummary:
    """The phases of one frame, most frequent first; step and time of the simulation where the file has them."""

    frame: int
    timestep: int | None
    n_atoms: int
    shares: tuple[PhaseShare, ...]
    time: float | None = None

    def fraction(self, key: str) -> float:
        """Fraction of the atoms that have the phase `key`."""
        return sum(share.count for share in self.shares if share.key == key) / max(self.n_atoms, 1)


def summarise(
    phase: npt.NDArray[np.int32],
    confidence: npt.NDArray[np.float32],
    kinds: Sequence[tuple[int, str, tuple[float, float, float]]],
    *,
    frame: int,
    timestep: int | None,
    time: float | None = None,
) -> FrameSummary:
    """Count the phases of one frame.

    Parameters
    ----------
    phase : (n_atoms,) int32
        Phase ids.
    confidence : (n_atoms,) float32
    kinds : sequence of (id, key, colour)
        The phases that occur, and others to list with zero atoms.
    frame : int
        Number in the file.
    timestep : int or None
        Step of the simulation, where the file has one.
    time : float or None
        Of the simulation, in the unit of the file, where it has one.
    """
    shares = []
    for number, key, color in kinds:
        mine = phase == number
        mean = float(confidence[mine].mean()) if mine.any() else float("nan")
        shares.append(PhaseShare(key=key, color=color, count=int(mine.sum()), confidence=mean))
    shares.sort(key=lambda share: (-share.count, share.key))
    return FrameSummary(frame=frame, timestep=timestep, n_atoms=len(phase), shares=tuple(shares), time=time)


def over_frames(frames: Sequence[FrameSummary]) -> list[PhaseShare]:
    """Add up the phases of several frames, most frequent first; phases that never occur come last."""
    counts: dict[str, int] = {}
    weighted: dict[str, float] = {}
    colors: dict[str, tuple[float, float, float]] = {}
    for summary in frames:
        for share in summary.shares:
            colors[share.key] = share.color
            counts[share.key] = counts.get(share.key, 0) + share.count
            weighted[share.key] = weighted.get(share.key, 0.0) + (
                share.count * share.confidence if share.count else 0.0
            )
    keys = sorted(counts, key=lambda key: (-counts[key], key))
    return [
        PhaseShare(
            key=key,
            color=colors[key],
            count=counts[key],
            confidence=weighted[key] / counts[key] if counts[key] else float("nan"),
        )
        for key in keys
    ]


def table_text(frames: Sequence[FrameSummary]) -> str:
    """Return the table for the terminal: phase, atoms (mean over the frames), per cent, mean confidence.

    Several phases of less than RARE of the atoms are one line; Other has its own.
    """
    shares = [share for share in over_frames(frames) if share.count or len(frames[0].shares) == 1]
    total = max(sum(summary.n_atoms for summary in frames), 1)
    rare = [share for share in shares if share.count < RARE * total and share.key != "OTHER"]
    if len(rare) < 2:
        rare = []
    rows = [(share.key, share.count, share.confidence) for share in shares if share not in rare]
    if rare:
        count = sum(share.count for share in rare)
        sure = sum(share.count * share.confidence for share in rare) / max(count, 1)
        rows.append((f"{len(rare)} more, each below {100 * RARE:g} %", count, sure))
    one = len(frames) == 1
    width = max([len("phase"), *(len(name) for name, _, _ in rows)])
    lines = [f"{'phase':<{width}}  {'atoms' if one else 'mean atoms':>10}  {'%':>6}  {'confidence':>10}"]
    for name, count, sure in rows:
        number = f"{count}" if one else f"{count / len(frames):.1f}"
        text = "-" if np.isnan(sure) else f"{sure:.2f}"
        lines.append(f"{name:<{width}}  {number:>10}  {100 * count / total:>6.2f}  {text:>10}")
    return "\n".join(lines)


def reasons_text(other: Mapping[str, int], n_frames: int) -> str:
    """Return the line for the terminal that says why atoms are Other (mean over the frames); "" where none is."""
    parts = []
    for name, count in sorted(other.items(), key=lambda item: (-item[1], item[0])):
        number = f"{count}" if n_frames == 1 else f"{count / n_frames:.1f}"
        parts.append(f"{number} {name.replace('_', ' ')}")
    what = "Other" if n_frames == 1 else "Other (mean atoms)"
    return f"{what}: {', '.join(parts)}" if parts else ""


def overview_text(files: Sequence[tuple[str, Sequence[FrameSummary]]]) -> str:
    """Return one line per file for the terminal: name, atoms, frames, the most frequent phases over all frames."""
    width = max([len("file"), *(len(name) for name, _ in files)])
    lines = [f"{'file':<{width}}  {'atoms':>8}  {'frames':>6}  phases (%)"]
    for name, frames in files:
        total = max(sum(summary.n_atoms for summary in frames), 1)
        shares = [(share.key, 100 * share.count / total) for share in over_frames(frames)]
        shares = [(key, percent) for key, percent in shares if percent >= 0.05]  # less would read 0.0
        shown = [f"{key} {percent:.1f}" for key, percent in shares[:_OVERVIEW]]
        if len(shares) > _OVERVIEW:
            shown.append(f"{len(shares) - _OVERVIEW} more {sum(percent for _, percent in shares[_OVERVIEW:]):.1f}")
        lines.append(f"{name:<{width}}  {frames[-1].n_atoms:>8}  {len(frames):>6}  {', '.join(shown) or '-'}")
    return "\n".join(lines)


COLUMNS = ("frame", "timestep", "n_atoms", "phase", "count", "fraction", "mean_confidence")
"""Of the table of frames and phases; what there is no number for is None."""
Row = tuple[int, int | None, int, str, int, float, float | None]


def table_rows(frames: Sequence[FrameSummary]) -> Iterator[Row]:
    """Yield one row per frame and phase, `COLUMNS`; a phase that occurs in any frame has a row for every frame."""
    keys = [share.key for share in over_frames(frames)]
    for summary in frames:
        shares = {share.key: share for share in summary.shares}
        for key in keys:
            share = shares.get(key)
            count = share.count if share else 0
            sure = share.confidence if share and share.count else None
            fraction = count / max(summary.n_atoms, 1)
            yield summary.frame, summary.timestep, summary.n_atoms, key, count, fraction, sure


def write_csv(path: Path, frames: Sequence[FrameSummary]) -> None:
    """Write the table of frames and phases as text."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for frame, timestep, n_atoms, key, count, fraction, sure in table_rows(frames):
            step = "" if timestep is None else timestep
            writer.writerow(
                [frame, step, n_atoms, key, count, f"{fraction:.6f}", "" if sure is None else f"{sure:.4f}"]
            )


def write_parquet(path: Path, frames: Sequence[FrameSummary]) -> None:
    """Write the table of frames and phases as Parquet, numbers in full.

    Raises
    ------
    MissingPackageError
        Without pyarrow.
    """
    parquet = parquet_writer()
    import pyarrow as pa

    kinds = (
        pa.int64(),
        pa.int64(),
        pa.int64(),
        pa.string(),
        pa.int64(),
        pa.float64(),
        pa.float64(),
    )
    schema = pa.schema(list(zip(COLUMNS, kinds, strict=True)))
    rows = table_rows(frames)
    with parquet.ParquetWriter(path, schema) as writer:
        while some := list(itertools.islice(rows, _ROWS_AT_ONCE)):
            columns = [pa.array(column, kind) for column, kind in zip(zip(*some, strict=True), kinds, strict=True)]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def parquet_writer() -> ModuleType:
    """Return `pyarrow.parquet`; MissingPackageError with the command that installs it."""
    try:
        return import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingPackageError(
            "a table in Parquet needs the Python package pyarrow; install it with "
            "`python -m pip install 'ovito-mace-phase[parquet]'`, or use the CSV"
        ) from error
