"""`modifier.structures`: one entry per phase, to switch phases off and to set their colours, as in PTM and CNA.

The entries hold nothing: they read and write one text parameter of the modifier, `structure_settings`, a JSON object

    {"HCP": {"enabled": false}, "FCC": {"color": [1.0, 0.0, 0.0]}}

so that OVITO notices a change, saves it with the session and generates code for it.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ovito_mace_phase.runtime.errors import InputError

if TYPE_CHECKING:
    from ovito_mace_phase.phases import Phase, PhaseTable

Color = tuple[float, float, float]


class Type(enum.IntEnum):
    """Ids of the structures that PTM knows; those of CNA are the first five."""

    OTHER = 0
    FCC = 1
    HCP = 2
    BCC = 3
    ICO = 4
    SC = 5
    CUBIC_DIAMOND = 6
    HEX_DIAMOND = 7
    GRAPHENE = 8


class Owner(Protocol):
    """The part of the modifier that an entry uses."""

    structure_settings: str


class StructureSettings:
    """What a user changed, by key of the phase.

    Parameters
    ----------
    text : str
        The JSON object above; "" changes nothing.
    table : PhaseTable

    Raises
    ------
    InputError
        When the text is no such object, or names a phase that the table lacks.
    """

    def __init__(self, text: str, table: PhaseTable) -> None:
        self.changes = _parse(text)
        for key in self.changes:
            if table.by_key(key).key != key:
                raise InputError(f"structure_settings names {key!r}: write the key, {table.by_key(key).key!r}")

    def enabled(self, key: str) -> bool:
        """Whether atoms may get this phase; those that would become Other if not."""
        return bool(self.changes.get(key, {}).get("enabled", True))

    def color(self, phase: Phase) -> Color:
        """Return red, green, blue of a phase, 0 to 1."""
        found = self.changes.get(phase.key, {}).get("color", phase.color)
        return (float(found[0]), float(found[1]), float(found[2]))

    @property
    def disabled(self) -> tuple[str, ...]:
        """Keys of the phases that are switched off."""
        return tuple(key for key in self.changes if not self.enabled(key))


class StructureEntry:
    """One phase of `modifier.structures`, with the attributes of OVITO's `ElementType` that are used there."""

    __slots__ = ("_owner", "_phase")

    def __init__(self, owner: Owner, phase: Phase) -> None:
        self._owner, self._phase = owner, phase

    @property
    def id(self) -> int:
        """Number in `Phase` and `Structure Type`."""
        return self._phase.id

    @property
    def key(self) -> str:
        """Name in attributes and expressions."""
        return self._phase.key

    @property
    def name(self) -> str:
        """Name to show."""
        return self._phase.name

    @property
    def enabled(self) -> bool:
        """Whether atoms may get this phase."""
        return bool(self._changes().get("enabled", True))

    @enabled.setter
    def enabled(self, value: bool) -> None:
        if self._phase.id == Type.OTHER and not value:
            raise InputError("OTHER cannot be switched off: it is what is left")
        self._change("enabled", None if value else False)

    @property
    def color(self) -> Color:
        """Red, green, blue, 0 to 1."""
        found = self._changes().get("color", self._phase.color)
        return (float(found[0]), float(found[1]), float(found[2]))

    @color.setter
    def color(self, value: Color) -> None:
        if not _is_color(value):
            raise InputError(f"a colour is three numbers from 0 to 1 (red, green, blue), not {value!r}")
        self._change("color", [float(part) for part in value])

    def __repr__(self) -> str:
        return f"StructureEntry({self.key}, id={self.id}, enabled={self.enabled}, color={self.color})"

    def _changes(self) -> dict[str, Any]:
        return _parse(self._owner.structure_settings).get(self.key, {})

    def _change(self, name: str, value: Any) -> None:
        changes = _parse(self._owner.structure_settings)
        entry = {other: kept for other, kept in changes.pop(self.key, {}).items() if other != name}
        if value is not None:
            entry[name] = value
        if entry:
            changes[self.key] = entry
        self._owner.structure_settings = json.dumps(dict(sorted(changes.items()))) if changes else ""


class StructureList:
    """All phases of a table by id: `structures[MacePhaseModifier.Type.FCC]`; a key works too.

    Parameters
    ----------
    owner : Owner
    table : PhaseTable
    """

    def __init__(self, owner: Owner, table: PhaseTable) -> None:
        self._owner, self._table = owner, table

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[StructureEntry]:
        return (StructureEntry(self._owner, phase) for phase in self._table)

    def __getitem__(self, which: int | str) -> StructureEntry:
        phase = self._table.by_key(which) if isinstance(which, str) else self._table.by_id(int(which))
        return StructureEntry(self._owner, phase)


def _parse(text: str) -> dict[str, dict[str, Any]]:
    if not text.strip():
        return {}
    try:
        found = json.loads(text)
        if not all(_is_entry(key, entry) for key, entry in found.items()):
            raise ValueError
    except (ValueError, AttributeError, RecursionError):
        raise InputError(
            f'structure_settings must be a JSON object such as {{"HCP": {{"enabled": false}}, '
            f'"FCC": {{"color": [1, 0, 0]}}}}, '
            f"not {text[:200]!r}; "
            "change it through modifier.structures"
        ) from None
    return {str(key): dict(entry) for key, entry in found.items()}


def _is_entry(key: str, entry: object) -> bool:
    """Whether an entry of the JSON object can be used; OTHER has no switch."""
    if not isinstance(entry, Mapping) or not set(entry) <= {"enabled", "color"}:
        return False
    enabled = entry.get("enabled", True)
    return isinstance(enabled, bool) and (enabled or key != "OTHER") and _is_color(entry.get("color", (0, 0, 0)))


def _is_color(value: object) -> bool:
    """Whether a value is three numbers from 0 to 1."""
    try:
        parts = [float(part) for part in value]  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return False
    return len(parts) == 3 and all(0.0 <= part <= 1.0 for part in parts)
