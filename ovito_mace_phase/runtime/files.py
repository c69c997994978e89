"""Atomic writes (a temporary file, renamed when complete), names of outputs, selections of frames."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError

_SUFFIXES = {".gz", ".bz2", ".xz", ".zst"}


@contextmanager
def finished_file(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """Give a temporary path with the suffix of `path`; rename it to `path` at the end, remove it after an error.

    The temporary file lies in `folder`, on the same disk; by default beside `path`.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=folder or path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def output_folder(path: Path) -> Path:
    """Create the output folder and check that it is writable.

    Raises
    ------
    InputError
        Naming the folder and the reason.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(
            f"cannot write to the output folder {path}: {error.strerror}; choose another one with -o"
        ) from None
    return path


def check_input(file: Path) -> None:
    """Check that there is a file to read; a pattern such as `dump.*` stands for the files of one trajectory.

    Raises
    ------
    InputError
        When there is none, it is empty, or a folder.
    """
    if "*" in file.name:
        if not list(file.parent.glob(file.name)):
            raise InputError(f"no file matches {file}")
        return
    if file.is_dir():
        raise InputError(f"{file} is a folder; give the files in it, for example {file}/*.dump")
    if not file.exists():
        raise InputError(f"there is no file {file}")
    with file.open("rb") as stream:
        if not stream.read(1):
            raise InputError(f"{file} is empty")


def input_stems(paths: Sequence[Path]) -> list[str]:
    """Return one name per input file for its outputs: without suffixes, numbered where they would collide.

    `cu.dump.gz` becomes `cu`; `dump.1000` keeps its number.
    """
    stems: list[str] = []
    for path in paths:
        name = path.name
        while Path(name).suffix.lower() in _SUFFIXES:
            name = Path(name).stem
        suffix = Path(name).suffix
        stem = name if re.fullmatch(r"\.\d+", suffix) else Path(name).stem
        stem = stem.replace("*", "all") or "atoms"
        number, unique = 2, stem
        while unique in stems:
            unique, number = f"{stem}_{number}", number + 1
        stems.append(unique)
    return stems


def parse_frames(spec: str, n_frames: int) -> range:
    """Return the frames that `A`, `A:B` or `A:B:C` selects, with Python's meaning of slices.

    Raises
    ------
    InputError
        When it is no such text or selects nothing.
    """
    parts = spec.strip().split(":")
    try:
        numbers = [int(part) if part.strip() else None for part in parts]
        if len(parts) > 3 or (len(parts) == 1 and numbers[0] is None) or (len(parts) == 3 and numbers[2] == 0):
            raise ValueError
    except ValueError:
        raise InputError(
            f"frames {spec!r} is no selection; write N, START:STOP or START:STOP:STEP, as in 0:100:10 or -1"
        ) from None
    if len(parts) == 1:
        index = numbers[0] or 0
        frames = range(n_frames)[index : index + 1 or None]
    else:
        frames = range(n_frames)[slice(*numbers)]
    if not len(frames):
        raise InputError(f"frames {spec!r} selects none of the {n_frames} frames (0 to {n_frames - 1})")
    return frames
