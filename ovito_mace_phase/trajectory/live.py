"""The table of frames during a run: rewritten as it grows, in a small part of the time at most."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ovito_mace_phase.runtime.files import finished_file

from .summary import FrameSummary, write_csv

_LEAST_SECONDS = 2.0
_TIMES = 30  # of the time that the last writing took


class LiveTable:
    """A CSV file of the frames finished so far, sorted.

    Parameters
    ----------
    path : Path
    folder : Path
        For the unfinished file.
    frames : sequence of int
        All that will come, in their order.
    """

    def __init__(self, path: Path, folder: Path, frames: Sequence[int]) -> None:
        self._path = path
        self._folder = folder
        self._frames = frames
        self._found: dict[int, FrameSummary] = {}
        self._next = time.monotonic() + _LEAST_SECONDS

    def add(self, summary: FrameSummary) -> None:
        """Take one more frame, and write the table if the last time is long enough ago."""
        self._found[summary.frame] = summary
        if time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        """Write the table now."""
        start = time.monotonic()
        with finished_file(self._path, self._folder) as path:
            write_csv(path, [self._found[frame] for frame in self._frames if frame in self._found])
        end = time.monotonic()
        self._next = end + max(_LEAST_SECONDS, _TIMES * (end - start))

    def lacks(self, frames: set[int]) -> set[int]:
        """Return those of some finished frames that have not been added."""
        return frames.intersection(self._frames) - self._found.keys()

    def leave(self) -> None:
        """Write the table as it is when the run is cut off, if that is possible."""
        if self._found:
            with suppress(OSError):
                self.write()
