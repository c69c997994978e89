"""Logits of the last frames, limited in bytes, so that a cheap change of settings takes effect at once.

The key is the content (positions, species, cell and the settings the network sees), not the frame number: an entry
can never belong to other atoms. Logits of which only the best were kept answer for the phases and order parameters
they were made for.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.classification.readout.kept_logits import FULL_BYTES, KeptLogits

if TYPE_CHECKING:
    from ovito_mace_phase.classification.denoise import Denoised
    from ovito_mace_phase.classification.settings import Settings

MAX_BYTES = FULL_BYTES + FULL_BYTES // 4


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is kept of one frame: its logits, and by `stages.denoising_key` where denoising led and the logits there.

    `sampled` says that the logits are those of `stages.sample_of`.
    """

    kept: KeptLogits | None = None
    sampled: bool = False
    after: dict[Hashable, tuple[Denoised, KeptLogits]] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Memory taken, bytes."""
        found = 0 if self.kept is None else self.kept.nbytes
        return found + sum(denoised.displacement.nbytes + kept.nbytes for denoised, kept in self.after.values())


class LogitCache:
    """Least recently used entries, at most `max_bytes` of them; a frame that is larger on its own is not kept."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self._entries: OrderedDict[str, tuple[Settings, Entry]] = OrderedDict()

    def get(self, key: str, settings: Settings) -> Entry | None:
        """Return what is stored under `key`, or None if it does not answer the settings."""
        if key not in self._entries:
            return None
        asked, entry = self._entries[key]
        if entry.kept is not None and entry.kept.all_logits is None:
            wanted, known = set(settings.order_parameters or ()), set(asked.order_parameters or ())
            if asked.phases != settings.phases or not wanted <= known:
                return None
        self._entries.move_to_end(key)
        return entry

    def put(self, key: str, settings: Settings, entry: Entry) -> None:
        """Keep an entry; of several ways of denoising the last. The oldest that no longer fit are dropped."""
        if entry.nbytes > self.max_bytes:
            entry = Entry(kept=entry.kept, sampled=entry.sampled)
            if entry.nbytes > self.max_bytes:
                return
        stored = self._entries.get(key)
        if stored is not None and stored[1].kept is entry.kept:
            settings = stored[0]
            entry = Entry(kept=entry.kept, sampled=entry.sampled, after=entry.after or stored[1].after)
        self._entries[key] = (settings, entry)
        self._entries.move_to_end(key)
        while sum(one.nbytes for _, one in self._entries.values()) > self.max_bytes and len(self._entries) > 1:
            self._entries.popitem(last=False)


def content_key(frame: Frame, *settings: Any) -> str:
    """Return a digest of everything that the logits depend on.

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
