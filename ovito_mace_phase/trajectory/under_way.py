"""How far each frame under way is: a small file in the work folder, which any worker can write and the command reads.

<number>.progress       what is being done, as the modifier says it; numbers at most every LEAST_SECONDS
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ovito_mace_phase.runtime.hearing import Report, heard_by

LEAST_SECONDS = 0.5
_SUFFIX = ".progress"


@contextmanager
def shown_in(folder: Path, frame: int) -> Iterator[None]:
    """Write what is told meanwhile about a frame, and leave nothing behind."""
    path = folder / f"{frame}{_SUFFIX}"
    following = 0.0
    shown = ""

    def listen(report: Report) -> None:
        nonlocal following, shown
        if not isinstance(report, str) or report == shown:
            return
        if report.split(",")[0] != shown.split(",")[0] or time.monotonic() >= following:
            shown = report
            with suppress(OSError):
                path.write_text(report, encoding="utf-8")
            following = time.monotonic() + LEAST_SECONDS

    try:
        with heard_by(listen):
            yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def under_way(folder: Path) -> dict[int, str]:
    """Return frame -> what is being done, of the frames of a work folder that are under way."""
    found = {}
    with suppress(OSError):
        for path in folder.glob(f"*{_SUFFIX}"):
            with suppress(OSError, ValueError):
                found[int(path.stem)] = path.read_text(encoding="utf-8")
    return dict(sorted(found.items()))
