"""From logits to label, confidence and margin.

    p[a, c] = softmax_c(l[a, c] / T + log w_c)        T: temperature fitted on held-out chemistries; w: prior
    label   = argmax_c p,   confidence = max_c p,   margin = best minus second-best logit
    Other   when the background class wins, when confidence < threshold, or when logsumexp_c l < density threshold of
            the label: what its own crystals, shaken hard, hardly ever fall below

Source: temperature scaling, Guo et al., ICML 2017.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.runtime.threads import over_rows

Float32 = npt.NDArray[np.float32]
_ROWS = 1024  # of a piece for one thread: they stay in the cache
_LEAST = -1e30  # stands for the logarithm of a weight of zero


def posterior(logits: Float32, temperature: float, weights: npt.NDArray[np.float64] | None = None) -> Float32:
    """Return p, (n_atoms, n_phases)."""
    scaled = logits / np.float32(temperature)
    if weights is not None:
        with np.errstate(divide="ignore"):
            scaled = scaled + np.log(weights).astype(np.float32)
    scaled -= scaled.max(axis=1, keepdims=True)
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(axis=1, keepdims=True)
    return scaled


def picked(logits: Float32, chosen: npt.NDArray[np.int64]) -> Float32:
    """Return a copy of some of the columns; a list that leaves out a few is copied run by run, which is faster."""
    ends = np.flatnonzero(np.diff(chosen) != 1) + 1
    if 8 * (len(ends) + 1) > len(chosen):
        return np.take(logits, chosen, axis=1, mode="clip")
    firsts, lasts = np.append(0, ends), np.append(ends, len(chosen))
    runs = [logits[:, chosen[a] : chosen[b - 1] + 1] for a, b in zip(firsts, lasts, strict=True)]
    return np.concatenate(runs, axis=1)


def label(
    logits: Float32,
    calibration: Calibration,
    weights: npt.NDArray[np.float64] | None,
    threshold: float,
    other: int | None,
    log_density: Float32 | None = None,
    chosen: npt.NDArray[np.int64] | None = None,
) -> tuple[npt.NDArray[np.int64], Float32, Float32]:
    """Return column of the phase, confidence and margin of every atom.

    Parameters
    ----------
    logits : (n_atoms, n_phases) float32
        Or more columns, with `chosen`.
    calibration : Calibration
    weights : (n_phases,) float64, optional
        Prior; None is uniform.
    threshold : float
        Atoms with less confidence become Other.
    other : int or None
        Column of the background class.
    log_density : (n_atoms,) float32, optional
        logsumexp of the logits, where it is known.
    chosen : (n_phases,) int64, optional
        Columns of `logits` to look at.

    Returns
    -------
    column : (n_atoms,) int64
        -1 where an atom is Other and there is no such column.
    confidence : (n_atoms,) float32
        Probability of the label; for an atom made Other by the threshold, one minus the probability of its best phase.
    margin : (n_atoms,) float32
    """
    from ovito_mace_phase.model.network.operations.kernels import log_sums

    from .kernels import weighted_best  # here, since the panel opens without numba

    n_atoms, n_phases = len(logits), logits.shape[1] if chosen is None else len(chosen)
    column = np.empty(n_atoms, dtype=np.int64)
    sure, margin, norm = np.empty((3, n_atoms), dtype=np.float32)
    summed = calibration.has_density_thresholds and log_density is None
    density = np.empty(n_atoms, dtype=np.float32) if log_density is None else log_density
    given = np.ones(n_phases) if weights is None else weights
    with np.errstate(divide="ignore"):
        log_weights = np.maximum(np.log(given), _LEAST).astype(np.float32)
    inverse = np.float32(1.0 / calibration.temperature)

    def work(a: int, b: int) -> None:
        piece = logits[a:b] if chosen is None else picked(logits[a:b], chosen)
        weighted_best(piece, inverse, log_weights, column[a:b], sure[a:b], margin[a:b])
        if summed:
            log_sums(piece, 1.0, density[a:b], norm[a:b])

    over_rows(work, n_atoms, _ROWS)
    if n_phases < 2:
        margin[:] = np.inf
    doubtful = sure < threshold
    if calibration.has_density_thresholds:
        doubtful |= calibration.too_rare(density, column)
    reject = -1 if other is None else other
    doubtful &= column != reject
    return np.where(doubtful, reject, column), np.where(doubtful, 1.0 - sure, sure).astype(np.float32), margin
