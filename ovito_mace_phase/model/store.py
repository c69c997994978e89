"""Models in memory: each is read once per process, device and backend, and read again when its files change on disk.

They live here, and not on the modifier, because everything on a modifier is written into OVITO session files.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ovito_mace_phase.phases import PhaseTable, phase_table
from ovito_mace_phase.phases.own import table_with
from ovito_mace_phase.runtime.errors import MissingPackageError, ModelFileError

from .network.model_file import model_paths, read_card
from .registry import MODELS, SHIPPED, model_path

if TYPE_CHECKING:
    from .phase_model import Backend, Device, PhaseModel

MAX_MODELS = 2
_Key = tuple[Path, tuple[int, ...], str, str]
_models: OrderedDict[_Key, PhaseModel] = OrderedDict()
_gates: dict[_Key, threading.Lock] = {}  # one for each model that is being read
_times_forgotten = [0]
_lock = threading.Lock()  # of the three above; never held while a model is read


def get_model(model: str | Path | None, device: str, backend: str = "engine") -> PhaseModel:
    """Return a model, from memory if it is there; a second caller waits for the first that reads it.

    Parameters
    ----------
    model : str, Path or None
        Name or path, see `registry.model_path`.
    device : str
        "auto", "cpu" or "cuda".
    backend : str
        "engine" or "mace".

    Raises
    ------
    ModelFileError
        When there is no such file, or it is not a model.
    InputError
        When CUDA is asked for and not there.
    MissingPackageError
        With the command that installs it.
    """
    path = model_path(model)
    key = (path, file_times(path), device, backend)
    with _lock:
        if key in _models:
            _models.move_to_end(key)
            return _models[key]
        gate = _gates.setdefault(key, threading.Lock())
        before = _times_forgotten[0]
    with gate:
        with _lock:
            if key in _models:
                return _models[key]
        found = _load(path, device, backend)
        with _lock:
            _gates.pop(key, None)
            if before == _times_forgotten[0]:
                _models[key] = found
                while len(_models) > MAX_MODELS:
                    _models.popitem(last=False)
    return found


def forget(model: str | Path | None) -> None:
    """Drop a model and its table from memory, so that they are read again when next asked for; never waits."""
    path = model_path(model)
    with _lock:
        _times_forgotten[0] += 1
        for key in [key for key in _models if key[0] == path]:
            del _models[key]
    _table.cache_clear()


def get_card(model: str | Path | None) -> dict[str, Any]:
    """Return the card of a model.

    Raises
    ------
    ModelFileError
        When there is no such file, or it is no card.
    """
    return read_card(model_path(model))


def get_table(model: str | Path | None) -> PhaseTable:
    """Return the table of phases with the user-defined ones of a model; only its card is read, without torch.

    Raises
    ------
    ModelFileError
        When there is no such file, or its card cannot be used.
    """
    path = model_path(model)
    return phase_table() if path == SHIPPED else _table(path, file_times(path))


@lru_cache(maxsize=MAX_MODELS)
def _table(path: Path, _times: tuple[int, ...]) -> PhaseTable:
    return table_with(read_card(path))


def _load(path: Path, device: str, backend: str) -> PhaseModel:
    from .phase_model import PhaseModel

    try:
        return PhaseModel.load(path, device=cast("Device", device), backend=cast("Backend", backend))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(__package__.partition(".")[0]):
            raise
        name = str(error.name).partition(".")[0]
        raise MissingPackageError(
            f"the Python package {name} is missing; install it with `python -m pip install {name}`, "
            f"inside OVITO Pro with `ovitos -m pip install --user {name}`"
        ) from error


def file_times(path: Path) -> tuple[int, ...]:
    """Return when the two files of a model were changed, in ns; nothing for the shipped model.

    Raises
    ------
    ModelFileError
        When there is no such file.
    """
    if path == SHIPPED:
        return ()
    try:
        return tuple(file.stat().st_mtime_ns for file in model_paths(path))
    except OSError as error:
        if path.parent == Path():
            raise ModelFileError(
                f"there is no model {path.name!r}: the names are {', '.join(MODELS)}, and here is no such file; "
                "leave the model empty for the default one"
            ) from None
        raise ModelFileError(
            f"cannot read the model file {error.filename} ({error.strerror}): a model is a pair of files, "
            f"NAME.safetensors and NAME.json; leave the model empty for the shipped one ({', '.join(MODELS)})"
        ) from None
