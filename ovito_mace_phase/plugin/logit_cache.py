"""Scores of the frames seen last, bounded in bytes, so that cheap settings answer at once.

The key is the content (positions, species, cell and the settings the network sees), not the frame number: an entry
can never belong to other atoms. Compact scores answer for the phases and order parameters they were made for.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.classification.readout.logits import FULL_BYTES, FullScores, PhaseScores

if TYPE_CHECKING:
    from ovito_mace_phase.classification.classify import EvaluationSettings
    from ovito_mace_phase.classification.denoise import Denoised

MAX_BYTES = FULL_BYTES + 2**20


class ScoreCache:
    """Least recently used scores, at most `max_bytes` of them.

    Parameters
    ----------
    max_bytes : int
        A frame that is larger on its own is not kept.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self._entries: OrderedDict[str, tuple[EvaluationSettings, PhaseScores, Denoised | None, float]] = OrderedDict()

    def get(self, key: str, wanted: EvaluationSettings) -> tuple[PhaseScores, Denoised | None] | None:
        """Return what is stored under `key`, or None if it does not answer what is wanted."""
        if key not in self._entries:
            return None
        asked, scores, denoised, _ = self._entries[key]
        if not isinstance(scores, FullScores):
            same = asked.phases == wanted.phases
            if not same or not set(wanted.order_parameters) <= set(asked.order_parameters):
                return None
        self._entries.move_to_end(key)
        return scores, denoised

    def factor(self, key: str) -> float:
        """Return the length factor of what is stored under `key`; 1 if there is nothing."""
        return self._entries[key][3] if key in self._entries else 1.0

    def put(
        self,
        key: str,
        wanted: EvaluationSettings,
        scores: PhaseScores,
        denoised: Denoised | None = None,
        factor: float = 1.0,
    ) -> None:
        """Keep `scores`, the way to the positions they belong to, and the length factor of the frame.

        The oldest entries that no longer fit are dropped.
        """
        if _size(scores, denoised) > self.max_bytes:
            return
        if key not in self._entries or self._entries[key][1] is not scores:
            self._entries[key] = (wanted, scores, denoised, factor)
        self._entries.move_to_end(key)
        while sum(_size(*entry[1:3]) for entry in self._entries.values()) > self.max_bytes:
            self._entries.popitem(last=False)


def _size(scores: PhaseScores, denoised: Denoised | None) -> int:
    if denoised is None:
        return scores.nbytes
    return scores.nbytes + 2 * denoised.displacement.nbytes + denoised.units.carrier.nbytes


def content_key(frame: Frame, *settings: Any) -> str:
    """Return a digest of all that the scores depend on.

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
