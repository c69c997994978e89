"""Text in a PNG file: an iTXt chunk for each entry, behind the header; the picture stays as it is, byte for byte.

chunk = length (4 bytes), type, keyword 0 0 0 0 0 text, CRC of type and data (4 bytes): PNG specification, 11.3.3.4
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_END = 33  # signature, then the chunk IHDR of 25 bytes


def add_text(path: Path, entries: Mapping[str, str]) -> None:
    """Put entries into a PNG file.

    Parameters
    ----------
    path : Path
    entries : mapping of str to str
        Keyword (Latin-1, at most 79 characters) -> text.

    Raises
    ------
    ValueError
        When the file is no PNG, or a keyword is too long.
    """
    content = path.read_bytes()
    if not content.startswith(_SIGNATURE):
        raise ValueError(f"{path} is no PNG file")
    chunks = b"".join(_chunk(keyword, text) for keyword, text in entries.items())
    path.write_bytes(content[:_HEADER_END] + chunks + content[_HEADER_END:])


def _chunk(keyword: str, text: str) -> bytes:
    name = keyword.encode("latin-1")
    if not 0 < len(name) < 80:
        raise ValueError(f"the keyword {keyword!r} must have 1 to 79 characters")
    body = b"iTXt" + name + b"\0\0\0\0\0" + text.encode()
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
