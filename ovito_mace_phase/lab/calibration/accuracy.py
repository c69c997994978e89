"""Accuracy on held-out samples: per phase, per equivalence group, against noise; calibration error.

    accuracy of a phase = its atoms labelled right / its atoms;   reported: mean over phases
    ECE = sum over bins of |accuracy - mean confidence| weighted by the atoms in the bin

Source of ECE: Guo et al., ICML 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.classification.readout.labels import label
from ovito_mace_phase.lab.features.rows import Shard
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.phases import Phase

NOISE_BINS = (0.0, 0.05, 0.10, 0.15)
N_BINS = 15
LOW_NOISE = 0.10


def part_scores(
    logits: npt.NDArray[np.float32], shard: Shard, phases: Sequence[Phase], calibration: Calibration
) -> dict[str, Any]:
    """Return the scores of one part of the split, as plain numbers for the model card.

    `logits` (n, n_phases) are those of the rows of the shard.

    Returns
    -------
    dict
        `phase_accuracy` and `group_accuracy` (means over phases, background left out), `by_noise`, `per_phase`
        (key -> atoms, accuracy by phase, by group, by phase at low noise, commonest wrong answer), `background`, `ece`.
    """
    column, confidence, _ = label(logits, calibration, None, 0.0, 0)
    truth = shard.label.astype(np.int64)
    groups = np.unique([phase.group for phase in phases], return_inverse=True)[1]
    right, right_group = column == truth, groups[column] == groups[truth]
    crystal = truth != 0
    per_phase = {
        phases[c].key: _one_phase(truth == c, column, right, right_group, phases, shard.sigma <= LOW_NOISE)
        for c in np.unique(truth[crystal])
    }
    noise = {}
    for low, high in pairwise(NOISE_BINS):
        inside = crystal & (shard.sigma >= low) & (shard.sigma < high)
        noise[f"{low:.2f}-{high:.2f}"] = [
            _mean_over_phases(right, truth, inside),
            _mean_over_phases(right_group, truth, inside),
        ]
    background = ~crystal
    doubted = (column[background] == 0) | (confidence[background] < 0.5)
    return {
        "n_phases": len(per_phase),
        "n_atoms": int(crystal.sum()),
        "phase_accuracy": _mean_over_phases(right, truth, crystal),
        "group_accuracy": _mean_over_phases(right_group, truth, crystal),
        "by_noise": noise,
        "ece": expected_calibration_error(confidence[crystal], right[crystal]),
        "background": {
            "n_atoms": int(background.sum()),
            "other_or_unsure": float(doubted.mean()) if background.any() else None,
            "other": float((column[background] == 0).mean()) if background.any() else None,
        },
        "per_phase": per_phase,
    }


def expected_calibration_error(confidence: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> float:
    """Return the ECE over equal-width bins."""
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    weight = np.bincount(bins, minlength=N_BINS)
    gap = np.bincount(bins, weights=right.astype(float) - confidence, minlength=N_BINS)
    return float(np.abs(gap).sum() / max(weight.sum(), 1))


def _mean_over_phases(
    right: npt.NDArray[np.bool_], truth: npt.NDArray[np.int64], inside: npt.NDArray[np.bool_]
) -> float | None:
    """Return the mean accuracy over phases; None without atoms."""
    count = np.bincount(truth[inside])
    hits = np.bincount(truth[inside], weights=right[inside], minlength=len(count))
    present = count > 0
    return float((hits[present] / count[present]).mean()) if present.any() else None


def _one_phase(
    mine: npt.NDArray[np.bool_],
    column: npt.NDArray[np.int64],
    right: npt.NDArray[np.bool_],
    right_group: npt.NDArray[np.bool_],
    phases: Sequence[Phase],
    quiet: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    wrong = column[mine & ~right]
    commonest = int(np.bincount(wrong).argmax()) if len(wrong) else None
    return {
        "n_atoms": int(mine.sum()),
        "phase": round(float(right[mine].mean()), 4),
        "group": round(float(right_group[mine].mean()), 4),
        "low_noise": round(float(right[mine & quiet].mean()), 4) if (mine & quiet).any() else None,
        "confused_with": None if commonest is None else phases[commonest].key,
        "confused": 0.0 if commonest is None else round(float((wrong == commonest).sum() / mine.sum()), 4),
    }
