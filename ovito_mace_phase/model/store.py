"""Models in memory: each model file is read once per process and device, and read again when it changes on disk.

They live here, and not on the modifier, because everything on a modifier is written into OVITO session files.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from ovito_mace_phase.phases import PhaseTable, phase_table
from ovito_mace_phase.phases.own import table_with
from ovito_mace_phase.runtime.errors import MissingPackageError, ModelFileError

from .network.model_file import SHIPPED, model_paths, read_card

if TYPE_CHECKING:
    from .phase_model import Device, PhaseModel

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
    InputError
        When CUDA is asked for and not there.
    MissingPackageError
        With the command that installs it.
    """
    key = (path, file_times(path), device)
    with _lock:
        if key not in _models:
            _models[key] = _load(path, device)
            while len(_models) > MAX_MODELS:
                _models.popitem(last=False)
        _models.move_to_end(key)
        return _models[key]


def forget(path: str) -> None:
    """Drop the models of a file and its table from memory, so that they are read again when next asked for.

    Parameters
    ----------
    path : str
        Model file; "" is the shipped one.
    """
    with _lock:
        for key in [key for key in _models if key[0] == path]:
            del _models[key]
    _table.cache_clear()


def get_card(path: str) -> dict[str, Any]:
    """Return the card of a model file; "" is the shipped one.

    Raises
    ------
    ModelFileError
        When there is no such file, or it is no card.
    """
    return read_card(path or SHIPPED)


def get_table(path: str) -> PhaseTable:
    """Return the table of phases with those that a model brings along; only its card is read, without torch.

    Parameters
    ----------
    path : str
        Model file; "" is the shipped one.

    Raises
    ------
    ModelFileError
        When there is no such file, or its card cannot be used.
    """
    return _table(path, file_times(path)) if path else phase_table()


@lru_cache(maxsize=MAX_MODELS)
def _table(path: str, _times: tuple[int, ...]) -> PhaseTable:
    return table_with(read_card(path))


def _load(path: str, device: str) -> PhaseModel:
    from .phase_model import PhaseModel

    try:
        return PhaseModel.load(path or None, device=cast("Device", device))
    except ModuleNotFoundError as error:
        if (error.name or __package__).startswith(__package__):
            raise
        name = str(error.name).partition(".")[0]
        raise MissingPackageError(
            f"the Python package {name} is missing; install it with `python -m pip install {name}`, "
            f"inside OVITO Pro with `ovitos -m pip install --user {name}`"
        ) from error


def file_times(path: str) -> tuple[int, ...]:
    """Return when the two files of a model were changed, in ns; nothing for the shipped model.

    Raises
    ------
    ModelFileError
        When there is no such file.
    """
    if not path:
        return ()
    try:
        return tuple(file.stat().st_mtime_ns for file in model_paths(path))
    except OSError as error:
        raise ModelFileError(
            f"cannot read the model file {error.filename} ({error.strerror}): a model is a pair of files, "
            "NAME.safetensors and NAME.json; leave the model file empty for the shipped model"
        ) from None
