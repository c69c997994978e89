"""One frame of a trajectory file as a call that any worker can make, and the thread in which it may be made.

Read by every worker before OVITO is, and so imports OVITO within functions.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ovito_mace_phase import __version__
from ovito_mace_phase.runtime.errors import InputError

from .record import FrameRecord

FileFormat = Literal["xyz", "dump"]
_home: list[int] = []  # the thread that imported OVITO, if it did so here


@dataclass(frozen=True, kw_only=True)
class FrameTask:
    """What a worker has to know; called with a frame it classifies and stores it.

    Attributes
    ----------
    file : Path
        Or a pattern such as `dump.*`.
    select : str
        OVITO expression, "" for all atoms.
    settings : dict
        Parameters of the modifier.
    folder : Path
        Where finished frames go.
    file_format : 'xyz', 'dump' or None
        Of the labelled atoms; None keeps none.
    version : str
        Of the package that asks.
    """

    file: Path
    select: str
    settings: dict[str, Any]
    folder: Path
    file_format: FileFormat | None
    version: str = __version__

    def __call__(self, frame: int, order_parameters: str | None) -> FrameRecord:
        """Classify and store one frame."""
        check_thread()
        if self.version != __version__:
            raise InputError(
                f"a worker has version {__version__} of ovito-mace-phase, this side has {self.version}; install the "
                "same everywhere"
            )
        if not self.folder.is_dir():
            raise InputError(
                f"a worker does not see the folder {self.folder}; input and output must lie where all workers see them"
            )
        from .frame_worker import classify_frame

        return classify_frame(self, frame, order_parameters)


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
