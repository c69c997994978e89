"""What a suite finds, and the files it becomes: SUITE.json (all numbers), SUITE.md (tables), SUITE.png (figure)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ovito_mace_phase.runtime.files import finished_file
from ovito_mace_phase.runtime.png_text import add_text
from ovito_mace_phase.runtime.version import VERSION

Row = Sequence[Any]


@dataclass(frozen=True, kw_only=True)
class SuiteSettings:
    """Settings of a suite.

    Attributes
    ----------
    frames : tuple of Path
        Folders of npz snapshots, for the suites that need some.
    seed : int
        Of all random draws.
    denoise_steps : int
        Label the frames a second time after so many denoising steps; 0 does not.
    data : Path, optional
        Labelled structures (docs/training.md), for the suites that look at held-out chemical systems.
    quick : bool
        Fewer and smaller frames: a test that everything runs, no measurement.
    methods : tuple of str
        Methods of others to score on the same frames (`methods.method_of`), for the suites in `COMPARING`.
    """

    frames: tuple[Path, ...] = ()
    seed: int = 0
    denoise_steps: int = 0
    data: Path | None = None
    quick: bool = False
    methods: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table: cells are texts, or shares (float) shown in per cent, or None shown as a dash."""

    title: str
    header: Sequence[str]
    rows: Sequence[Row]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a suite found.

    Attributes
    ----------
    title, about : str
        Heading, and what is measured.
    numbers : mapping
        Everything, as plain numbers.
    tables : sequence of Table
    draw : callable, optional
        Draws the figure to a path.
    """

    title: str
    about: str
    numbers: Mapping[str, Any]
    tables: Sequence[Table]
    draw: Callable[[Path], None] | None = None

    def markdown(self, footer: str) -> str:
        """Return heading, text, tables and a last line."""
        lines = [f"# {self.title}", "", self.about]
        for table in self.tables:
            lines += ["", f"## {table.title}", ""] + ([table.note, ""] if table.note else [])
            lines += [_line(table.header), _line(["---"] * len(table.header))]
            lines += [_line([_cell(value) for value in row]) for row in table.rows]
        return "\n".join([*lines, "", footer, ""])


def write(report: Report, folder: Path, name: str, origin: Mapping[str, Any]) -> list[Path]:
    """Write the files of a suite into a folder, each complete or not at all; `origin` says what was measured how."""
    numbers = plain({**origin, **report.numbers})
    footer = ", ".join(f"{key} {value}" for key, value in origin.items())
    files = [folder / f"{name}.json", folder / f"{name}.md"]
    _put(files[0], lambda path: path.write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n", "utf-8"))
    _put(files[1], lambda path: path.write_text(report.markdown(footer), "utf-8"))
    if report.draw is not None:
        files.append(folder / f"{name}.png")
        _put(files[2], report.draw)
        add_text(
            files[2], {"Program": f"ovito-mace-phase {VERSION}"} | {key: str(value) for key, value in origin.items()}
        )
    return files


def mean_and_std(values: Sequence[float]) -> dict[str, float]:
    """Return mean and standard deviation (0 for one value) of shares."""
    return {"mean": float(np.mean(values)), "spread": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0}


def percent(share: float | Mapping[str, float] | None) -> str:
    """Return a share in per cent; of mean and spread `99.1 ± 0.3`; a dash for none."""
    if share is None:
        return "-"
    if isinstance(share, Mapping):
        return f"{100 * share['mean']:.1f} ± {100 * share['spread']:.1f}"
    return "-" if math.isnan(share) else f"{100 * share:.1f}"


def plain(value: Any) -> Any:
    """Return nested numbers as JSON has them: five digits, NaN as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    if isinstance(value, np.integer | np.bool_):
        return value.item()
    return value


def _put(path: Path, make: Callable[[Path], object]) -> None:
    with finished_file(path) as temporary:
        make(temporary)


def _cell(value: Any) -> str:
    return percent(value) if value is None or isinstance(value, float | Mapping) else str(value)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
