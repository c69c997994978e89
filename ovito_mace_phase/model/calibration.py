"""Calibration of a model, which turns logits into probabilities: temperature, density thresholds, trust in fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.phases import Phase
from ovito_mace_phase.runtime.errors import ModelFileError

Float32 = npt.NDArray[np.float32]


FITTED = ("same", "same_familiar", "other", "other_familiar", "same_divided", "other_divided")
"""Cases in which confidence follows from a template, see `classification.geometry.confidence`."""


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
    fitted : mapping
        Case of `FITTED` -> a and b of `classification.geometry.confidence`, of those that the model has numbers for.
    """

    temperature: float = 1.0
    log_density: float | npt.NDArray[np.float64] = -np.inf
    floors: Mapping[str, float] = field(default_factory=dict)
    fitted: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> Calibration:
        """Read the entry `calibration` of a model card; ModelFileError when it cannot be used."""
        entry = card.get("calibration", {})
        try:
            density, floors = entry.get("log_density"), entry.get("floors", {})
            found = cls(
                temperature=float(entry.get("temperature", 1.0)),
                log_density=-np.inf if density is None else float(density),
                floors={str(key): float(floor) for key, floor in floors.items()},
                fitted=_pairs(entry.get("fitted", {})),
            )
        except (AttributeError, TypeError, ValueError):
            found = None
        if found is None or not 0.0 < found.temperature < np.inf:
            raise ModelFileError(
                "the entry 'calibration' of the model card must hold a positive temperature, a log_density, floors "
                f"by phase and pairs for fits, not {str(entry)[:200]}: the card was edited; copy both files "
                "of the model again"
            )
        return found

    def of(self, phases: Sequence[Phase]) -> Calibration:
        """Return the calibration with a density threshold for each of the phases, which are all of the model's."""
        limits = np.array([max(self.log_density, self.floors.get(phase.key, -np.inf)) for phase in phases])
        return replace(self, log_density=limits)

    @property
    def has_density_thresholds(self) -> bool:
        """Whether the rule of low density is on for any phase."""
        return bool(np.any(np.asarray(self.log_density) > -np.inf))

    def below_density(self, log_density: Float32, column: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Tell which atoms with the label `column` lie below the density threshold, (n_atoms,)."""
        limit = np.asarray(self.log_density)
        return log_density < (limit[column] if limit.ndim else limit)


def _pairs(entry: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Return the numbers of the cases; ValueError where they are not pairs of finite numbers of known cases."""
    found = {str(name): tuple(map(float, pair)) for name, pair in entry.items()}
    if not set(found) <= set(FITTED) or not all(len(pair) == 2 and np.isfinite(pair).all() for pair in found.values()):
        raise ValueError(f"two finite numbers each of {FITTED}")
    return {name: (pair[0], pair[1]) for name, pair in found.items()}
