"""Frames that cost nothing, for worker processes that import next to nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np

from ovito_mace_phase.trajectory import record
from ovito_mace_phase.trajectory import store as work
from ovito_mace_phase.trajectory.summary import FrameSummary, PhaseShare

SHARE = PhaseShare(key="FCC", color=(0.4, 1.0, 0.4), count=3, confidence=0.5)


def a_record(frame: int = 0) -> record.FrameRecord:
    return record.FrameRecord(
        summary=FrameSummary(frame=frame, timestep=None, n_atoms=3, shares=(SHARE,)),
        confidence={"FCC": {25: 3}},
        order_parameters={"FCC": {-4: 2, 7: 1}},
        notes=("a note",),
        model="fake",
        denoised="",
        other={"defect": 1},
    )


def some_atoms() -> record.FrameAtoms:
    return record.FrameAtoms(
        positions=np.zeros((3, 3), np.float32), phase=np.ones(3, np.int32), cell=None, kinds=((1, "FCC", SHARE.color),)
    )


class Task:
    """Stores a frame; `ends` are frames whose worker is killed as long as a file is there."""

    def __init__(self, folder: Path, ends: tuple[int, ...] = (), once: bool = True) -> None:
        self.folder, self.ends, self.once = folder, ends, once

    def __call__(self, frame: int, order_parameters: str | None) -> record.FrameRecord:
        mark = self.folder.parent / f"ended_{frame}"
        if frame in self.ends and not (self.once and mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        work.store_frame(self.folder, a_record(frame), some_atoms(), None)
        return a_record(frame)


def worker_state(*_: object) -> tuple[int, int, str]:
    import multiprocessing

    from ovito_mace_phase.runtime import memory
    from ovito_mace_phase.runtime.threads import n_threads

    return n_threads(), memory.memory_budget("cpu"), multiprocessing.current_process().name
