"""A stand-in for `PhaseModel`: answers at once, by position, and counts how often it was asked.

It has the real normalisation of lengths and species and real bonds, so that the default prior is at work.
"""

from __future__ import annotations

import time

import numpy as np

from ovito_mace_phase.atoms.network_frame import network_frame
from ovito_mace_phase.model import store
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.runtime.errors import CancelledError

N_SLOTS = 6
R_MAX = 6.0
SPLIT = 7.0  # atoms with x below are FCC, the others HCP


class FakeModel:
    """Logit 0 for the phase of an atom, -1 for BCC, -8 for all others."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.phases = tuple(phase_table())
        self.name = "fake"
        self.card = {"name": self.name}
        self.calibration = Calibration()
        self.seconds = seconds
        self.calls = 0
        self.cancelled = False

    def network_frame(self, frame, length_scale=None, cancelled=None):
        return network_frame(frame, r_max=R_MAX, n_slots=N_SLOTS, length_scale=length_scale, cancelled=cancelled)

    def stream_logits(self, frame, keep, *, memory=None, watch=None):
        self.calls += 1
        for step in range(20 if self.seconds else 1):
            if watch is not None and watch.cancelled is not None and watch.cancelled():
                self.cancelled = True
                raise CancelledError("stopped")
            if watch is not None and watch.progress is not None:
                watch.progress((step + 1) / 20)
            time.sleep(self.seconds / 20)
        keep(np.arange(len(frame)), self.logits(frame.frame))

    def logits(self, frame):
        keys = [phase.key for phase in self.phases]
        out = np.full((len(frame), len(keys)), -8.0, dtype=np.float32)
        out[:, keys.index("BCC")] = -1.0
        left = frame.positions[:, 0] < SPLIT
        out[left, keys.index("FCC")] = 0.0
        out[~left, keys.index("HCP")] = 0.0
        return out


def install(monkeypatch, seconds: float = 0.0) -> FakeModel:
    """Let the modifier use a fake instead of a model file."""
    fake = FakeModel(seconds)
    monkeypatch.setattr(store, "get_model", lambda model, device, backend="engine": fake)
    return fake
