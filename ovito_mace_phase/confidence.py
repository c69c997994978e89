"""From logits to label, confidence and margin.

    p[a, c] = softmax_c(l[a, c] / T + log w_c)        T: temperature fitted on held-out chemistries; w: prior
    label   = argmax_c p,   confidence = max_c p,   margin = best minus second-best logit
    Other   when the background class wins, when confidence < threshold, or when logsumexp_c l < density threshold of
            the label: what its own crystals, shaken hard, hardly ever fall below

Source: temperature scaling, Guo et al., ICML 2017.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .phases import Phase

Float32 = npt.NDArray[np.float32]
_CHUNK = 65536


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Numbers fitted on held-out data and stored with the weights.

    Attributes
    ----------
    temperature : float
    log_density : float or (n_phases,) array
        Atoms whose logsumexp of the logits is lower are Other, for all labels or for each; minus infinity switches the
        rule off.
    floors : mapping
        Key of a phase -> its own threshold, where it is higher.
    """

    temperature: float = 1.0
    log_density: float | npt.NDArray[np.float64] = -np.inf
    floors: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> Calibration:
        """Read the entry `calibration` of a model card."""
        entry = card.get("calibration", {})
        density, floors = entry.get("log_density"), entry.get("floors", {})
        return cls(
            temperature=float(entry.get("temperature", 1.0)),
            log_density=-np.inf if density is None else float(density),
            floors={str(key): float(floor) for key, floor in floors.items()},
        )

    def of(self, phases: Sequence[Phase]) -> Calibration:
        """Return the calibration with a density threshold for each of the phases, which are all of the model's."""
        limits = np.array([max(self.log_density, self.floors.get(phase.key, -np.inf)) for phase in phases])
        return replace(self, log_density=limits)

    def too_rare(self, log_density: Float32, column: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Tell which atoms with the label `column` lie below the density threshold, (n_atoms,)."""
        limit = np.asarray(self.log_density)
        return log_density < (limit[column] if limit.ndim else limit)


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


def label(
    logits: Float32,
    calibration: Calibration,
    weights: npt.NDArray[np.float64] | None,
    threshold: float,
    other: int | None,
) -> tuple[npt.NDArray[np.int64], Float32, Float32]:
    """Return column of the phase, confidence and margin of every atom.

    Parameters
    ----------
    logits : (n_atoms, n_phases) float32
    calibration : Calibration
    weights : (n_phases,) float64, optional
        Prior; None is uniform.
    threshold : float
        Atoms with less confidence become Other.
    other : int or None
        Column of the background class.

    Returns
    -------
    column : (n_atoms,) int64
        -1 where an atom is Other and there is no such column.
    confidence : (n_atoms,) float32
        Probability of the label; for an atom made Other by the threshold, one minus the probability of its best phase.
    margin : (n_atoms,) float32
    """
    n_atoms = len(logits)
    column = np.empty(n_atoms, dtype=np.int64)
    confidence, margin = np.empty(n_atoms, dtype=np.float32), np.empty(n_atoms, dtype=np.float32)
    reject = -1 if other is None else other
    for start in range(0, n_atoms, _CHUNK):
        block = slice(start, start + _CHUNK)
        p = posterior(logits[block], calibration.temperature, weights)
        best = p.argmax(axis=1)
        sure = p[np.arange(len(p)), best]
        margin[block] = _margin(logits[block])
        doubtful = (sure < threshold) | calibration.too_rare(_log_density(logits[block]), best)
        doubtful &= best != reject
        column[block] = np.where(doubtful, reject, best)
        confidence[block] = np.where(doubtful, 1.0 - sure, sure)
    return column, confidence, margin


def _margin(logits: Float32) -> Float32:
    if logits.shape[1] < 2:
        return np.full(len(logits), np.inf, dtype=np.float32)
    top = np.partition(logits, logits.shape[1] - 2, axis=1)[:, -2:]
    return top[:, 1] - top[:, 0]


def _log_density(logits: Float32) -> Float32:
    """Logsumexp over phases, logP of an atom."""
    top = logits.max(axis=1)
    return top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
