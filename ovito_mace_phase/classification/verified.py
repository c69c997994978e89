"""Kept logits -> verified labels: the step from the readout to the result.

The last fits are kept with the logits, so that a changed cutoff, threshold or prior answers at once: what is tried
where follows from the labels of the local prior, whichever prior is chosen, unless its weights are given.

After denoising an atom stays Other whose P(Other) was above SURE at the first position, where no template fitted:
denoising makes crystals of melts, which templates then fit. Where one fitted at both positions the atom has its phase.
Crystalline atoms after 8 steps, without and with this: Cu melt of 1,024 atoms 131 and 0, undercooled metal melt of
4,000 atoms 1,493 and 80; fcc Cu at 0.95 of melting, 2,048 atoms, 2,048 both times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.runtime.watch import Watch

from .geometry.confidence import FitTrust
from .geometry.defects import with_defects
from .geometry.geometry import Geometry
from .geometry.proposals import Chosen
from .geometry.verdict import Reason, Verdict
from .geometry.verify import Part, match_frame, places_of, verdict_of
from .readout.kept_logits import KeptLogits
from .readout.labels import Labels, label_atoms, other_column
from .readout.possible import of_possible
from .settings import Settings

SURE = 0.5


def verified(
    kept: KeptLogits,
    calibration: Calibration,
    settings: Settings,
    possible: npt.NDArray[np.bool_],
    *,
    first: Verdict | None = None,
    watch: Watch | None = None,
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
    first : Verdict, optional
        Of the same atoms before denoising.
    watch : Watch, optional

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
    parts = matched(kept, calibration, settings, possible, watch, labels)
    verdict = verdict_of(
        kept.frame,
        kept.phases,
        parts,
        proposed,
        labels.confidence,
        dense,
        rmsd_cutoff=settings.rmsd_cutoff,
        trust=FitTrust(**calibration.fitted),
    )
    if settings.defects == "phase":
        verdict = with_defects(
            verdict, proposed, labels.confidence, dense, *places_of(parts, len(kept)), kept.frame.bonds()
        )
    if first is not None:
        verdict = _still_other(verdict, first)
    verdict = above(verdict, settings.confidence_threshold)
    return Geometry(verdict=verdict, factor=kept.frame.factor, parts=parts), labels.margin


def matched(
    kept: KeptLogits,
    calibration: Calibration,
    settings: Settings,
    possible: npt.NDArray[np.bool_],
    watch: Watch | None = None,
    labels: Labels | None = None,
) -> tuple[Part, ...]:
    """Return the fits of the atoms of a frame, those kept with the logits where they are for these settings.

    Parameters as in `verified`; `labels` with the prior of the settings, where they are known.
    """
    key = fits_key(settings)
    if key not in kept.found:
        for old in [name for name in kept.found if isinstance(name, tuple) and name[0] == "fits"]:
            del kept.found[old]
        of_local = isinstance(settings.prior, Mapping) or settings.prior == "local"
        free, other = replace(calibration, log_density=-np.inf), other_column(kept)
        tried = labels if of_local else None
        if tried is None:
            tried = label_atoms(kept, free, prior=settings.prior if of_local else "local", possible=possible)
        claimed = tried.column if other is None else np.where(tried.column == other, -1, tried.column)
        sparse = calibration.below_density(kept.log_density, np.maximum(claimed, 0))
        kept.found[key] = match_frame(
            kept.frame,
            kept.phases,
            claimed,
            np.where(sparse, np.float32(0.0), tried.confidence),
            of_possible(kept, possible).best_columns,
            chosen=Chosen(named=settings.phases or (), never=_ruled_out(settings.prior)),
            watch=None if watch is None else Watch(cancelled=watch.cancelled),
            shells_kept=settings.denoise_steps > 0,
        )
    return kept.found[key]


def fits_key(settings: Settings) -> tuple[object, ...]:
    """Return the name under which the fits for these settings are kept in `KeptLogits.found`."""
    return ("fits", _prior_key(settings.prior) if isinstance(settings.prior, Mapping) else "", settings.phases)


def unverified(
    kept: KeptLogits, calibration: Calibration, settings: Settings, possible: npt.NDArray[np.bool_]
) -> tuple[Verdict, npt.NDArray[np.float32]]:
    """Return the labels of the network alone, and the margin of its logits; parameters as in `verified`."""
    threshold = settings.confidence_threshold
    labels = label_atoms(kept, calibration, prior=settings.prior, threshold=threshold, possible=possible)
    other = other_column(kept)
    column = labels.column if other is None else np.where(labels.column == other, -1, labels.column)
    reason = np.zeros(len(kept), dtype=np.int8)
    if (column < 0).any():
        free = replace(calibration, log_density=-np.inf)
        best = label_atoms(kept, free, prior=settings.prior, possible=possible).column
        sparse = calibration.below_density(kept.log_density, np.maximum(best, 0))
        reason = np.where(sparse, Reason.LOW_DENSITY, Reason.LOW_CONFIDENCE)
        reason = np.where((best < 0) | (best == other), Reason.BACKGROUND, reason)
        reason = np.where(column < 0, reason, Reason.NONE).astype(np.int8)
    return Verdict(column=column, confidence=labels.confidence, reason=reason), labels.margin


def _still_other(verdict: Verdict, first: Verdict) -> Verdict:
    """Leave Other what was surely so before denoising, see the head of this module."""
    sure = (first.column < 0) & (first.confidence > SURE)
    melt = sure & (verdict.column >= 0)
    return Verdict(
        column=np.where(melt, -1, verdict.column),
        confidence=np.where(melt, first.confidence, verdict.confidence).astype(np.float32),
        reason=np.where(sure, first.reason, verdict.reason).astype(np.int8),
    )


def above(verdict: Verdict, threshold: float) -> Verdict:
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
