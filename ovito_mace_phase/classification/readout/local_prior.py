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

from .kernels_local import agreement, choose, gather_rivals, update_posteriors

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
    n_atoms, n_best = columns.shape
    order, offsets, neighbour = bonds.order, bonds.offsets, bonds.neighbour
    held, own = np.empty((n_atoms, n_best), dtype=np.int16), np.empty((n_atoms, n_best), dtype=np.float32)
    present = np.empty((2, n_atoms, n_best), dtype=np.float32)
    place, label = np.empty(n_atoms, dtype=np.int8), np.empty(n_atoms, dtype=np.int16)
    share, listed = np.empty(n_atoms, dtype=np.float32), np.empty(n_atoms, dtype=np.int32)
    rivals = np.empty(n_atoms, dtype=np.int8)
    floor = np.float32(_FLOOR)

    def gather(first: int, last: int) -> Int32:
        written = (held, own, rivals, present, place, label, share, listed)
        return listed[first : first + gather_rivals(columns, probability, order, first, last, *written)]

    pieces = over_rows(gather, n_atoms, _ROWS)
    before = own
    for sweep in range(N_SWEEPS):
        following = present[sweep % 2]
        over_rows(
            lambda k, _: update_posteriors(held, own, rivals, before, offsets, neighbour, floor, pieces[k], following),  # noqa: B023 - used up at once
            len(pieces),
            1,
        )
        before = following
    found, confidence = np.empty(n_atoms, dtype=np.int64), np.empty(n_atoms, dtype=np.float32)
    over_rows(lambda k, _: choose(held, own, rivals, before, pieces[k], place, label, share), len(pieces), 1)
    over_rows(
        lambda a, b: agreement(label, share, place, order, offsets, neighbour, a, b, found, confidence),
        n_atoms,
        _ROWS,
    )
    return found, confidence
