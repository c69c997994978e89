"""The line that says how far a file is: redrawn on a terminal, and now and then a new line where output goes to a file.

cu: 1/3 frames, frame 1: classifying atoms, 120,000 of 500,000, 0:23
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from .under_way import under_way

_REDRAWN = 0.5  # seconds
_NEW_LINE = 10.0
_MOST_FRAMES = 3


class Display:
    """Use it in a `with` statement.

    Parameters
    ----------
    name : str
        Of the file.
    folder : Path
        Work folder, in which `under_way` looks.
    stream : text stream, optional
        Standard error by default.
    seconds : float, optional
        Between two lines; by default 0.5 on a terminal, where the line is redrawn, and 10 elsewhere.
    """

    def __init__(self, name: str, folder: Path, stream: TextIO | None = None, seconds: float | None = None) -> None:
        self._name = name
        self._folder = folder
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._seconds = seconds or (_REDRAWN if self._terminal else _NEW_LINE)
        self._start = time.monotonic()
        self._done, self._total, self._stage = 0, 0, "reading the file"
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="display", daemon=True)

    def __enter__(self) -> Display:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._draw(last=True)

    def frames(self, total: int) -> None:
        """Say how many frames there are, and that they are begun."""
        self._total, self._stage = total, ""
        self._draw()

    def frame_done(self) -> None:
        """Count one more frame."""
        self._done += 1
        if self._terminal:
            self._draw()

    @property
    def complete(self) -> bool:
        """Whether all frames are done."""
        return self._done == self._total

    def stage(self, text: str) -> None:
        """Say what is done after the frames."""
        self._stage = text

    def text(self) -> str:
        """Return the line."""
        parts = [f"{self._name}: {self._done}/{self._total} frames" if self._total else f"{self._name}:"]
        if self._stage:
            parts.append(self._stage)
        elif self._done < self._total:
            found = under_way(self._folder)
            parts += [f"frame {frame}: {text}" for frame, text in list(found.items())[:_MOST_FRAMES]]
            if len(found) > _MOST_FRAMES:
                parts.append(f"{len(found) - _MOST_FRAMES} more")
        seconds = int(time.monotonic() - self._start)
        parts.append(f"{seconds // 60}:{seconds % 60:02d}")
        return ", ".join(parts).replace(":, ", ": ", 1)

    def _run(self) -> None:
        while not self._end.wait(self._seconds):
            self._draw()

    def _draw(self, *, last: bool = False) -> None:
        with self._lock:
            if last:
                self._stage = ""
            text = self.text()
            if self._terminal:
                width = shutil.get_terminal_size().columns - 1
                text = f"\r{text[:width]:<{width}}" + ("\n" if last else "")
            else:
                text += "\n"
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):  # nobody reads it any more
                self._end.set()
