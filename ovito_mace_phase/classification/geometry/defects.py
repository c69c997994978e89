"""`defects="phase"`: atoms that no template fits stay with the crystal around them.

An atom whose label is the phase of at least SHARE of its bonded neighbours keeps it, sweep by sweep, so that the SWEEPS
outermost layers of a crystal are of its phase: a template reaches as far as that.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.bonds import Bonds

from .verdict import Reason, Verdict

SWEEPS, SHARE = 2, 1.0 / 3.0


def with_defects(
    verdict: Verdict,
    proposed: npt.NDArray[np.int64],
    confidence: npt.NDArray[np.float32],
    dense: npt.NDArray[np.bool_],
    bonds: Bonds,
) -> Verdict:
    """Return the verdict with defects given to the phase around them; arrays as in `verdict.judge`."""
    column, sure, reason = verdict.column.copy(), verdict.confidence.copy(), verdict.reason.copy()
    order = bonds.order
    centre = order[np.repeat(np.arange(len(bonds)), np.diff(bonds.offsets))]
    neighbour = order[bonds.neighbour]
    count = np.bincount(centre, minlength=len(column))
    for _ in range(SWEEPS):
        open_atoms = (column < 0) & (proposed >= 0) & dense
        agree = np.bincount(centre[column[neighbour] == proposed[centre]], minlength=len(column))
        joined = open_atoms & (agree > 0) & (agree >= SHARE * count)
        column[joined], sure[joined], reason[joined] = proposed[joined], confidence[joined], Reason.NONE
    return Verdict(column=column, confidence=sure, reason=reason)
