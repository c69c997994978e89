"""Logits of the frames seen last, bounded in bytes, so that cheap settings answer at once.

The key is the content (positions, species, cell and the settings the network sees), not the frame number: an entry
can never belong to other atoms.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

import numpy as np

from .frame import Frame

MAX_BYTES = 512 * 2**20


class LogitCache:
    """Least recently used logits, at most `max_bytes` of them.

    Parameters
    ----------
    max_bytes : int
        A frame that is larger on its own is not kept.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self._entries: OrderedDict[str, np.ndarray] = OrderedDict()

    def get(self, key: str) -> np.ndarray | None:
        """Return the logits stored under `key`, or None."""
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def put(self, key: str, logits: np.ndarray) -> None:
        """Keep `logits` (n_atoms, n_phases), dropping the oldest entries that no longer fit."""
        if logits.nbytes > self.max_bytes:
            return
        self._entries[key] = logits
        self._entries.move_to_end(key)
        while sum(entry.nbytes for entry in self._entries.values()) > self.max_bytes:
            self._entries.popitem(last=False)


def content_key(frame: Frame, *settings: Any) -> str:
    """Return a digest of all that the logits depend on.

    Parameters
    ----------
    frame : Frame
    *settings
        Whatever else matters; its `repr` is used.
    """
    digest = hashlib.blake2b(repr((frame.species_names, settings)).encode(), digest_size=16)
    for array in (frame.positions, frame.species, frame.cell, frame.pbc):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
