"""Kept logits -> verified labels: the step from the readout to the result.

The fits are kept with the logits, so that a changed cutoff or threshold answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.model.calibration import Calibration

from .geometry.defects import with_defects
from .geometry.geometry import Geometry
from .geometry.verdict import Reason, Verdict
from .geometry.verify import match_frame, verdict_of
from .readout.kept_logits import KeptLogits
from .readout.labels import label_atoms, other_column
from .readout.possible import of_possible
from .settings import Settings


def verified(
    kept: KeptLogits, calibration: Calibration, settings: Settings, possible: npt.NDArray[np.bool_]
) -> tuple[Geometry, npt.NDArray[np.float32]]:
    """Return the verified labels of a frame, and the margin of its logits.

    Parameters
    ----------
    kept : KeptLogits
        Of the phases considered.
    calibration : Calibration
    settings : Settings
        Prior, verification and confidence threshold.
    possible : (n_phases,) bool
        Phases that the frame can have.

    Raises
    ------
    InputError
        As `label_atoms` does.
    """
    free = replace(calibration, log_density=-np.inf)
    labels = label_atoms(kept, free, prior=settings.prior, possible=possible)
    other = other_column(kept)
    proposed = labels.column if other is None else np.where(labels.column == other, -1, labels.column)
    dense = ~calibration.below_density(kept.log_density, np.maximum(proposed, 0))
    key = ("fits", _prior_key(settings.prior), settings.phases)
    if key not in kept.found:
        kept.found[key] = match_frame(
            kept.frame,
            kept.phases,
            proposed,
            labels.confidence,
            dense,
            of_possible(kept, possible).best_columns,
            named=settings.phases or (),
            never=_ruled_out(settings.prior),
        )
    parts = kept.found[key]
    verdict = verdict_of(
        kept.frame, kept.phases, parts, proposed, labels.confidence, dense, rmsd_cutoff=settings.rmsd_cutoff
    )
    if settings.defects == "phase":
        verdict = with_defects(verdict, proposed, labels.confidence, dense, kept.frame.bonds())
    verdict = _above(verdict, settings.confidence_threshold)
    return Geometry(verdict=verdict, factor=kept.frame.factor, parts=parts), labels.margin


def _above(verdict: Verdict, threshold: float) -> Verdict:
    """Turn atoms with less confidence into Other."""
    doubtful = (verdict.column >= 0) & (verdict.confidence < threshold)
    return Verdict(
        column=np.where(doubtful, -1, verdict.column),
        confidence=np.where(doubtful, 1.0 - verdict.confidence, verdict.confidence).astype(np.float32),
        reason=np.where(doubtful, Reason.LOW_CONFIDENCE, verdict.reason).astype(np.int8),
    )


def _ruled_out(prior: str | Mapping[str, float]) -> tuple[str, ...]:
    """Return the phases that a prior gives no weight."""
    return tuple(key for key, weight in prior.items() if weight == 0.0) if isinstance(prior, Mapping) else ()


def _prior_key(prior: str | Mapping[str, float]) -> object:
    return tuple(sorted(prior.items())) if isinstance(prior, Mapping) else prior
