"""Settings of a training run from a JSON file: what it names is changed, everything else stays as it was.

    {"new": {"shape": {"l_max": 3}, "rate": 0.0004}, "grown": true}   ->   PipelineSettings

A model card holds the settings of its own run, so `train --settings CARD` repeats that run.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from pathlib import Path
from typing import Any, TypeVar

from ovito_mace_phase.runtime.errors import InputError

Settings = TypeVar("Settings")


def read_settings(path: Path, default: Settings) -> Settings:
    """Return `default`, a dataclass, changed as a JSON file says: settings, or a model card that holds some.

    Raises
    ------
    InputError
        When the file cannot be read, holds a setting that there is not, or a value of another type.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no settings can be read: {error}") from error
    if isinstance(found, dict) and "training" in found and "network" in found:  # a model card
        found = found["training"].get("settings")
    return changed(default, found, path.name)


def changed(default: Settings, given: Any, where: str) -> Settings:
    """Return a dataclass with the values of a dict, and those of its dataclasses likewise; `where` is for messages."""
    if not isinstance(given, dict):
        raise InputError(f"{where}: settings are a JSON object, not {given!r}")
    known = {field.name: getattr(default, field.name) for field in dataclasses.fields(default)}  # type: ignore[arg-type]
    values = {}
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1) or sorted(known)
            raise InputError(f"{where}: there is no setting {name!r}; perhaps {', '.join(near)}")
        values[name] = _like(known[name], value, f"{where}: {name}")
    return dataclasses.replace(default, **values)  # type: ignore[type-var]


def _like(present: Any, value: Any, where: str) -> Any:
    """Return a JSON value as the type of the present one; InputError when it is of another."""
    if dataclasses.is_dataclass(present):
        return changed(present, value, where)
    if isinstance(present, tuple):
        if isinstance(value, list) and len({type(one) for one in (*present, *value)} - {int, float}) <= 1:
            return tuple(value)
    elif isinstance(present, bool) or isinstance(value, bool):
        if isinstance(present, bool) and isinstance(value, bool):
            return value
    elif isinstance(present, float) and isinstance(value, int | float):
        return float(value)
    elif type(value) is type(present):
        return value
    raise InputError(f"{where} is {value!r}, but must be like {present!r}")
