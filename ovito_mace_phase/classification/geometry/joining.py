"""Atoms that the network calls Other join the crystal around them where it is plain that they are of it.

The network knows no antisites and has seen few free surfaces: beside them it says Other of atoms whose shell is whole.
Such an atom is never a seed. When all crystals have grown it hears of those around it, and keeps a match where

    misfit <= COLD and support >= SOME                                 a cold crystal
    misfit <= HOT, support and region >= FIRM, a phase of several species     geometry and species agree

Others lose it again, so that nobody counts on them: a melt beside a crystal fits neither. See `agreement` for the
words. COLD is the cutoff of PTM, too small for the atoms of a hot crystal and of its melt.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .matching import MOST_TRIES, Growth

Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
COLD, SOME = 0.10, 0.4
HOT, FIRM = 0.16, 0.75
_SWEEPS = 4


def join(state: Growth) -> None:
    """Let crystals grow over the atoms that nothing was proposed for."""
    library = state.library
    other, matched = state.allowed[:, 0] < 0, state.template >= 0
    if not other.any() or not matched.any():
        return
    count = np.bincount(library.phase[state.template[matched]], minlength=len(library.n_codes))
    common = np.argsort(-count, kind="stable")[: state.allowed.shape[1]]
    asked = np.where(count[common] > 0, common, -1)
    before = state.allowed
    state.allowed = before.copy()
    state.allowed[other, : len(asked)] = asked
    state.tries[:] = np.where(other, 0, MOST_TRIES)
    state.spread(np.flatnonzero(matched))
    state.allowed = before
    new = other & ~matched
    for _ in range(_SWEEPS):
        held = state.held()
        ordered = (state.template >= 0) & (library.n_codes[library.phase[state.template]] > 1)
        stays = joins(held.misfit, held.support, held.region, ordered)
        lost = new & (state.template >= 0) & ~stays
        if not lost.any():
            return
        state.forget(lost)
    state.forget(new & ~stays)


def joins(misfit: Float, support: Float, region: Float, ordered: Bool) -> Bool:
    """Tell which atoms stay with the crystal around them, (n_atoms,); `ordered`: of a phase of several species."""
    cold = (misfit <= COLD) & (support >= SOME)
    return cold | (ordered & (misfit <= HOT) & (support >= FIRM) & (region >= FIRM))
