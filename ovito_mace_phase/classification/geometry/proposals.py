"""Which phases are tried at an atom: the label, the best other logits, rivals of the label, and parents of families.

Phases that nearly no atom proposes are left out of a large frame, so that a few odd atoms do not make it slow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.phases import Phase
from ovito_mace_phase.phases.further import templates_of
from ovito_mace_phase.phases.templates import LAST_OF_PTM, Template, kind_of, rivals

from .library import Library, make_library

Int = npt.NDArray[np.int64]
_LEAST_LABEL, _LEAST_RIVAL, _FREQUENT = 2e-4, 2e-3, 0.02  # shares of the atoms


class Chosen(NamedTuple):
    """What the user says of phases, by key.

    Attributes
    ----------
    named : tuple of str
        They keep their name where their parent would stand for them.
    never : tuple of str
        They are not tried.
    """

    named: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Proposals:
    """What is tried where.

    Attributes
    ----------
    columns : (n_library,) int64
        Places in the phases considered of the phases of the library; the same for all templates of one phase.
    templates : tuple of Template
    library : Library
    allowed : (n_atoms, n_allowed) int16
        Places in the library, best first, -1 behind the last one.
    parent : (n_library,) int64
    parent_strain : (n_library,) float64
    """

    columns: Int
    templates: tuple[Template, ...]
    library: Library
    allowed: npt.NDArray[np.int16]
    parent: Int
    parent_strain: npt.NDArray[np.float64]


def propose(
    phases: Sequence[Phase],
    label: Int,
    best: npt.NDArray[np.int16],
    *,
    net: bool = False,
    chosen: Chosen = Chosen(),  # noqa: B008 - frozen
) -> Proposals | None:
    """Return the proposals of some atoms; None where no phase has a template.

    Parameters
    ----------
    phases : sequence of Phase
        The phases considered.
    label : (n_atoms,) int64
        Place of the label of each atom; -1 where nothing is to be tried.
    best : (n_atoms, n_best) int16
        Places of the largest logits, largest first.
    net : bool
        Phases of which the centres of molecules alone have templates, or all others.
    chosen : Chosen
    """
    wanted = "net" if net else "crystal"
    known = {k for k, phase in enumerate(phases) if kind_of(phase) == wanted and phase.key not in chosen.never}
    open_atoms = label >= 0
    n_open = int(open_atoms.sum())
    labels = np.bincount(label[open_atoms], minlength=len(phases))
    seconds = np.bincount(best[open_atoms].ravel(), minlength=len(phases))
    used = (labels > _LEAST_LABEL * n_open) | (seconds > max(1.0, _LEAST_RIVAL * n_open))
    place = {phase.key: k for k, phase in enumerate(phases)}
    columns = [k for k in range(len(phases)) if k in known and used[k]]
    columns += _rivals(columns, labels, n_open, phases, known, place)
    family = {
        k: place[phases[k].family] for k in columns if phases[k].family in place and phases[k].key not in chosen.named
    }
    columns += sorted({k for k in family.values() if k in known} - set(columns))
    if not columns:
        return None
    there = np.full(len(phases) + 1, -1, dtype=np.int16)
    there[columns] = np.arange(len(columns))
    parent = np.arange(len(columns))
    strain = np.zeros(len(columns))
    for k, above in family.items():
        parent[there[k]], strain[there[k]] = there[above], phases[k].family_strain
    others = [[there[place[key]] for key in rivals(phases[k].key) if there[place.get(key, -1)] >= 0] for k in columns]
    rival = np.full((len(columns) + 1, max([1, *map(len, others)])), -1, dtype=np.int16)
    for k, entry in enumerate(others):
        rival[k, : len(entry)] = entry
    every = [templates_of(phases[k]) for k in columns]
    allowed = _joined(there[label], np.concatenate([there[best], rival[there[label]]], axis=1), parent, _further(every))
    allowed[~open_atoms] = -1
    owner = np.concatenate([np.arange(len(columns)), *(np.full(len(of) - 1, k) for k, of in enumerate(every))])
    templates = (*(of[0] for of in every), *(one for of in every for one in of[1:]))
    parent = np.where(owner == np.arange(len(owner)), parent[owner], np.arange(len(owner)))
    return Proposals(
        columns=np.array(columns)[owner],
        templates=templates,
        library=make_library(templates),
        allowed=allowed,
        parent=parent,
        parent_strain=strain[owner],
    )


def _rivals(
    columns: list[int],
    labels: Int,
    n_open: int,
    phases: Sequence[Phase],
    known: set[int],
    place: Mapping[str, int],
) -> list[int]:
    """Return the columns of the rivals of frequent labels, where they are not among those yet."""
    frequent = [k for k in columns if labels[k] > _FREQUENT * n_open and phases[k].id > LAST_OF_PTM]
    found = {place[key] for k in frequent for key in rivals(phases[k].key) if key in place}
    return sorted((found & known) - set(columns))


def _further(every: Sequence[tuple[Template, ...]]) -> npt.NDArray[np.int16]:
    """Return the places of the further templates of each phase, (n_phases + 1, n_most), -1 behind the last one."""
    out = np.full((len(every) + 1, max(len(of) for of in every) - 1), -1, dtype=np.int16)
    place = len(every)
    for k, of in enumerate(every):
        out[k, : len(of) - 1] = np.arange(place, place + len(of) - 1)
        place += len(of) - 1
    return out


def _joined(
    label: npt.NDArray[np.int16], best: npt.NDArray[np.int16], parent: Int, further: npt.NDArray[np.int16]
) -> npt.NDArray[np.int16]:
    """Return label, best, their parents and the further templates of all, each once, -1 behind the last."""
    every = np.concatenate([label[:, None], best], axis=1)
    above = np.where(every >= 0, parent[np.maximum(every, 0)], -1).astype(np.int16)
    others = np.concatenate([every[:, 1:], above], axis=1)
    more = further[others].reshape(len(every), others.shape[1] * further.shape[1])
    every = np.concatenate([every[:, :1], further[label], every[:, 1:], above, more], axis=1)
    for k in range(1, every.shape[1]):
        every[(every[:, :k] == every[:, k : k + 1]).any(axis=1), k] = -1
    order = np.argsort(every < 0, axis=1, kind="stable")
    every = np.take_along_axis(every, order, axis=1)
    return np.ascontiguousarray(every[:, : max(1, int((every >= 0).sum(axis=1).max(initial=0)))])
