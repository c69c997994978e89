"""All that a worker needs to classify one frame of a trajectory file: plain data, so that it can be sent anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ovito_mace_phase.classification.settings import Settings
from ovito_mace_phase.runtime.version import VERSION

FileFormat = Literal["xyz", "dump"]


@dataclass(frozen=True, kw_only=True)
class FrameTask:
    """The frames of a file and what to do with each.

    Attributes
    ----------
    file : Path
        Or a pattern such as `dump.*`.
    select : str
        OVITO expression, "" for all atoms.
    settings : Settings
    folder : Path
        Where finished frames go.
    file_format : 'xyz', 'dump' or None
        Of the labelled atoms; None keeps none.
    reader : tuple of (name, value)
        Keywords of OVITO's reader: `atom_style` of LAMMPS data, `columns` of plain XYZ and dumps.
    version : str
        Of the package that asks.
    """

    file: Path
    select: str
    settings: Settings
    folder: Path
    file_format: FileFormat | None
    reader: tuple[tuple[str, Any], ...] = ()
    version: str = VERSION


def unreadable(frame: int, file: Path) -> str:
    """Return how the message begins where OVITO cannot read a frame."""
    return f"OVITO cannot read frame {frame} of {file}"
