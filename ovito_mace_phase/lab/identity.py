"""What a stored file of training was made from, so that a stopped run is not resumed with something else.

    identity = {input: digest of it},      an input is the settings, the data, the start model, ...

Checkpoints, feature rows and stages carry the identity of all that decides their content. A file with another one is
refused, and the message names the inputs that differ.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ovito_mace_phase.runtime.errors import InputError

Identity = dict[str, str]
SAMPLES_VERSION = 3
"""Raised whenever the same seed, settings and structures give other samples or features."""


def identity_of(**inputs: Any) -> Identity:
    """Return the digest of each input; arrays, dataclasses, containers, texts and numbers can be given."""
    return {name: digest(value) for name, value in {"program": SAMPLES_VERSION, **inputs}.items()}


def digest(value: Any) -> str:
    """Return a short hexadecimal digest of the content of a value."""
    found = hashlib.sha256()
    for chunk in _chunks(value):
        found.update(chunk)
    return found.hexdigest()[:16]


def check_identity(path: Path, found: object, wanted: Identity) -> None:
    """Raise InputError unless the identity that a file carries is the wanted one."""
    if found == wanted:
        return
    if not isinstance(found, Mapping):
        raise InputError(
            f"{path} does not say what it was made from, an earlier version wrote it; remove it or choose another "
            "output folder"
        )
    differing = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    raise InputError(
        f"{path} was made with other {', other '.join(differing)}; remove it or choose another output folder"
    )


def _chunks(value: Any) -> Iterable[bytes]:
    """Yield bytes that differ wherever values differ: type, shape and length go along."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        yield f"array {value.dtype} {value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _chunks({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    elif isinstance(value, Mapping):
        yield f"mapping {len(value)}".encode()
        for key in sorted(value, key=repr):
            yield from _chunks(key)
            yield from _chunks(value[key])
    elif isinstance(value, list | tuple):
        yield f"sequence {len(value)}".encode()
        for item in value:
            yield from _chunks(item)
    elif value is None or isinstance(value, str | int | float | np.generic):
        yield f"{type(value).__name__} {value!r};".encode()
    else:
        raise TypeError(f"a {type(value).__name__} has no digest")
