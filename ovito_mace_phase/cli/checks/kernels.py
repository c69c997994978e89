"""Whether compiled kernels were on disk, or this process had to compile them.

To be asked after a frame was classified: numba counts what it loaded (`cache_hits`) and what it compiled
(`cache_misses`) for every kernel that was called, and `cache_path` is where it keeps machine code, None for kernels
that are compiled into others.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .finding import Finding

PACKAGE = "ovito_mace_phase"


def check_kernels() -> Iterator[Finding]:
    """Yield how many kernels were loaded and compiled, and whether they can be kept."""
    counted = [kernel.stats for kernel in kernels()]
    loaded = sum(sum(one.cache_hits.values()) for one in counted)
    compiled = sum(sum(one.cache_misses.values()) for one in counted)
    folders = sorted({one.cache_path for one in counted if one.cache_path})
    locked = [folder for folder in folders if not _writable(Path(folder))]
    remedy = "set the environment variable NUMBA_CACHE_DIR to a folder that can be written"
    if not loaded and not compiled:
        yield Finding(name="kernels", text="none was called: this model runs without them")
    elif not folders or (compiled and locked):
        where = f", and {locked[0]} cannot be written" if locked else ", and no folder can be written to keep them"
        text = f"{loaded} loaded, {compiled} compiled{where}: every process compiles again"
        yield Finding(name="kernels", text=text, state="note", remedy=remedy)
    elif compiled:
        yield Finding(name="kernels", text=f"{loaded} loaded, {compiled} compiled now and kept for the next time")
    else:
        yield Finding(name="kernels", text=f"{loaded} loaded from disk, none had to be compiled")


def kernels() -> Iterator[Any]:
    """Yield the compiled functions of the modules that are imported, each once."""
    from numba.core.dispatcher import Dispatcher

    seen: set[int] = set()
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == PACKAGE:
            for value in vars(module).values():
                if isinstance(value, Dispatcher) and id(value) not in seen:
                    seen.add(id(value))
                    yield value


def _writable(folder: Path) -> bool:
    """Whether files can be made in a folder, or the folder itself."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)
