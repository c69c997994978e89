"""Which files of the package a frame passes on its way through the modifier, from `modify` to the properties written.

    python docs/tools/frame_walk.py [dump]

A file counts when one of its Python functions runs while a second frame is classified with default settings, model and
kernels being there already; files are listed in the order in which they are first entered.
"""

from __future__ import annotations

import sys
import threading
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

from ovito.io import import_file

import ovito_mace_phase
from ovito_mace_phase import MacePhaseModifier

PACKAGE = str(Path(ovito_mace_phase.__file__).parent)
DUMP = "sample_dumps/cu_melting.dump.gz"


def walk(dump: str) -> list[str]:
    """Return the files that the second frame of a dump passes."""
    line = import_file(dump)
    line.modifiers.append(MacePhaseModifier())
    line.compute(0)
    seen: dict[str, None] = {}

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE) and frame.f_code.co_name != "<module>":
            seen[frame.f_code.co_filename.removeprefix(PACKAGE + "/")] = None

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        line.compute(1)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return list(seen)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    files = walk(sys.argv[1] if len(sys.argv) > 1 else DUMP)
    print("\n".join(files))
    print(f"{len(files)} files")
