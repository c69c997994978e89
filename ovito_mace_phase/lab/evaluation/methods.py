"""Methods that are not ours, scored on the frames of a suite: OVITO's by name, anybody's as MODULE:FUNCTION.

    function(positions, types, cell, pbc) -> labels, or (labels, confidence)

    right, looks at species     label = phase of the truth, or one of its equivalence group
    right, `finds` is set       label = lattice of all atoms of that phase, if it is one of `finds`
    right in a melt, at a surface, outside the table        OTHER, for every method
    counted                     frames all of whose phases have a right label

`finds` is an attribute of the function, a set of keys: the lattices of a method that ignores species. B2 is BCC to it.
Ices have no right label for such a method, since only their oxygens lie on a lattice.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.lab.ovito_methods import FINDS, ovito_answer
from ovito_mace_phase.lab.phase_table.ices import ICES
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.runtime.errors import InputError

from .labels import Answer, Keys, group_of

_WATER = {ice.key for ice in ICES}


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method by the name of its column.

    Attributes
    ----------
    name : str
    answer : callable
        From a `Frame` to the `Answer` of its atoms; the confidence is NaN where the method gives none.
    finds : frozenset of str, optional
        Keys of the lattices of a method that ignores species; None: it looks at species, and may know every phase.
    """

    name: str
    answer: Callable[[Frame], Answer]
    finds: frozenset[str] | None = None

    def right(self, key: str) -> list[str] | None:
        """Return the labels that are right for an atom of a phase; None if the method has none for it."""
        if key == "OTHER":
            return [key]
        if self.finds is None:
            return group_of(key)
        lattice = phase_table().by_key(key).lattice
        return [lattice] if lattice in self.finds and key not in _WATER else None


def method_of(text: str) -> Method:
    """Return a method by OVITO's name (`PTM`) or as MODULE:FUNCTION; InputError where there is none.

    The module is looked for where Python looks, and in the current folder. Its code is run.
    """
    if text in FINDS:
        return Method(name=text, answer=partial(_of_ovito, text), finds=frozenset(FINDS[text]))
    module, _, name = text.partition(":")
    if not module or not name:
        raise InputError(f"no method {text!r}: give MODULE:FUNCTION, or one of {', '.join(FINDS)}")
    try:
        with _from_here():
            function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"cannot load the method {text!r}: {error}") from error
    finds = getattr(function, "finds", None)
    return Method(
        name=text, answer=partial(_of_function, text, function), finds=None if finds is None else _keys(finds)
    )


def _of_ovito(name: str, frame: Frame) -> Answer:
    keys = ovito_answer(frame, name)
    return _answer(np.where(keys == "ICO", "OTHER", keys))  # as in the table: an id of PTM that is no crystal


def _of_function(name: str, function: Callable[..., Any], frame: Frame) -> Answer:
    """Call a function with copies, so that it cannot change the frame."""
    found = function(frame.positions.copy(), frame.species.copy(), frame.cell.copy(), frame.pbc.copy())
    labels, confidence = found if isinstance(found, tuple) else (found, None)
    labels = np.asarray(labels)
    if labels.shape != (len(frame),):
        raise InputError(f"{name} gave labels of shape {labels.shape} for {len(frame)} atoms")
    if labels.dtype.kind not in "US":
        raise InputError(f"{name} gave labels of type {labels.dtype}; they must be keys of phases such as 'FCC'")
    keys, inverse = np.unique(labels.astype(np.str_), return_inverse=True)
    return _answer(np.array([phase_table().by_key(key).key for key in keys], dtype=np.str_)[inverse], confidence)


def _answer(keys: Keys, confidence: npt.ArrayLike | None = None) -> Answer:
    given = np.full(len(keys), np.nan) if confidence is None else np.asarray(confidence)
    if given.shape != keys.shape:
        raise InputError(f"a confidence of shape {given.shape} for {len(keys)} atoms")
    return Answer(keys=keys, confidence=given.astype(np.float32))


def _keys(finds: Sequence[str]) -> frozenset[str]:
    return frozenset(phase_table().by_key(key).key for key in finds)


@contextmanager
def _from_here() -> Iterator[None]:
    """Let modules of the current folder be imported, as `python -m` does."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
