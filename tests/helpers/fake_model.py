"""A stand-in for `PhaseModel`: answers at once, by position, and counts how often it was asked."""

from __future__ import annotations

import time

import numpy as np

from ovito_mace_phase.atoms.bonds import Bonds
from ovito_mace_phase.atoms.length_scale import length_factor, local_spacing
from ovito_mace_phase.atoms.network_frame import Units
from ovito_mace_phase.atoms.species import assign_carriers
from ovito_mace_phase.classification.readout.logits import ScoreKeeper
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.runtime.errors import CancelledError

N_CARRIERS = 6
SPLIT = 7.0  # atoms with x below are FCC, the others HCP


def no_bonds(n_atoms: int) -> Bonds:
    """Atoms without neighbours: the local prior then changes nothing."""
    return Bonds(
        order=np.arange(n_atoms, dtype=np.int32),
        offsets=np.zeros(n_atoms + 1, dtype=np.int64),
        neighbour=np.zeros(0, dtype=np.int32),
    )


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

    def units(self, frame, length_scale=None, cancelled=None):
        spacing = local_spacing(frame, cancelled)
        return Units(factor=length_factor(spacing), carrier=assign_carriers(frame, N_CARRIERS, spacing))

    def scores(self, frame, *, progress=None, cancelled=None, full=True, considered=None, keys=(), **_ignored):
        keeper = ScoreKeeper(len(frame), self.phases, 1.0, full=full, considered=considered, keys=keys)
        keeper.add(np.arange(len(frame)), self._logits(frame, progress, cancelled))
        return keeper.result(no_bonds(len(frame)))

    def _logits(self, frame, progress, cancelled):
        self.calls += 1
        assign_carriers(frame, N_CARRIERS, local_spacing(frame))  # the checks of the real model
        keys = [phase.key for phase in self.phases]
        out = np.full((len(frame), len(keys)), -8.0, dtype=np.float32)
        out[:, keys.index("BCC")] = -1.0
        left = frame.positions[:, 0] < SPLIT
        out[left, keys.index("FCC")] = 0.0
        out[~left, keys.index("HCP")] = 0.0
        for step in range(20 if self.seconds else 1):
            if cancelled is not None and cancelled():
                self.cancelled = True
                raise CancelledError("stopped")
            if progress is not None:
                progress((step + 1) / 20)
            time.sleep(self.seconds / 20)
        return out


def install(monkeypatch, seconds: float = 0.0) -> FakeModel:
    """Let the modifier use a fake instead of a model file."""
    from ovito_mace_phase.model import store as model_store

    fake = FakeModel(seconds)
    monkeypatch.setattr(model_store, "get_model", lambda path, device: fake)
    return fake
