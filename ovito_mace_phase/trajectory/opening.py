"""Opening a trajectory file, and whether it is cut short: OVITO says so on standard error alone.

<stderr>  ... Scanning of the trajectory file "..." aborted prematurely after 3 frames due to an error: "..."
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ovito.io import import_file
from ovito.pipeline import Pipeline

from ovito_mace_phase.runtime.errors import InputError

from .task import FrameTask

_CUT = re.compile(r'^.*Scanning of the trajectory file ".*" aborted prematurely .*: "(.*)"\.?\s*$', re.MULTILINE)


def opened(task: FrameTask) -> tuple[Pipeline, str]:
    """Open the file of a task; return the pipeline and why its frames end early, "" where they do not.

    Raises
    ------
    InputError
        When OVITO does not take a keyword of the reader.
    """
    heard: list[str] = []
    try:
        with _standard_error(heard):
            pipeline = import_file(str(task.file), **dict(task.reader))
    except (KeyError, TypeError, ValueError) as error:  # of OVITO, for a keyword that its reader of this format lacks
        if not task.reader:
            raise
        given = ", ".join(f"{name} = {value!r}" for name, value in task.reader)
        raise InputError(
            f"OVITO does not read {task.file} with {given}: {error.args[0] if error.args else error}"
        ) from error
    cut = _CUT.search("".join(heard))
    return pipeline, cut[1] if cut else ""


@contextmanager
def _standard_error(heard: list[str]) -> Iterator[None]:
    """Catch what is written to standard error, by C++ too, and let through all but the line that is understood here."""
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    try:
        before = os.dup(2)
    except OSError:  # there is none
        yield
        return
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            caught.seek(0)
            text = caught.read().decode(errors="replace")
            heard.append(text)
            if rest := _CUT.sub("", text).strip("\r\n"):
                print(rest, file=sys.stderr)  # noqa: T201 - what OVITO said
