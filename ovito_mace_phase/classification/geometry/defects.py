"""`defects="phase"`: atoms that no template fits stay with the crystal around them.

    joins:   n_c >= SHARE n                      c is what the network says
             n_c >= SHARE n and placed           c is the commonest phase around
    placed:  m >= SHARE n,   or m >= 1 and n <= OPEN times the mean n of atoms of the phase
             n bonded neighbours, n_c of them of phase c; m matched atoms that have the atom for a neighbour

Sweep by sweep, so that the SWEEPS outermost layers of a crystal are of its phase: a template reaches as far as that.
Where the network says something else, as Other of many a surface, the atom must lie where the crystal asks for one:
atoms beside (111) of fcc have three neighbours there, of 9 on a surface and of 12 or more in a melt, and an interstitial
or a molecule on the surface has no place at all. The outermost layer of open surfaces, fcc (110) or bcc (100), has one
such neighbour and few others. The confidence is n_c / n times what the network leaves (`verdict.doubt`) then.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.bonds import Bonds

from .verdict import Reason, Verdict, doubt

SWEEPS, SHARE, OPEN = 2, 1.0 / 3.0, 0.7
Int = npt.NDArray[np.int64]


def with_defects(
    verdict: Verdict,
    proposed: Int,
    confidence: npt.NDArray[np.float32],
    dense: npt.NDArray[np.bool_],
    shells: Int,
    bonds: Bonds,
) -> Verdict:
    """Return the verdict with defects given to the phase around them; `shells` as in `Fits`, others as in `judge`."""
    column, sure, reason = verdict.column.copy(), verdict.confidence.copy(), verdict.reason.copy()
    order = bonds.order
    centre = order[np.repeat(np.arange(len(bonds)), np.diff(bonds.offsets))]
    neighbour = order[bonds.neighbour]
    count = np.bincount(centre, minlength=len(column))
    usual = _mean_of(count, column)
    for _ in range(SWEEPS):
        beside = ((column < 0) & (shells > 0))[centre]
        around = _commonest(centre[beside], column[neighbour[beside]], len(column))
        agree = [np.bincount(centre[column[neighbour] == c[centre]], minlength=len(column)) for c in (proposed, around)]
        of_label, of_place = ((column < 0) & (n > 0) & (n >= SHARE * count) for n in agree)
        of_label &= (proposed >= 0) & dense
        of_place &= ~of_label & ((shells >= SHARE * count) | ((shells > 0) & (count <= OPEN * usual[around])))
        share = (agree[1] / np.maximum(count, 1)).astype(np.float32)
        sure[of_label], sure[of_place] = confidence[of_label], (share * doubt(confidence))[of_place]
        column[of_label], column[of_place] = proposed[of_label], around[of_place]
        reason[of_label | of_place] = Reason.NONE
    return Verdict(column=column, confidence=sure, reason=reason)


def _mean_of(count: Int, column: Int) -> npt.NDArray[np.float64]:
    """Return the mean over the atoms of each phase, and 0 at the end for Other."""
    known = column >= 0
    times = np.bincount(column[known], minlength=1)
    return np.append(np.bincount(column[known], count[known], minlength=1) / np.maximum(times, 1), 0.0)


def _commonest(centre: Int, column: Int, n_atoms: int) -> Int:
    """Return the phase that most neighbours of an atom have, the first of several, -1 where none has one."""
    found = np.full(n_atoms, -1, dtype=np.int64)
    centre, column = centre[column >= 0], column[column >= 0]
    if len(column):
        width = int(column.max()) + 1
        pairs, times = np.unique(centre * width + column, return_counts=True)
        rising = np.lexsort((-pairs, times))  # the commonest is written last
        found[pairs[rising] // width] = pairs[rising] % width
    return found
