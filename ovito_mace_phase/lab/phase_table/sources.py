"""Read the input files of the table builder: AFLOW prototypes, Materials Project exemplars, the proposed class list."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from ase.geometry import cellpar_to_cell

from ovito_mace_phase.phases.record import FACTS, ReferenceCell

from .radial_distances import match_orders, partial_distributions

# Smallest d of a label from which AFLOW's coordinates, not the structures, are the ones in doubt.
DOUBTFUL = 0.1


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """One phase to build: its representative AFLOW label and the labels merged into it.

    The anchor is the cluster ``label@mp-id`` or the structure ``mp-id`` to take the cell from; letters are the species
    of the label's A, B, ... where two of them are one; facts are fields of the phase that have a default.
    """

    label: str
    merged: tuple[str, ...]
    title: str
    key: str | None = None
    mineral: str | None = None
    anchor: str | None = None
    letters: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


class Sources:
    """The data folder, each file read once when first needed.

    Parameters
    ----------
    folder
        Folder with ``class_list_proposal.csv``, ``aflow1999_list.csv``, ``aflow1999_structures.json.gz`` and
        ``mp_labelled.npz``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def prototypes(self) -> dict[str, dict[str, str]]:
        """Rows of the AFLOW list by label."""
        return {row["label"]: row for row in _rows(self.folder / "aflow1999_list.csv")}

    @cached_property
    def aflow_cells(self) -> dict[str, ReferenceCell]:
        """Primitive cells rebuilt from AFLOW's published parameters; codes follow the letters of the label."""
        with gzip.open(self.folder / "aflow1999_structures.json.gz", "rt", encoding="utf-8") as stream:
            entries = json.load(stream)
        return {
            entry["label"]: ReferenceCell(
                cell=np.array(entry["cell"], dtype=np.float64),
                species=np.array(entry["species"], dtype=np.int64),
                fractional=np.array(entry["frac"], dtype=np.float64),
            )
            for entry in entries
        }

    @cached_property
    def _mp(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / "mp_labelled.npz") as data:
            return {name: data[name] for name in data.files}

    @cached_property
    def _offsets(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(self._mp["natoms"].astype(np.int64))])

    @cached_property
    def mp_counts(self) -> Counter[str]:
        """Number of Materials Project structures of each label."""
        return Counter(self._mp["label"].tolist())

    def exemplars(self, label: str, limit: int, first: str | None = None) -> list[tuple[str, ReferenceCell]]:
        """Return ``(mp-id, cell)`` of the structures nearest to the prototype; species are codes by element.

        The structure ``first`` leads if given, else the anchor of a cluster ``label@mp-id``. Where all are far from
        AFLOW's geometry that geometry is doubtful, and the structures nearest to the others lead.
        """
        rows = np.flatnonzero(self._mp["label"] == label).tolist()
        first = first or label.partition("@")[2]
        ids, d, n_atoms = (self._mp[name] for name in ("ids", "d", "natoms"))
        rank = {row: d[row] for row in rows}
        if len(rows) > 2 and not first and min(rank.values()) > DOUBTFUL:
            rank = dict(zip(rows, _mean_distances([self._mp_cell(row) for row in rows]), strict=True))
        best = sorted(rows, key=lambda row: (ids[row] != first, rank[row], n_atoms[row]))[:limit]
        return [(str(ids[row]), self._mp_cell(row)) for row in best]

    def _mp_cell(self, row: int) -> ReferenceCell:
        atoms = slice(self._offsets[row], self._offsets[row + 1])
        _, species = np.unique(self._mp["Z"][atoms], return_inverse=True)
        return ReferenceCell(
            cell=cellpar_to_cell(self._mp["cell"][row].astype(np.float64)),
            species=species.astype(np.int64),
            fractional=self._mp["frac"][atoms].astype(np.float64),
        )

    @cached_property
    def named(self) -> dict[str, dict[str, str]]:
        """Rows of ``named.csv`` by label: set by hand. A row without a key only corrects a class of the list."""
        text = files(__package__).joinpath("named.csv").read_text(encoding="utf-8")
        return {row["label"]: row for row in csv.DictReader(text.splitlines())}

    def proposals(self, max_atoms: int) -> list[Proposal]:
        """Return the phases to build: the named ones first, then the well populated ones of the class list."""
        classes = [row for row in _rows(self.folder / "class_list_proposal.csv") if row["tier"] in "ABC"]
        members = {label: row for row in classes for label in (row["merged"].split())}
        members |= {row["representative"]: row for row in classes}
        result: list[Proposal] = []
        taken: set[str] = set()
        for label, row in self.named.items():
            if not row["key"] or "@" in label:
                continue
            group = members.get(label)
            labels = {group["representative"], *group["merged"].split()} if group else {label}
            taken |= labels
            result.append(self._proposal(label, labels - {label}, row["name"]))
        for row in classes:
            wanted = row["tier"] == "A" and int(row["natoms_prim"]) <= max_atoms
            label = row["representative"]
            if wanted and label in self.prototypes and label not in taken:
                result.append(self._proposal(label, row["merged"].split(), row["name"]))
        return result

    def cluster(self, label: str, title: str) -> Proposal:
        """Return the proposal for a cluster ``label@mp-id`` that is a phase of its own."""
        return self._proposal(label, (), self.named.get(label, {}).get("name") or title)

    def _proposal(self, label: str, merged: Iterable[str], title: str) -> Proposal:
        row = self.named.get(label, {})
        return Proposal(
            label=label,
            merged=tuple(sorted(merged)),
            title=title,
            key=row.get("key") or None,
            mineral=row.get("mineral") or None,
            anchor=row.get("anchor") or None,
            letters=row.get("species") or None,
            facts=facts_of(row),
        )


def facts_of(row: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the fields of a phase that a row of ``named.csv`` sets: yes, a number or a text."""
    read: dict[type, Callable[[str], Any]] = {bool: lambda text: text == "yes", float: float}
    return {name: read.get(type(default), str)(text) for name, default in FACTS.items() if (text := row.get(name))}


def _mean_distances(cells: list[ReferenceCell]) -> np.ndarray:
    """Return the mean distance of each structure to the others, ``(n_cells,) float64``."""
    counts = [np.bincount(cell.species) for cell in cells]
    found = [partial_distributions(cell) for cell in cells]
    pairs = [
        [match_orders(found[b], counts[b], found[a], counts[a])[0] for b in range(len(cells))]
        for a in range(len(cells))
    ]
    return np.minimum(pairs, 9.0).mean(axis=1)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
