"""Snapshots of molecular dynamics in folders of npz files, for training and for the evaluation suites.

    positions (n, 3), species (n,), cell (3, 3), pbc (3,);  phase and displacement where there is a crystal

crystal     phase and T_over_Tm         sample_dumps/make_hot.py
melt        no phase, or OTHER          sample_dumps/make_melts.py
interface   frozen                      sample_dumps/make_interface.py
shock       pressure                    sample_dumps/make_shock.py
built       truth, pressure             sample_dumps/make_titanium.py
piston      piston                      sample_dumps/make_piston.py

A damaged or foreign file is named; nothing is unpickled.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame, make_frame
from ovito_mace_phase.runtime.errors import InputError

Kind = Literal["crystal", "melt", "interface", "shock", "built", "piston"]
_SCRIPTS: dict[Kind, str] = {
    "crystal": "make_hot.py",
    "melt": "make_melts.py",
    "interface": "make_interface.py",
    "shock": "make_shock.py",
    "built": "make_titanium.py",
    "piston": "make_piston.py",
}
WATER = ("ICE_", "CLATHRATE_")


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A frame of molecular dynamics.

    Attributes
    ----------
    name : str
    frame : Frame
    phase : str or None
        Key of the phase; None: no crystal.
    displacement : (n_atoms, 3) float64 or None
        Position minus site.
    arrays : dict
        All arrays of the file.
    """

    name: str
    frame: Frame
    phase: str | None
    displacement: npt.NDArray[np.float64] | None = None
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Key of the phase, OTHER for none."""
        return self.phase or "OTHER"

    @property
    def counted(self) -> npt.NDArray[np.bool_]:
        """Atoms whose label counts: all, but only the oxygens of an ice."""
        return oxygens(self.frame) if self.key.startswith(WATER) else np.ones(len(self.frame), dtype=bool)


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return all arrays of an npz file; InputError when the file cannot be read as such."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, TypeError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is no npz file of plain arrays, or it is damaged ({type(error).__name__})") from error


def read_snapshots(folder: Path) -> list[Snapshot]:
    """Read all snapshots of a folder; InputError when there is none."""
    found = [_snapshot(path, read_arrays(path)) for path in sorted(folder.glob("*.npz"))]
    if not found:
        raise InputError(f"no snapshots (*.npz) in {folder}; sample_dumps/make_hot.py and make_melts.py make them")
    return found


def melts_by_system(folder: Path | None) -> dict[str, list[Frame]]:
    """Read the frames of `sample_dumps/make_melts.py` by system: of `liquid_Cu_1.20Tm_0.npz` it is `liquid_Cu`."""
    melts: dict[str, list[Frame]] = {}
    for snapshot in [] if folder is None else read_snapshots(folder):
        melts.setdefault("_".join(snapshot.name.split("_")[:2]), []).append(snapshot.frame)
    return melts


def snapshots_of(folders: Sequence[Path], kind: Kind, *, need: bool = True) -> list[Snapshot]:
    """Read the snapshots of one kind from folders.

    Raises
    ------
    InputError
        For a folder that does not exist; if snapshots are needed, without folders and when there is none of the kind.
    """
    remedy = f"make them with `python sample_dumps/{_SCRIPTS[kind]} -o DIR` and pass --frames DIR"
    if not folders and need:
        raise InputError(f"this suite needs snapshots of molecular dynamics: {remedy}")
    found = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"there is no folder {folder}; {remedy}")
        for path in sorted(folder.glob("*.npz")):
            arrays = read_arrays(path)
            if _kind(arrays) == kind:
                found.append(_snapshot(path, arrays))
    if not found and need:
        names = ", ".join(map(str, folders))
        raise InputError(f"no snapshots for this suite (npz with the fields of {_SCRIPTS[kind]}) in {names}; {remedy}")
    return found


def oxygens(frame: Frame) -> npt.NDArray[np.bool_]:
    """Return which atoms of a frame of water are oxygens: the rarer of its two species."""
    return frame.species == np.argmin(np.bincount(frame.species))


def _snapshot(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> Snapshot:
    missing = [name for name in ("positions", "species", "cell", "pbc") if name not in arrays]
    if missing:
        raise InputError(f"{path} is no snapshot: it lacks the arrays {', '.join(missing)}")
    phase = str(arrays.get("phase", "OTHER"))
    return Snapshot(
        name=path.stem,
        frame=make_frame(arrays["positions"], arrays["species"], arrays["cell"], arrays["pbc"]),
        phase=None if phase == "OTHER" else phase,
        displacement=arrays.get("displacement"),
        arrays=arrays,
    )


def _kind(arrays: dict[str, npt.NDArray[Any]]) -> Kind | None:
    named: dict[str, Kind] = {"frozen": "interface", "truth": "built", "piston": "piston", "pressure": "shock"}
    for field_name, kind in named.items():
        if field_name in arrays:
            return kind
    if str(arrays.get("phase", "OTHER")) == "OTHER":
        return "melt"
    return "crystal" if "T_over_Tm" in arrays else None  # those of training have no temperature
