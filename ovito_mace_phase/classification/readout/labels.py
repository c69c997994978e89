"""Kept logits -> label, confidence and margin of every atom.

    p[a, c] = softmax_c(l[a, c] / T + log w_c)        T: temperature fitted on held-out chemistries; w: prior
    label   = argmax_c p,   confidence = max_c p,   margin = best minus second-best logit
    Other   when the background class wins, when confidence < threshold, or when logsumexp_c l < density threshold of
            the label, below which crystals of the phase with strong noise rarely fall

The neighbourhood prior has no weights w, see `local_prior`.
Source: temperature scaling, Guo et al., ICML 2017.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.runtime.held_array import tensor_of
from ovito_mace_phase.runtime.threads import over_rows

from .frame_prior import frame_prior
from .kept_logits import KeptLogits, stride_of, take_columns
from .kernels import look_up, weighted_best
from .kernels_keep import log_sums
from .kernels_local import rival_posteriors
from .local_prior import N_RIVALS, local_labels
from .possible import IMPOSSIBLE, of_possible

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
OTHER_ID = 0
_ROWS = 1024  # of a piece for one thread: they stay in the cache
_PIECE = 8192  # where there are few numbers of an atom
_LEAST = -1e30  # stands for the logarithm of a weight of zero


class Labels(NamedTuple):
    """Labels of the atoms.

    Attributes
    ----------
    column : (n_atoms,) int64
        Place of the phase; -1 where an atom is Other and there is no such phase.
    confidence : (n_atoms,) float32
        Probability of the label; for an atom made Other by a threshold, one minus the probability of its best phase.
    margin : (n_atoms,) float32
        Best minus second-best logit.
    """

    column: IntArray
    confidence: Float32
    margin: Float32


def label_atoms(
    kept: KeptLogits,
    calibration: Calibration,
    *,
    prior: str | Mapping[str, float] = "local",
    threshold: float = 0.0,
    possible: npt.NDArray[np.bool_] | None = None,
) -> Labels:
    """Label every atom of a frame.

    Parameters
    ----------
    kept : KeptLogits
        With sums at the temperature of the calibration.
    calibration : Calibration
    prior : 'local', 'frame', 'uniform' or mapping
        How similar phases are told apart, see `Settings`.
    threshold : float
        Atoms with less confidence become Other.
    possible : (n_phases,) bool, optional
        Phases that the frame can have; default all.

    Raises
    ------
    InputError
        When a mapping names a phase that is not considered, or a weight that is none.
    """
    found = _label_with(kept, calibration, prior, threshold, None)
    if possible is None or not _impossible(found.column, possible).any():
        return found
    best = of_possible(kept, possible)
    return _put_right(found, _label_with(best, calibration, prior, threshold, possible), possible, other_column(kept))


def _label_with(
    kept: KeptLogits,
    calibration: Calibration,
    prior: str | Mapping[str, float],
    threshold: float,
    possible: npt.NDArray[np.bool_] | None,
) -> Labels:
    """Label every atom with a prior, among the possible phases."""
    if prior == "local":
        return _accepted(kept, *_local(kept, calibration.temperature), calibration, threshold)
    if prior == "uniform":
        sure = _posteriors(kept, calibration.temperature, 1)[:, 0]  # of the best logit, which is the most likely phase
        return _accepted(kept, np.zeros(len(kept), dtype=np.int64), sure, calibration, threshold)
    weights = prior_of_frame(kept, calibration.temperature) if prior == "frame" else _weights(kept, prior)
    return label_weighted(kept, calibration, weights if possible is None else weights * possible, threshold)


def _put_right(found: Labels, again: Labels, possible: npt.NDArray[np.bool_], other: int | None) -> Labels:
    """Put the labels among the possible phases, `again`, in place of impossible ones.

    What was given to the impossible phase stays lost, so that the confidence says that it was the better answer; of an
    atom of which no possible phase is known, which is Other, it is 0.
    """
    wrong = _impossible(found.column, possible)
    still = wrong & _impossible(again.column, possible)
    reject = -1 if other is None else other
    column = np.where(wrong, again.column, found.column)
    sure = np.where(again.column == reject, again.confidence, np.minimum(again.confidence, 1.0 - found.confidence))
    return Labels(
        column=np.where(still, reject, column),
        confidence=np.where(still, 0.0, np.where(wrong, sure, found.confidence)).astype(np.float32),
        margin=np.where(wrong, again.margin, found.margin),
    )


def _impossible(column: IntArray, possible: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    return (column >= 0) & ~possible[column]


def label_weighted(kept: KeptLogits, calibration: Calibration, weights: Float64, threshold: float = 0.0) -> Labels:
    """Label every atom with phase weights (n_phases,); exact where all logits are kept."""
    held = tensor_of(kept.all_logits)
    if held is not None and kept.chosen is None and len(held):
        from .on_device import weighted_best_on_device

        column, sure = weighted_best_on_device(held, calibration.temperature, _logs(weights))
        return _apply_rejection(
            column, sure, _margin(kept), kept.log_density, calibration, threshold, other_column(kept)
        )
    if kept.all_logits is not None:
        logits = np.asarray(kept.all_logits)
        return label(logits, calibration, weights, threshold, other_column(kept), kept.log_density, kept.chosen)
    with np.errstate(divide="ignore"):
        weighted = (
            kept.best / np.float32(calibration.temperature) + np.log(weights).astype(np.float32)[kept.best_columns]
        )
    norm = np.logaddexp(_log_sum(weighted), _log_mass_not_kept(kept, weights, calibration.temperature))
    return _accepted(kept, *_best_of(weighted, norm), calibration, threshold)


def prior_of_frame(kept: KeptLogits, temperature: float) -> Float64:
    """Return the phase weights (n_phases,) estimated from the frame, computed once."""
    key = ("frame prior", temperature)
    if key not in kept.found:
        held = tensor_of(kept.sampled if kept.all_logits is None else kept.all_logits)
        if held is not None and kept.chosen is None:
            from .on_device import frame_prior_on_device

            stride = 1 if kept.all_logits is None else stride_of(len(kept))
            kept.found[key] = frame_prior_on_device(held[::stride], temperature)
        else:
            kept.found[key] = frame_prior(kept.sample(), temperature)
    return kept.found[key]


def other_column(kept: KeptLogits) -> int | None:
    """Return the place of OTHER among the phases considered."""
    return next((column for column, phase in enumerate(kept.phases) if phase.id == OTHER_ID), None)


def label(
    logits: Float32,
    calibration: Calibration,
    weights: Float64 | None,
    threshold: float,
    other: int | None,
    log_density: Float32 | None = None,
    chosen: IntArray | None = None,
) -> Labels:
    """Label atoms from all their logits.

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
    """
    n_atoms, n_phases = len(logits), logits.shape[1] if chosen is None else len(chosen)
    column = np.empty(n_atoms, dtype=np.int64)
    sure, margin, norm = np.empty((3, n_atoms), dtype=np.float32)
    summed = calibration.has_density_thresholds and log_density is None
    density = np.empty(n_atoms, dtype=np.float32) if log_density is None else log_density
    given = np.ones(n_phases) if weights is None else weights
    log_weights = _logs(given)
    inverse = np.float32(1.0 / calibration.temperature)

    def work(a: int, b: int) -> None:
        piece = logits[a:b] if chosen is None else take_columns(logits[a:b], chosen)
        weighted_best(piece, inverse, log_weights, column[a:b], sure[a:b], margin[a:b])
        if summed:
            log_sums(piece, np.float32(1.0), density[a:b], norm[a:b])

    over_rows(work, n_atoms, _ROWS)
    if n_phases < 2:
        margin[:] = np.inf
    return _apply_rejection(column, sure, margin, density, calibration, threshold, other)


def _logs(weights: Float64) -> Float32:
    """Return the logarithms of weights, finite for those of zero too."""
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(weights), _LEAST).astype(np.float32)


def _margin(kept: KeptLogits) -> Float32:
    """Return the best minus the second-best logit of every atom."""
    best = kept.best
    if best.shape[1] < 2:
        return np.full(len(best), np.inf, dtype=np.float32)
    return np.where(best[:, 1] > IMPOSSIBLE, best[:, 0] - best[:, 1], np.float32(np.inf))


def _best_of(weighted: Float32, norm: Float32) -> tuple[IntArray, Float32]:
    """Return the place of the largest of each row and its probability."""
    place = weighted.argmax(axis=1)
    return place, np.exp(np.minimum(weighted[np.arange(len(place)), place] - norm, 0.0))


def _posteriors(kept: KeptLogits, temperature: float, most: int) -> Float32:
    """Return the probabilities of at most so many of the best phases of every atom."""
    probability = np.empty((len(kept), min(most, kept.best.shape[1])), dtype=np.float32)
    inverse = np.float32(1.0 / temperature)
    over_rows(lambda a, b: rival_posteriors(kept.best, kept.log_norm, inverse, a, b, probability), len(kept), _PIECE)
    return probability


def _local(kept: KeptLogits, temperature: float) -> tuple[IntArray, Float32]:
    """Return the result of the neighbourhood prior, computed once."""
    key = ("local prior", temperature)
    if key not in kept.found:
        probability = _posteriors(kept, temperature, N_RIVALS)
        kept.found[key] = local_labels(kept.best_columns[:, :N_RIVALS], probability, kept.frame.bonds())
    return kept.found[key]


def _accepted(kept: KeptLogits, place: IntArray, sure: Float32, calibration: Calibration, threshold: float) -> Labels:
    """Return labels from the place of each among the best logits of the atom, and its probability."""
    column, margin = np.empty(len(kept), dtype=np.int64), np.full(len(kept), np.inf, dtype=np.float32)
    over_rows(lambda a, b: look_up(kept.best_columns, kept.best, place, a, b, column, margin), len(kept), _PIECE)
    return _apply_rejection(column, sure, margin, kept.log_density, calibration, threshold, other_column(kept))


def _apply_rejection(
    column: IntArray,
    sure: Float32,
    margin: Float32,
    log_density: Float32,
    calibration: Calibration,
    threshold: float,
    other: int | None,
) -> Labels:
    """Turn atoms with low confidence, or of too low a density for their phase, into Other."""
    reject = -1 if other is None else other
    label, confidence = np.empty_like(column), np.empty_like(sure)

    def work(a: int, b: int) -> None:
        doubtful = sure[a:b] < threshold
        if calibration.has_density_thresholds:
            doubtful |= calibration.below_density(log_density[a:b], column[a:b])
        doubtful &= column[a:b] != reject
        label[a:b] = np.where(doubtful, reject, column[a:b])
        confidence[a:b] = np.where(doubtful, 1.0 - sure[a:b], sure[a:b])

    over_rows(work, len(column), _PIECE)
    return Labels(column=label, confidence=confidence, margin=margin)


def _weights(kept: KeptLogits, prior: object) -> Float64:
    """Return the weights (n_phases,) of a mapping; InputError for one that cannot be used."""
    if not isinstance(prior, Mapping):
        raise InputError(
            f"prior must be 'local', 'uniform', 'frame' or a mapping of phase keys to weights, not {prior!r}"
        )
    keys = [phase.key for phase in kept.phases]
    for key, weight in prior.items():
        if key not in keys:
            raise InputError(f"the prior names the phase {key!r}, which is not considered")
        if not (np.isfinite(weight) and weight >= 0):
            raise InputError(f"the prior weight of {key} must be a number of at least 0, not {weight}")
    return np.array([float(prior.get(key, 1.0)) for key in keys])


def _log_mass_not_kept(kept: KeptLogits, weights: Float64, temperature: float) -> Float32:
    """Return the log of the most that the phases not kept can weigh, (n_atoms,)."""
    in_best = _log_sum(kept.best / np.float32(temperature))
    share = -np.expm1(np.minimum(in_best - kept.log_norm, 0.0))  # of the uniform posterior
    heaviest = np.full(len(kept), -np.inf)
    unknown = np.ones(len(kept), dtype=bool)
    for column in np.argsort(-weights)[: kept.best.shape[1] + 1]:  # one of these is not kept
        free = unknown & ~(kept.best_columns == column).any(axis=1)
        with np.errstate(divide="ignore"):
            heaviest[free] = np.log(weights[column])
        unknown &= ~free
        if not unknown.any():
            break
    with np.errstate(divide="ignore"):
        return (np.log(share) + kept.log_norm + heaviest).astype(np.float32)


def _log_sum(values: Float32) -> Float32:
    top = values.max(axis=1)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return top + np.log(np.exp(values - top[:, None]).sum(axis=1))
