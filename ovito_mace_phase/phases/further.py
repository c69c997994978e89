"""Further templates of a phase: members whose free coordinates are far from those of the reference cell.

A prototype with free coordinates (LARNITE, ORPIMENT, WOLLASTONITE) has members that no rotation and strain of its
reference cell fits: rmsd 0.2 without any noise. ``further.npz`` holds cells of such members, turned into the frame of
the reference cell, their species and sites numbered as there; made by `lab/data/further.py`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from .record import Phase, ReferenceCell
from .table import phase_table
from .templates import Template, read_arrays, template, template_of, unpack_symmetry

_FILE = "further.npz"


def templates_of(phase: Phase) -> tuple[Template, ...]:
    """Return the templates of a phase, that of its reference cell first; none for a phase without a crystal."""
    own = template(phase)
    if own is None:
        return ()
    known = phase.key in _cells() and phase.reference is phase_table().by_key(phase.key).reference
    return (own, *_further(phase.key)) if known else (own,)


@cache
def _further(key: str) -> tuple[Template, ...]:
    common = phase_table().by_key(key).common
    return tuple(template_of(key, cell, record, common=common) for cell, record in _cells()[key])


@cache
def _cells() -> dict[str, list[tuple[ReferenceCell, dict[str, Any]]]]:
    arrays = read_arrays(_FILE)
    ends = np.concatenate([[0], np.cumsum(arrays["n_atoms"])])
    out: dict[str, list[tuple[ReferenceCell, dict[str, Any]]]] = {}
    for k, (name, record) in enumerate(unpack_symmetry(arrays).items()):
        atoms = slice(ends[k], ends[k + 1])
        cell = ReferenceCell(
            cell=arrays["cell"][k].astype(np.float64),
            species=arrays["species"][atoms].astype(np.int64),
            fractional=arrays["fractional"][atoms].astype(np.float64),
        )
        out.setdefault(name.split()[0], []).append((cell, record))
    return out
