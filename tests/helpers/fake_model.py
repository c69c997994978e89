"""A stand-in for `PhaseModel`: answers at once, by position, and counts how often it was asked.

Lengths, species slots, bonds and all checks are those of the real model; only the logits are made up, and templates are
held against them where a test asks for it alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.atoms.network_frame import NetworkFrame, network_frame
from ovito_mace_phase.classification import stages
from ovito_mace_phase.classification.geometry.geometry import Geometry
from ovito_mace_phase.classification.readout.kept_logits import KeptLogits
from ovito_mace_phase.classification.settings import Settings
from ovito_mace_phase.classification.verified import unverified
from ovito_mace_phase.model import store
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.runtime.watch import Watch

N_SLOTS = 6
R_MAX = 6.0
SPLIT = 7.0  # atoms with x below are FCC, the others HCP


class FakeModel:
    """Logit 0 for the phase of an atom, -1 for BCC, -8 for all others.

    Parameters
    ----------
    seconds : float
        That an evaluation takes.
    stray : int, optional
        An atom that is a little more BCC than what its neighbours are.
    """

    def __init__(self, seconds: float = 0.0, stray: int | None = None) -> None:
        self.phases = tuple(phase_table())
        self.name, self.device, self.evaluates_parts = "fake", "cpu", False
        self.card = {"name": self.name}
        self.calibration = Calibration()
        self.seconds, self.stray = seconds, stray
        self.frames: list[Frame] = []
        self.length_scales: list[float | None] = []
        self.cancelled = False

    @property
    def calls(self) -> int:
        """Evaluations so far."""
        return len(self.frames)

    def network_frame(
        self, frame: Frame, length_scale: float | None = None, cancelled: Callable[[], bool] | None = None
    ) -> NetworkFrame:
        """As `PhaseModel.network_frame`."""
        self.length_scales.append(length_scale)
        return network_frame(frame, r_max=R_MAX, n_slots=N_SLOTS, length_scale=length_scale, cancelled=cancelled)

    def stream_logits(
        self,
        frame: NetworkFrame,
        keep: Callable[[npt.NDArray[np.int64], npt.NDArray[np.float32]], None],
        *,
        memory: int | str | None = None,
        watch: Watch | None = None,
        with_bonds: bool = False,
    ) -> None:
        """As `PhaseModel.stream_logits`."""
        self.frames.append(frame.frame)
        for step in range(20 if self.seconds else 1):
            if watch is not None and watch.cancelled is not None and watch.cancelled():
                self.cancelled = True
                watch.check()
            if watch is not None and watch.progress is not None:
                watch.progress((step + 1) / 20)
            time.sleep(self.seconds / 20)
        keep(np.arange(len(frame)), self.logits(frame.frame))

    def logit_summary(self, *_: object, **__: object) -> None:
        """As `PhaseModel.logit_summary` on the CPU."""

    def logits(self, frame: Frame) -> npt.NDArray[np.float32]:
        """Return the logits of a frame, (n_atoms, n_phases)."""
        keys = [phase.key for phase in self.phases]
        out = np.full((len(frame), len(keys)), -8.0, dtype=np.float32)
        out[:, keys.index("BCC")] = -1.0
        left = frame.positions[:, 0] < SPLIT
        out[left, keys.index("FCC")] = 0.0
        out[~left, keys.index("HCP")] = 0.0
        if self.stray is not None:
            out[self.stray, keys.index("BCC")] = 0.5
        return out


def as_made_up(
    kept: KeptLogits, calibration: Calibration, settings: Settings, possible: npt.NDArray[np.bool_], **_: object
) -> tuple[Geometry, npt.NDArray[np.float32]]:
    """As `verified`, but the labels stay as they are and nothing is fitted."""
    verdict, margin = unverified(kept, calibration, settings, possible)
    return Geometry(verdict=verdict, factor=kept.frame.factor, parts=()), margin


def use(fake: FakeModel) -> FakeModel:
    """As `install`, for a process of its own."""
    store.get_model = lambda model, device, backend="engine": fake
    stages.verified = as_made_up
    return fake


def install(monkeypatch, seconds: float = 0.0, stray: int | None = None, *, templates: bool = False) -> FakeModel:
    """Let the modifier use a fake instead of a model file; `templates`: hold the made up labels against them."""
    fake = FakeModel(seconds, stray)
    monkeypatch.setattr(store, "get_model", lambda model, device, backend="engine": fake)
    if not templates:
        monkeypatch.setattr(stages, "verified", as_made_up)
    return fake
