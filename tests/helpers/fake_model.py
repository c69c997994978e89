"""A stand-in for `PhaseModel`: answers at once, by position, and counts how often it was asked.

Lengths, carriers, bonds and all checks are those of the real model; only the logits are made up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.bonds import find_bonds
from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.atoms.network_frame import Units
from ovito_mace_phase.classification.readout.logits import PhaseScores, ScoreKeeper
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.runtime.errors import CancelledError

N_CARRIERS = 6
SPLIT = 7.0  # atoms with x below are FCC, the others HCP


class FakeModel:
    """Logit 0 for the phase of an atom, -1 for BCC, -8 for all others.

    Parameters
    ----------
    seconds : float
        That an evaluation takes.
    stray : int, optional
        An atom that has 0.5 for BCC, more than for the phase of those around it.
    """

    def __init__(self, seconds: float = 0.0, stray: int | None = None) -> None:
        self.phases = tuple(phase_table())
        self.name = "fake"
        self.card = {"name": self.name}
        self.calibration = Calibration()
        # as much of a network as `units` looks at
        self.evaluator = SimpleNamespace(
            weights=SimpleNamespace(config=SimpleNamespace(elements=tuple(range(N_CARRIERS))))
        )
        self.seconds, self.stray = seconds, stray
        self.frames: list[Frame] = []
        self.length_scales: list[float | None] = []
        self.cancelled = False

    units = PhaseModel.units

    @property
    def calls(self) -> int:
        """Evaluations so far."""
        return len(self.frames)

    def scores(
        self,
        frame: Frame,
        *,
        length_scale: float | None = None,
        units: Units | None = None,
        full: bool = True,
        considered: Sequence[int] | None = None,
        keys: Sequence[str] = (),
        memory: int | str | None = None,
        progress: Callable[[float], None] | None = None,
        status: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> PhaseScores:
        """As `PhaseModel.scores`."""
        self.frames.append(frame)
        self.length_scales.append(length_scale)
        chosen = units or self.units(frame, length_scale, cancelled)
        keeper = ScoreKeeper(len(frame), self.phases, 1.0, full=full, considered=considered, keys=keys)
        keeper.add(np.arange(len(frame)), self._logits(frame, progress, cancelled))
        return keeper.result(find_bonds(frame, chosen, cancelled))

    def _logits(
        self, frame: Frame, progress: Callable[[float], None] | None, cancelled: Callable[[], bool] | None
    ) -> npt.NDArray[np.float32]:
        keys = [phase.key for phase in self.phases]
        out = np.full((len(frame), len(keys)), -8.0, dtype=np.float32)
        out[:, keys.index("BCC")] = -1.0
        left = frame.positions[:, 0] < SPLIT
        out[left, keys.index("FCC")] = 0.0
        out[~left, keys.index("HCP")] = 0.0
        if self.stray is not None:
            out[self.stray, keys.index("BCC")] = 0.5
        for step in range(20 if self.seconds else 1):
            if cancelled is not None and cancelled():
                self.cancelled = True
                raise CancelledError("stopped")
            if progress is not None:
                progress((step + 1) / 20)
            time.sleep(self.seconds / 20)
        return out


def install(monkeypatch, seconds: float = 0.0, stray: int | None = None) -> FakeModel:
    """Let the modifier use a fake instead of a model file."""
    from ovito_mace_phase.model import store as model_store

    fake = FakeModel(seconds, stray)
    monkeypatch.setattr(model_store, "get_model", lambda path, device: fake)
    return fake
