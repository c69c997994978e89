"""`defects="phase"`: atoms that no template fits stay with the crystal around them.

    joins:   n_c >= SHARE n, placed           c is what the network says
             m >= PLACED n and n_c >= 1       c is the commonest phase around
             m >= 1, n_c >= SHARE n, open     the same
    placed:  m >= 1, or no atom around is matched or has one too many;   open: n <= OPEN <n> of the atoms of c
             n bonded neighbours, n_c of them of phase c; m matched atoms that have the atom at the place of a neighbour

Sweep by sweep, so that the SWEEPS outermost layers of a crystal are of its phase: a template reaches as far as that.
The network calls many a surface Other, and an interstitial by the name of the crystal. So an atom must lie where the
crystal asks for one: beside (111) of fcc atoms have three neighbours there, of 9 or 10 on a surface and of 12 or more
in a melt, and an interstitial or a molecule on the surface has no place at all. The outermost layer of open surfaces,
fcc (110) or bcc (100), has one such neighbour and few others. The confidence is that of the network in c, or n_c / n
times what it leaves (`verdict.doubt`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.bonds import Bonds

from .verdict import Reason, Verdict, doubt

SWEEPS, SHARE, PLACED, OPEN = 2, 1.0 / 3.0, 0.3, 0.75
Int = npt.NDArray[np.int64]


def with_defects(
    verdict: Verdict,
    proposed: Int,
    confidence: npt.NDArray[np.float32],
    dense: npt.NDArray[np.bool_],
    shells: Int,
    crowded: npt.NDArray[np.bool_],
    bonds: Bonds,
) -> Verdict:
    """Return the verdict with defects given to the phase around them.

    `shells` and `crowded` (n_atoms,) as in `Fits`, other parameters as in `judge`.
    """
    column, sure, reason = verdict.column.copy(), verdict.confidence.copy(), verdict.reason.copy()
    order, degree = bonds.order, np.diff(bonds.offsets)
    count = np.empty(len(column), dtype=np.int64)
    count[order] = degree
    mine = np.repeat(column[order] < 0, degree)
    centre = np.repeat(order, np.where(column[order] < 0, degree, 0))
    neighbour = order[bonds.neighbour[mine]]
    usual = _mean_of(count, column, int(max(column.max(initial=-1), proposed.max(initial=-1))) + 1)
    known = (column >= 0) | crowded
    placed = (shells > 0) | (np.bincount(centre[known[neighbour]], minlength=len(column)) == 0)
    for _ in range(SWEEPS):
        beside = ((column < 0) & (shells > 0))[centre]
        around = _commonest(centre[beside], column[neighbour[beside]], len(column))
        agree = [np.bincount(centre[column[neighbour] == c[centre]], minlength=len(column)) for c in (proposed, around)]
        left, some, most = column < 0, [n > 0 for n in agree], [(n > 0) & (n >= SHARE * count) for n in agree]
        of_label = left & most[0] & (proposed >= 0) & dense & placed
        sparse = (shells > 0) & (count <= OPEN * usual[around])
        of_place = left & ~of_label & (some[1] & (shells >= PLACED * count) | most[1] & sparse)
        share = (agree[1] / np.maximum(count, 1)).astype(np.float32)
        sure[of_label], sure[of_place] = confidence[of_label], (share * doubt(confidence))[of_place]
        column[of_label], column[of_place] = proposed[of_label], around[of_place]
        reason[of_label | of_place] = Reason.NONE
    return Verdict(column=column, confidence=sure, reason=reason)


def _mean_of(count: Int, column: Int, n_columns: int) -> npt.NDArray[np.float64]:
    """Return the mean over the atoms of each phase, 0 where there are none, and 0 at the end for Other."""
    known = column >= 0
    times = np.bincount(column[known], minlength=n_columns)
    return np.append(np.bincount(column[known], count[known], minlength=n_columns) / np.maximum(times, 1), 0.0)


def _commonest(centre: npt.NDArray[np.signedinteger[Any]], column: Int, n_atoms: int) -> Int:
    """Return the phase that most neighbours of an atom have, the first of several, -1 where none has one."""
    found = np.full(n_atoms, -1, dtype=np.int64)
    centre, column = centre[column >= 0], column[column >= 0]
    if len(column):
        width = int(column.max()) + 1
        pairs, times = np.unique(centre * width + column, return_counts=True)
        rising = np.lexsort((-pairs, times))  # the commonest is written last
        found[pairs[rising] // width] = pairs[rising] % width
    return found
