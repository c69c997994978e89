"""Reading `npz` files of structures and snapshots: a foreign or damaged file is named."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame, make_frame
from ovito_mace_phase.runtime.errors import InputError


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return all arrays of an `npz` file; nothing is unpickled.

    Raises
    ------
    InputError
        When the file cannot be read as such.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, TypeError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is no npz file of plain arrays, or it is damaged ({type(error).__name__})") from error


def frame_of(arrays: dict[str, npt.NDArray[Any]], path: Path) -> Frame:
    """Make a frame of the arrays positions, species, cell and pbc that came from `path`."""
    missing = [name for name in ("positions", "species", "cell", "pbc") if name not in arrays]
    if missing:
        raise InputError(f"{path} is no snapshot: it lacks the arrays {', '.join(missing)}")
    return make_frame(arrays["positions"], arrays["species"], arrays["cell"], arrays["pbc"])
