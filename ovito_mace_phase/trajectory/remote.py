"""One frame of a trajectory file as a call that any worker can make, and the thread in which it may be made.

Read by every worker before OVITO is, and so imports what needs OVITO within functions.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass

from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.runtime.version import VERSION

from .record import FrameRecord
from .task import FrameTask

_home: list[int] = []  # the thread that imported OVITO, if it did so here


@dataclass(frozen=True)
class FrameCall:
    """Called with a frame, classifies and stores it.

    Parameters
    ----------
    task : FrameTask
    """

    task: FrameTask

    def __call__(self, frame: int, order_parameters: tuple[str, ...] | None) -> FrameRecord:
        """Classify and store one frame; `order_parameters` replaces that of the settings where it is given."""
        check_thread()
        task = self.task
        if task.version != VERSION:
            raise InputError(
                f"a worker has version {VERSION} of ovito-mace-phase, this side has {task.version}; install the "
                "same everywhere"
            )
        if not task.folder.is_dir():
            raise InputError(
                f"a worker does not see the folder {task.folder}; input and output must lie where all workers see them"
            )
        from .frame_worker import classify_frame

        return classify_frame(task, frame, order_parameters)


def check_thread() -> None:
    """Refuse a thread from which OVITO would take the process down.

    Raises
    ------
    InputError
        In a thread that did not import OVITO.
    """
    here = threading.get_ident()
    if "ovito" not in sys.modules:
        _home[:] = [here]
    elif here != (_home[0] if _home else threading.main_thread().ident):
        raise InputError(
            "OVITO works only in the thread that imported it, the main thread as a rule; call it there. Dask workers "
            "must be processes of their own, and a script that starts them must import ovito within its functions"
        )
