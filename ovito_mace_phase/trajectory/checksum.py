"""Checksums: whether a resumed run has the input and the model it began with; what results were made from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

_WHOLE = 2**28  # bytes up to which a file is read as a whole: a third of a second
_BLOCK = 2**20
_SAMPLES = 64


def checksum(paths: Iterable[Path]) -> str:
    """Return a checksum of names, sizes and contents of files.

    Of a file of more than 256 MB, 64 blocks of 1 MB are read, evenly spread, the first and the last among them: a
    change of single digits elsewhere in such a file is not seen.

    Raises
    ------
    OSError
        For a file that cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as stream:
            if size <= _WHOLE:
                while block := stream.read(_BLOCK):
                    digest.update(block)
                continue
            for number in range(_SAMPLES):
                stream.seek(number * (size - _BLOCK) // (_SAMPLES - 1))
                digest.update(stream.read(_BLOCK))
    return digest.hexdigest()


def named_checksum(paths: Sequence[Path]) -> str:
    """Return a checksum for people: "sha256 ...", as `sha256sum` gives it, of one file of up to 256 MB.

    For several files, and for larger ones, "blake2b of samples ...", which is `checksum`.
    """
    if len(paths) == 1 and paths[0].stat().st_size <= _WHOLE:
        return f"sha256 {hashlib.sha256(paths[0].read_bytes()).hexdigest()}"
    return f"blake2b of samples {checksum(paths)}"


def input_files(path: Path) -> list[Path]:
    """Return the files of a trajectory: one, or those that a pattern such as `dump.*` matches, by name."""
    return sorted(path.parent.glob(path.name)) if "*" in path.name else [path]
