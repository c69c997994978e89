"""The work folder: one file per finished frame, written atomically, and the settings of the run.

settings.json           what the run was asked for, with checksums of input and model
frame_<number>.zip      record.json, the labelled atoms as text, atoms.npz for pictures
lock                    held by the run that works here
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from filelock import FileLock, Timeout

from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.runtime.files import finished_file

from .record import FrameAtoms, FrameRecord

FORMAT = 3
_LABELLED, _RECORD, _ATOMS = "labelled", "record.json", "atoms.npz"
_NAMES = {"input": "the input file", "model": "the model", "version": "the version of ovito-mace-phase"}


class WorkFolder:
    """The finished frames of one run; use it in a `with` statement, which holds the lock.

    Parameters
    ----------
    path : Path
        Made if needed.
    settings : mapping
        All that the results depend on, as JSON can hold it.
    restart : bool
        Throw away the frames that are there.

    Raises
    ------
    InputError
        When another run works here, or the frames were made with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], *, restart: bool = False) -> None:
        self.path = path
        self._settings = json.loads(json.dumps({"format": FORMAT, **settings}))
        self._restart = restart
        self._lock: FileLock | None = None

    def __enter__(self) -> WorkFolder:
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.path / "lock")
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise InputError(
                f"another run is working in {self.path}; wait for it, end it, or choose another output folder"
            ) from None
        except NotImplementedError:  # a file system without locks
            self._lock = None
        try:
            self._begin()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the folder; one without a finished frame is removed."""
        if self.path.exists() and not self.done():
            self.remove()
        self._release()

    def done(self) -> set[int]:
        """Return the numbers of the finished frames."""
        return {int(match[1]) for match in (_FRAME.fullmatch(path.name) for path in self.path.iterdir()) if match}

    def record(self, frame: int) -> FrameRecord:
        """Read the record of a finished frame."""
        with zipfile.ZipFile(frame_path(self.path, frame)) as stored:
            return FrameRecord.from_json(stored.read(_RECORD))

    def atoms(self, frame: int) -> FrameAtoms:
        """Read the atoms of a finished frame."""
        with (
            zipfile.ZipFile(frame_path(self.path, frame)) as stored,
            stored.open(_ATOMS) as stream,
            np.load(stream) as arrays,
        ):
            kinds = json.loads(str(arrays["kinds"]))
            return FrameAtoms(
                positions=arrays["positions"],
                phase=arrays["phase"],
                cell=arrays["cell"] if arrays["cell"].size else None,
                kinds=tuple((int(number), str(key), tuple(color)) for number, key, color in kinds),
            )

    def copy_labelled(self, frame: int, target: IO[bytes]) -> None:
        """Append the labelled atoms of a finished frame to a stream."""
        with zipfile.ZipFile(frame_path(self.path, frame)) as stored, stored.open(_LABELLED) as source:
            shutil.copyfileobj(source, target, 2**20)

    def remove(self) -> None:
        """Remove the folder with all in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _begin(self) -> None:
        """Write the settings, or compare them with those of the frames that are there; clean up after a kill."""
        index = self.path / "settings.json"
        if self._restart or not index.exists():
            for path in self.path.glob("frame_*.zip"):
                path.unlink()
        elif changed := self._changes(index):
            raise InputError(
                f"{self.path} holds the {len(self.done())} finished frames of a run that was cut off, and "
                f"{'; '.join(changed)}. Repeat the command as it was, choose another output folder, or throw these "
                "frames away with --restart (restart=True)"
            )
        for path in self.path.glob(".*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for frame in self.done():
            if not _is_whole(frame_path(self.path, frame)):  # cut short when the machine went down
                frame_path(self.path, frame).unlink()
        with finished_file(index) as temporary:
            temporary.write_text(json.dumps(self._settings, indent=1), encoding="utf-8")

    def _changes(self, index: Path) -> list[str]:
        try:
            before = json.loads(index.read_text(encoding="utf-8"))
        except ValueError:
            before = {}
        names = dict.fromkeys([*self._settings, *before])
        changed = [name for name in names if before.get(name) != self._settings.get(name)]
        changed = ["version"] if "version" in changed else changed  # the names of settings may be others there
        return [
            f"{_NAMES[name]} has changed since"
            if name in _NAMES
            else f"{name} was {before.get(name)!r} and is {self._settings.get(name)!r} now"
            for name in changed
        ]

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()


_FRAME = re.compile(r"frame_(\d+)\.zip")


def frame_path(folder: Path, frame: int) -> Path:
    """Return the path of a finished frame."""
    return folder / f"frame_{frame:07d}.zip"


def store_frame(folder: Path, record: FrameRecord, atoms: FrameAtoms, labelled: Path | None) -> None:
    """Write a finished frame, in a worker.

    Parameters
    ----------
    folder : Path
        Of the run.
    record : FrameRecord
    atoms : FrameAtoms
    labelled : Path or None
        Text file of the labelled atoms.
    """
    target = frame_path(folder, record.summary.frame)
    with finished_file(target) as temporary, temporary.open("wb") as stream:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as stored:
            stored.writestr(_RECORD, record.to_json())
            with stored.open(zipfile.ZipInfo(_ATOMS), "w", force_zip64=True) as member:
                np.savez(
                    member,
                    positions=atoms.positions,
                    phase=atoms.phase,
                    cell=np.zeros(0) if atoms.cell is None else atoms.cell,
                    kinds=np.array(json.dumps(atoms.kinds)),
                )
            if labelled is not None:
                with labelled.open("rb") as source, stored.open(_LABELLED, "w", force_zip64=True) as member:
                    shutil.copyfileobj(source, member, 2**20)
        stream.flush()
        os.fsync(stream.fileno())


def _is_whole(path: Path) -> bool:
    """Tell whether a frame can be read to its end; `is_zipfile` takes the end of an archive within it for its own."""
    try:
        with zipfile.ZipFile(path) as stored:
            return _RECORD in stored.namelist() and stored.testzip() is None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError):
        return False
