"""The report: plots, pictures and tables of a trajectory on one self-contained HTML page."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

from jinja2 import Environment

from ovito_mace_phase.model.store import get_table
from ovito_mace_phase.phases import PhaseTable
from ovito_mace_phase.runtime.errors import InputError

from .origin import Origin
from .picture_colors import shares_told_apart
from .plots import plot_confidence, plot_order_parameters, plot_phases
from .summary import FrameSummary, over_frames

MOST_ROWS = 2000  # frames listed; the attached table has all
PAGE = 50  # rows that are folded and opened together
FOLDED = 0.1  # % of the atoms: phases that all have less, in every frame, are folded
MOST_COLUMNS = 8  # phases listed per frame
_TYPES = {".png": "image/png", ".gif": "image/gif"}


class Classified(Protocol):
    """What the report needs of a `TrajectoryResult`."""

    @property
    def file(self) -> Path:
        """The file that was read."""
        ...

    @property
    def frames(self) -> Sequence[FrameSummary]:
        """Phases of each frame."""
        ...

    @property
    def confidence(self) -> Mapping[str, Mapping[int, int]]:
        """Histogram of the confidence of each phase."""
        ...

    @property
    def order_parameters(self) -> Mapping[str, Mapping[int, int]]:
        """Histogram of each order parameter."""
        ...

    @property
    def origin(self) -> Origin:
        """What the result was made from."""
        ...

    def fractions(self, key: str) -> list[float]:
        """Return the fraction of a phase, frame by frame."""
        ...

    def write_csv(self, path: str | Path) -> None:
        """Write the table of frames and phases."""
        ...


def write_report(
    path: Path,
    result: Classified,
    *,
    title: str = "",
    pictures: Sequence[tuple[str, Path]] = (),
    settings: Mapping[str, str] | None = None,
) -> None:
    """Write the page; it refers to no other file and to no network.

    Parameters
    ----------
    path : Path
    result : TrajectoryResult
    title : str
        Default: the name of the input file.
    pictures : sequence of (caption, file)
        PNG or GIF, to put in.
    settings : mapping, optional
        To list, and to find the model's own phases by its `model`; default: those of the run.

    Raises
    ------
    InputError
        For a result without frames, or a picture of another kind.
    """
    if not result.frames:
        raise InputError("there is no frame to report")
    listed = dict(result.origin.settings if settings is None else settings)
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        (files(__package__) / "report.html").read_text(encoding="utf-8")
    )
    name = title or result.file.name
    page = template.render(
        title=name,
        result=result,
        program=result.origin.program,
        settings=listed,
        phases=_phases(result, get_table(listed.get("model", ""))),
        folded=FOLDED,
        plots=_plots(result, name),
        pictures=[(caption, _embedded(picture)) for caption, picture in pictures],
        csv=_csv(result),
        **_frames(result),
    )
    path.write_text(page, encoding="utf-8")


def _phases(result: Classified, table: PhaseTable) -> list[dict[str, Any]]:
    """Rows of the table of phases."""
    total = max(sum(summary.n_atoms for summary in result.frames), 1)
    known = {phase.key: phase for phase in table}
    rows = []
    for share in shares_told_apart(result.frames):
        phase = known.get(share.key)
        fractions = result.fractions(share.key)
        rows.append(
            {
                "key": share.key,
                "color": _hex(share.color),
                "name": phase.name if phase else "",
                "label": (phase.aflow or "") if phase else "",
                "percent": 100 * share.count / total,
                "least": 100 * min(fractions),
                "most": 100 * max(fractions),
                "confidence": share.confidence,
                "rare": 100 * max(fractions) < FOLDED,
            }
        )
    return rows


def _frames(result: Classified) -> dict[str, Any]:
    """Rows of the table of frames in pages, evenly spread where there are very many."""
    keys = [share.key for share in over_frames(result.frames) if share.count][:MOST_COLUMNS]
    step = -(-len(result.frames) // MOST_ROWS)
    rows = [
        (summary.frame, summary.timestep, summary.time, summary.n_atoms, [100 * summary.fraction(key) for key in keys])
        for summary in result.frames[::step]
    ]
    pages = [rows[first : first + PAGE] for first in range(0, len(rows), PAGE)]
    return {
        "keys": keys,
        "pages": pages,
        "step": step,
        "timed": any(summary.time is not None for summary in result.frames),
    }


def _plots(result: Classified, title: str) -> list[tuple[str, str]]:
    with tempfile.TemporaryDirectory(prefix="mace_phase_") as folder:
        path = Path(folder) / "plot.png"
        plot_phases(path, result.frames, title)
        plots = [("Phases", _embedded(path))]
        plot_confidence(path, result.frames, result.confidence, title)
        plots.append(("Confidence of the labels", _embedded(path)))
        if result.order_parameters:
            plot_order_parameters(path, result.frames, result.order_parameters, title)
            plots.append(("Order parameters", _embedded(path)))
    return plots


def _csv(result: Classified) -> str:
    with tempfile.TemporaryDirectory(prefix="mace_phase_") as folder:
        path = Path(folder) / "phases.csv"
        result.write_csv(path)
        return "data:text/csv;base64," + base64.b64encode(path.read_bytes()).decode()


def _embedded(path: Path) -> str:
    """Return a picture as an address that holds it."""
    kind = _TYPES.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"a picture of the report must be one of {', '.join(_TYPES)}, not {path.name}")
    return f"data:{kind};base64," + base64.b64encode(path.read_bytes()).decode()


def _hex(color: Sequence[float]) -> str:
    return "#" + "".join(f"{round(255 * min(max(part, 0.0), 1.0)):02x}" for part in color)
