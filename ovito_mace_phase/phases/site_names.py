"""Names and numbers of the symmetry-distinct sites of a phase.

    PEROVSKITE:1b      multiplicity in the conventional cell and Wyckoff letter, where both are known
    SIGMA:8i(2)        the second of the sites with this letter, in the order of the template
    ICE_IH:f           a net, whose cell is no unit cell: the letter alone
    MY_PHASE:A(1)      a phase that a model brings along: species letter

    id = SITES id(phase) + site + 1,    0: no site

The numbers depend on the phase table alone, so that a site has the same one in every frame and file.
"""

from __future__ import annotations

import string
from collections import Counter
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from .record import Phase
from .templates import Template, template

Numbers = TypeVar("Numbers", int, npt.NDArray[np.int32])
SITES = 1000
"""More than the sites of any phase."""
_UNKNOWN = "?"
_LETTERS = string.ascii_uppercase


def site_id(phase: Numbers, site: Numbers) -> Numbers:
    """Return the number of a site of the phase with an id; `site` as in `Template.site`, from 0. Arrays work too."""
    return SITES * phase + site + 1


def site_names(phase: Phase) -> tuple[str, ...]:
    """Return the names of the sites of a phase, in the order of its template; none for a phase without one."""
    found = template(phase)
    if found is None:
        return ()
    labels = [_label(phase, found, site) for site in range(found.n_sites)]
    often, seen = Counter(labels), Counter[str]()
    names = []
    for label in labels:
        seen[label] += 1
        names.append(f"{phase.key}:{label}" + (f"({seen[label]})" if often[label] > 1 else ""))
    return tuple(names)


def _label(phase: Phase, found: Template, site: int) -> str:
    mine = found.site == site
    letter = str(found.wyckoff[mine][0])
    if letter == _UNKNOWN:
        return _LETTERS[int(found.species[mine][0]) % len(_LETTERS)]
    times = _conventional(phase, found)
    return letter if times is None else f"{round(times * int(np.count_nonzero(mine)))}{letter}"


def _conventional(phase: Phase, found: Template) -> float | None:
    """Return how many atoms of the conventional cell there are to each of the template, None where that is unknown.

    The Pearson symbol counts those of the rhombohedral cell of hR, a third of the hexagonal one that letters refer to.
    """
    if found.net or phase.pearson is None:
        return None
    times = 3 if phase.pearson.startswith("hR") else 1
    return times * int(phase.pearson[2:]) / len(found.site)
