"""Models in memory: each model file is read once per process and device, and read again when it changes on disk.

They live here, and not on the modifier, because everything on a modifier is written into OVITO session files.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import ModelFileError

if TYPE_CHECKING:
    from .model import PhaseModel

MAX_MODELS = 2
_Key = tuple[str, tuple[int, ...], str]
_models: OrderedDict[_Key, PhaseModel] = OrderedDict()
_lock = threading.Lock()


def get_model(path: str, device: str) -> PhaseModel:
    """Return the model of a file, from memory if it is there.

    Parameters
    ----------
    path : str
        Model file; "" is the shipped one.
    device : str
        "auto", "cpu" or "cuda".

    Raises
    ------
    ModelFileError
        When there is no such file, or it is not a model.
    """
    from .model import PhaseModel

    key = (path, _times(path), device)
    with _lock:
        if key not in _models:
            _models[key] = PhaseModel.load(path or None, device=device)
            while len(_models) > MAX_MODELS:
                _models.popitem(last=False)
        _models.move_to_end(key)
        return _models[key]


def _times(path: str) -> tuple[int, ...]:
    """Modification times of the files of a model, which may be given with or without its suffix."""
    if not path:
        return ()
    base = Path(path).expanduser()
    candidates = {base, base.with_suffix(".safetensors"), base.with_suffix(".json")}
    times = tuple(file.stat().st_mtime_ns for file in sorted(candidates) if file.is_file())
    if not times:
        raise ModelFileError(f"there is no model file {path}; leave the model file empty for the shipped model")
    return times
