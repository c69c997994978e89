"""The phase table: a sequence of phases with look-ups, read from ``table.json``."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, overload

import numpy as np

from ovito_mace_phase.runtime.errors import InputError

from .record import FACTS, Phase, ReferenceCell

FORMAT_VERSION = 1
N_OF_PTM = 9
"""Ids below are those of PTM."""


class PhaseTable(Sequence[Phase]):
    """Phases in the order of their ids.

    Parameters
    ----------
    phases
        Phases with distinct ids, keys and labels.
    """

    def __init__(self, phases: Iterable[Phase]) -> None:
        self._phases = tuple(sorted(phases, key=lambda phase: phase.id))
        self._ids = {phase.id: phase for phase in self._phases}
        self._keys = {phase.key: phase for phase in self._phases}
        self._names = {phase.name.upper(): phase for phase in self._phases if phase.id < N_OF_PTM}
        self._labels: dict[str, Phase] = {}
        for phase in self._phases:
            for label in filter(None, (phase.aflow, *phase.merged)):
                self._labels.setdefault(label, phase)

    def __len__(self) -> int:
        return len(self._phases)

    @overload
    def __getitem__(self, index: int) -> Phase: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Phase]: ...
    def __getitem__(self, index: int | slice) -> Phase | Sequence[Phase]:
        return self._phases[index]

    @property
    def names_of_ptm(self) -> dict[str, str]:
        """Key for each name that PTM has for its lattices, in capitals."""
        return {name: phase.key for name, phase in self._names.items()}

    @property
    def labels(self) -> dict[str, Phase]:
        """Phase of every AFLOW label of the table, merged labels and ``label@mp-id`` included."""
        return dict(self._labels)

    def by_id(self, id: int) -> Phase:  # noqa: A002 - the name of the field
        """Return the phase with this id; InputError if there is none."""
        try:
            return self._ids[id]
        except KeyError:
            near = sorted(self._ids, key=lambda other: abs(other - id))[:3]
            raise InputError(f"no phase has the id {id}; the nearest ids are {', '.join(map(str, near))}") from None

    def by_key(self, key: str) -> Phase:
        """Return the phase with this key (upper or lower case); InputError with near matches if there is none.

        PTM's names of its lattices, such as "Simple cubic", are understood too.
        """
        upper = key.upper()
        phase = self._keys.get(key) or self._keys.get(upper) or self._names.get(upper)
        if phase is None:
            raise InputError(_missing("key", key, self._keys))
        return phase

    def by_aflow(self, label: str) -> Phase:
        """Return the phase with this AFLOW label.

        Merged labels count, and a label without its ``-001`` suffix is taken if only one phase has it.
        InputError with near matches, or with the candidates, otherwise.
        """
        if label in self._labels:
            return self._labels[label]
        # label@mp-id names a cluster of other geometry: it never answers to the bare label.
        plain = ((full, phase) for full, phase in self._labels.items() if "@" not in full)
        found = {phase.id: full for full, phase in plain if bare_label(full) == label}
        if len(found) == 1:
            return self._ids[next(iter(found))]
        if found:
            raise InputError(f"the AFLOW label {label!r} is one of {', '.join(found.values())}: give it in full")
        raise InputError(_missing("AFLOW label", label, self._labels))

    def find(self, text: str) -> list[Phase]:
        """Return the phases with this text in the key, name, labels, Strukturbericht, mineral or Pearson symbol."""
        text = text.lower()
        return [phase for phase in self if any(text in word.lower() for word in _words(phase))]


@cache
def phase_table() -> PhaseTable:
    """Return the table that comes with the package, read once."""
    return read_table(json.loads(files(__package__).joinpath("table.json").read_text(encoding="utf-8")))


def read_table(data: dict[str, Any]) -> PhaseTable:
    """Make a table of the content of ``table.json``; InputError if its format is unknown."""
    if data.get("format") != FORMAT_VERSION:
        raise InputError(f"phase table has format {data.get('format')!r}; this version reads format {FORMAT_VERSION}")
    return PhaseTable(phase_from_json(entry) for entry in data["phases"])


def write_table(path: Path, phases: Iterable[Phase]) -> None:
    """Write ``table.json``: one phase per line, sorted by id, so that diffs are readable."""
    lines = (json.dumps(phase_to_json(phase), ensure_ascii=True) for phase in sorted(phases, key=lambda p: p.id))
    body = ",\n".join(lines)
    path.write_text(f'{{"format": {FORMAT_VERSION}, "phases": [\n{body}\n]}}\n', encoding="utf-8")


def bare_label(label: str) -> str:
    """Drop ``@mp-id`` and the counter: ``A_hP2_194_c-001`` becomes ``A_hP2_194_c``."""
    return label.partition("@")[0].rpartition("-")[0]


def _words(phase: Phase) -> list[str]:
    fields = (phase.key, phase.name, phase.aflow, phase.strukturbericht, phase.mineral, phase.pearson, *phase.merged)
    return [word for word in fields if word]


def _missing(what: str, value: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(value.upper(), {name.upper(): name for name in known}, n=4, cutoff=0.5)
    original = {name.upper(): name for name in known}
    hint = f"; near matches: {', '.join(original[name] for name in near)}" if near else ""
    return f"no phase has the {what} {value!r}{hint}. List all with `ovito-mace-phase phases --grep TEXT`"


def phase_from_json(entry: dict[str, Any]) -> Phase:
    """Make a phase of its record in a JSON file."""
    fields = dict(entry)
    cell = fields.pop("reference")
    reference = None
    if cell is not None:
        reference = ReferenceCell(
            cell=np.array(cell["cell"], dtype=np.float64),
            species=np.array(cell["species"], dtype=np.int64),
            fractional=np.array(cell["fractional"], dtype=np.float64),
        )
    fields["color"] = tuple(fields["color"])
    fields["merged"] = tuple(fields["merged"])
    return Phase(reference=reference, **fields)


def phase_to_json(phase: Phase) -> dict[str, Any]:
    """Return the record of a phase for a JSON file; facts that have their default are left out."""
    entry: dict[str, Any] = {name: getattr(phase, name) for name in Phase.__dataclass_fields__}
    entry = {name: value for name, value in entry.items() if name not in FACTS or value != FACTS[name]}
    cell = phase.reference
    if cell is not None:
        entry["reference"] = {
            "cell": np.round(cell.cell, 6).tolist(),
            "species": cell.species.tolist(),
            "fractional": np.round(cell.fractional, 7).tolist(),
        }
    return entry
