"""Neighbourhood prior: before its own logits count, an atom has the mean probabilities of itself and its neighbours.

    p0[a, c] = softmax_c(l[a, c] / T)
    w[a, c]  = mean of p[b, c] over a and its bonded neighbours b          bond: shorter than 1.35 V^(1/3), V per atom
    p[a, c]  ~ p0[a, c] (w[a, c] + floor)                                  N_SWEEPS times, starting with p = p0
    label    = argmax_c p
    confidence = mean of p0[b, label] over a and those of its neighbours that have its label

Crystals form regions: where an atom's own logits do not separate two phases, the one around it is more likely. A layer
of a twin, or a nucleus of some atoms, supports itself, which it cannot do against the entire frame (`frame_prior`). The
confidence is not p: the errors of neighbours are correlated, since the model mistakes a crystal everywhere or nowhere,
and p would be near one.
Source: Besag, J. R. Stat. Soc. B 48 (1986) 259, for labels that depend on those of the neighbours.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.bonds import Bonds
from ovito_mace_phase.runtime.threads import over_rows

from .kernels import agreement, update_posteriors

N_SWEEPS = 5
N_RIVALS = 4
"""So many of the best phases of an atom are looked at."""
_FLOOR = 1e-7  # a phase that none of the neighbours holds
_ROWS = 4096

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]


def local_labels(
    columns: npt.NDArray[np.int16], probability: Float32, bonds: Bonds
) -> tuple[npt.NDArray[np.int64], Float32]:
    """Return label and confidence of every atom.

    Parameters
    ----------
    columns : (n_atoms, n_best) int16
        The best phases of each atom; others count as impossible.
    probability : (n_atoms, n_best) float32
        p0 of those.
    bonds : Bonds

    Returns
    -------
    place : (n_atoms,) int64
        The label of atom a is `columns[a, place[a]]`.
    confidence : (n_atoms,) float32
    """
    held, own = columns[bonds.order], probability[bonds.order]
    present = own.copy()
    for _ in range(N_SWEEPS):
        following = np.empty_like(present)
        over_rows(
            lambda a, b: update_posteriors(held, own, present, bonds.offsets, bonds.neighbour, _FLOOR, a, b, following),  # noqa: B023 - used up at once
            len(bonds),
            _ROWS,
        )
        present = following
    best = present.argmax(axis=1)
    sure = np.empty(len(bonds), dtype=np.float32)
    over_rows(lambda a, b: agreement(held, own, best, bonds.offsets, bonds.neighbour, a, b, sure), len(bonds), _ROWS)
    place, confidence = np.empty_like(best), np.empty_like(sure)
    place[bonds.order], confidence[bonds.order] = best, sure
    return place, confidence
