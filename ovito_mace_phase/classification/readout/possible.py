"""The best phases of every atom among those that the frame can have: none has more species than the frame.

The sums over all phases stay what they are, so that p[a, c] = exp(l[a, c] / T - log sum_i exp(l[a, i] / T)) is the
probability among all phases, and the density thresholds what they were calibrated for. Of an atom most of whose best
phases are impossible the best possible ones are looked up where all logits were kept.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from .kept_logits import KeptLogits, take_columns
from .kernels_keep import keep_rows
from .local_prior import N_RIVALS

IMPOSSIBLE = np.float32(-1e30)
"""Logit of an impossible phase."""


def of_possible(kept: KeptLogits, possible: npt.NDArray[np.bool_]) -> KeptLogits:
    """Return the best logits with the possible phases first, the impossible ones with the logit IMPOSSIBLE.

    `possible` is (n_phases,). The result is remembered.
    """
    if possible.all() or not len(kept):
        return kept
    key = ("possible", possible.tobytes())
    if key not in kept.found:
        kept.found[key] = _of_possible(kept, possible)
    return kept.found[key]


def _of_possible(kept: KeptLogits, possible: npt.NDArray[np.bool_]) -> KeptLogits:
    can = possible[kept.best_columns]
    order = np.argsort(~can, axis=1, kind="stable")
    columns = np.take_along_axis(kept.best_columns, order, axis=1)
    best = np.take_along_axis(np.where(can, kept.best, IMPOSSIBLE), order, axis=1)
    few = np.flatnonzero(can.sum(axis=1) < min(N_RIVALS, int(possible.sum()), can.shape[1]))
    if kept.all_logits is not None and len(few):
        place = np.flatnonzero(possible)
        logits = kept.all_logits[few]
        logits = np.ascontiguousarray(take_columns(logits if kept.chosen is None else logits[:, kept.chosen], place))
        n_best = min(best.shape[1], len(place))
        found, values = np.empty((len(few), n_best), dtype=np.int16), np.empty((len(few), n_best), dtype=np.float32)
        sums, nothing = np.empty((2, len(few)), dtype=np.float32), np.empty((0, len(place)), dtype=np.float32)
        keep_rows(logits, np.arange(len(few)), np.float32(1.0), found, values, *sums, nothing, 0, nothing)
        columns[few, :n_best], best[few, :n_best] = place[found], values
        best[few, n_best:] = IMPOSSIBLE
    return dataclasses.replace(kept, best_columns=columns.astype(np.int16), best=best.astype(np.float32), found={})
