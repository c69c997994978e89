"""Snapshots of molecular dynamics handed over as folders of npz files; which suite takes which is told by their fields.

crystal     phase and T_over_Tm         sample_dumps/make_hot.py
melt        no phase, or OTHER          sample_dumps/make_melts.py
interface   frozen                      sample_dumps/make_interface.py
shock       pressure                    sample_dumps/make_shock.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.lab.data.npz import frame_of, read_arrays
from ovito_mace_phase.runtime.errors import InputError

Kind = Literal["crystal", "melt", "interface", "shock"]
_SCRIPTS: dict[Kind, str] = {
    "crystal": "make_hot.py",
    "melt": "make_melts.py",
    "interface": "make_interface.py",
    "shock": "make_shock.py",
}
WATER = ("ICE_", "CLATHRATE_")


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One npz snapshot: its name, frame, and all arrays."""

    name: str
    frame: Frame
    arrays: dict[str, npt.NDArray[Any]]

    @property
    def phase(self) -> str:
        """Key of the phase, OTHER for none."""
        return str(self.arrays.get("phase", "OTHER"))

    @property
    def counted(self) -> npt.NDArray[np.bool_]:
        """Atoms whose label counts: all, but only the oxygens of an ice."""
        if self.phase.startswith(WATER):
            return oxygens(self.frame)
        return np.ones(len(self.frame), dtype=bool)


def archives(folders: Sequence[Path], kind: Kind, *, need: bool = True) -> list[Archive]:
    """Read the snapshots of one kind from folders.

    Raises
    ------
    InputError
        Without folders, for one that does not exist, and when there is no such snapshot: which script makes them.
    """
    remedy = f"make them with `python sample_dumps/{_SCRIPTS[kind]} -o DIR` and pass --frames DIR"
    if not folders and need:
        raise InputError(f"this suite needs snapshots of molecular dynamics: {remedy}")
    out = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"there is no folder {folder}; {remedy}")
        for path in sorted(folder.glob("*.npz")):
            arrays = read_arrays(path)
            if _kind(arrays) == kind:
                out.append(Archive(name=path.stem, frame=frame_of(arrays, path), arrays=arrays))
    if not out and need:
        names = ", ".join(map(str, folders))
        raise InputError(f"no snapshots for this suite (npz with the fields of {_SCRIPTS[kind]}) in {names}; {remedy}")
    return out


def oxygens(frame: Frame) -> npt.NDArray[np.bool_]:
    """Return which atoms of a frame of water are oxygens: the rarer of its two species."""
    return frame.species == np.argmin(np.bincount(frame.species))


def _kind(arrays: dict[str, npt.NDArray[Any]]) -> Kind | None:
    if "frozen" in arrays:
        return "interface"
    if "pressure" in arrays:
        return "shock"
    if str(arrays.get("phase", "OTHER")) == "OTHER":
        return "melt"
    return "crystal" if "T_over_Tm" in arrays else None
