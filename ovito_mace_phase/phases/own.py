"""User-defined phases, stored in the model card and not in the table.

    card["own_phases"] = [record, ...],      id >= 100000,      key never one of the table

A model file is untrusted input, so every field of a record is checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ovito_mace_phase.runtime.errors import InputError, ModelFileError

from .record import FACTS, FIRST_OWN_ID, Phase
from .table import PhaseTable, phase_from_json, phase_table, phase_to_json

MAX_ATOMS = 400
"""Atoms of the cell of an own phase."""
ENTRY = "own_phases"
_FIELDS = tuple(name for name in Phase.__dataclass_fields__ if name not in FACTS)
_KEY = re.compile(r"[A-Z][A-Z0-9_]{0,39}")
_RESERVED = ("ALL", "AUTO", "NONE", "OTHER")
_LAST_ID, _MOST_PHASES, _MOST_SPECIES, _LONGEST = 2**31 - 1, 10_000, 100, 200
_REMEDY = "the card was edited or damaged; copy both files of the model again, or add the phase again"


def checked_key(key: str) -> str:
    """Return the key in upper case; InputError unless it can be a name in OVITO attributes and expressions."""
    upper = key.upper()
    if not _KEY.fullmatch(upper) or not key.isascii():
        raise InputError(
            f"the key {key!r} cannot be used: it may hold letters, digits and _ only, begins with a letter and has at "
            "most 40 characters, MY_PHASE for example"
        )
    if upper in _RESERVED:
        raise InputError(f"the key {key!r} means something else in options; choose another one")
    return upper


def own_phases(card: Mapping[str, Any]) -> tuple[Phase, ...]:
    """Return the user-defined phases of a model card; ModelFileError for a record that cannot be used."""
    entries = card.get(ENTRY, [])
    if not isinstance(entries, list) or len(entries) > _MOST_PHASES:
        raise ModelFileError(f"the entry {ENTRY!r} of the model card is no list of phases: {_REMEDY}")
    found: list[Phase] = []
    for number, entry in enumerate(entries):
        fault = _fault(entry)
        if not fault and any(entry["key"] == other.key or entry["id"] == other.id for other in found):
            fault = f"the id {entry['id']} or the key {entry['key']!r} occurs twice"
        if fault:
            raise ModelFileError(f"record {number} in {ENTRY!r} of the model card cannot be used: {fault}; {_REMEDY}")
        found.append(phase_from_json(entry))
    return tuple(found)


def table_with(card: Mapping[str, Any]) -> PhaseTable:
    """Return the table of the package and the user-defined phases of a model card as one table.

    ModelFileError when the table has come to hold a key of an own phase, or a record cannot be used.
    """
    own = own_phases(card)
    if not own:
        return phase_table()
    taken = {phase.key for phase in phase_table()}
    for phase in own:
        if phase.key in taken:
            raise ModelFileError(
                f"the model brings a phase {phase.key} of its own, a key that the table of this version has, too: add "
                "the phase again under another key with `ovito-mace-phase add-phase`"
            )
    return PhaseTable([*phase_table(), *own])


def next_id(own: Sequence[Phase]) -> int:
    """Return the id of the next user-defined phase."""
    return max((phase.id for phase in own), default=FIRST_OWN_ID - 1) + 1


def to_card(own: Sequence[Phase]) -> list[dict[str, Any]]:
    """Return the entry `own_phases` of a model card."""
    return json.loads(json.dumps([phase_to_json(phase) for phase in own]))  # lists in place of tuples, as when read


def _fault(entry: object) -> str:
    """Say what is wrong with a record; "" where nothing is."""
    if not isinstance(entry, dict) or set(entry) != set(_FIELDS):
        return f"it must have the fields {', '.join(_FIELDS)}"
    if not _is_whole(entry["id"], FIRST_OWN_ID, _LAST_ID):
        return f"id = {entry['id']!r} is no whole number from {FIRST_OWN_ID} on"
    if not isinstance(entry["key"], str) or not _KEY.fullmatch(entry["key"]) or entry["key"] in _RESERVED:
        return f"key = {entry['key']!r} is no key"
    for name in ("name", "group", "source", "citation"):
        if not _is_text(entry[name]):
            return f"{name} is no text of at most {_LONGEST} characters"
    for name in ("aflow", "strukturbericht", "pearson", "mineral"):
        if entry[name] is not None and not _is_text(entry[name]):
            return f"{name} is no text of at most {_LONGEST} characters"
    if entry["space_group"] is not None and not _is_whole(entry["space_group"], 1, 230):
        return f"space_group = {entry['space_group']!r} is no number from 1 to 230"
    if entry["merged"] != []:
        return "merged must be an empty list"
    color = _array(entry["color"], (3,))
    if color is None or color.min() < 0 or color.max() > 1:
        return f"color = {entry['color']!r} is not three numbers from 0 to 1"
    return _cell_fault(entry)


def _cell_fault(entry: dict[str, Any]) -> str:
    reference = entry["reference"]
    if not isinstance(reference, dict) or set(reference) != {"cell", "species", "fractional"}:
        return "reference must have the fields cell, species and fractional"
    species = reference["species"]
    if not isinstance(species, list) or not 1 <= len(species) <= MAX_ATOMS:
        return f"species is no list of 1 to {MAX_ATOMS} codes"
    if not all(_is_whole(code, 0, _MOST_SPECIES) for code in species) or set(species) != set(range(max(species) + 1)):
        return "the species codes are not 0, 1, 2, ... without a gap"
    if entry["n_species"] != max(species) + 1:
        return f"n_species = {entry['n_species']!r} is not the number of species codes"
    cell = _array(reference["cell"], (3, 3))
    if cell is None or not abs(np.linalg.det(cell)) > 1e-6:
        return "cell is not three independent lattice vectors of finite numbers"
    if _array(reference["fractional"], (len(species), 3)) is None:
        return f"fractional is not {len(species)} rows of three finite numbers"
    return ""


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST and value.isprintable()


def _array(value: object, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return nested lists as finite numbers of this shape, None where they are none; strings are no numbers."""
    try:
        array = np.array(value)
    except (TypeError, ValueError):
        return None
    fits = array.dtype.kind in "if" and array.shape == shape and bool(np.isfinite(array).all())
    return array.astype(np.float64) if fits and bool((abs(array) < 1e6).all()) else None
