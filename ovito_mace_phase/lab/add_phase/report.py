"""What adding a phase costs: accuracy of the new phase and losses of the old ones, on fresh samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.lab.samples.sampler import SampleSettings
from ovito_mace_phase.lab.samples.source import OTHER_COLUMN
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.phases import Phase

from .confusable import AddedRow, AddSettings, Progress, class_calibration, class_columns
from .rehearsal import Rehearsal, Rows

NOISE_BINS = (0.0, 0.05, 0.10, 0.15, 0.20)
LEAST_ACCURACY, MOST_LOST, MOST_LOST_BY_ONE = 0.80, 0.005, 0.15
_JUDGED = 0.15  # noise up to which the new phase has to be recognised
_LOOK_AGAIN = 0.05  # of an old phase that seems to lose more, more samples are drawn


@dataclass(frozen=True, kw_only=True)
class AddReport:
    """What was measured, on fresh samples.

    Attributes
    ----------
    labelled_before_as : dict of str to float
        What the model took atoms of the new phase for before, up to 0.15 A of noise: key -> share.
    accuracy : float
        Share of the atoms of the new phase recognised, up to 0.15 A of noise.
    by_noise : dict of str to float
        The same by range of noise (A per component at 13 A^3 per atom).
    confused : dict of str to float
        What the others are taken for.
    old_before, old_after : float
        Accuracy of the old phases, mean over phases.
    lost : dict of str to float
        Share of its atoms that an old phase loses, most first.
    background_lost : float
        Share of packings and shattered crystals that are now taken for the new phase.
    n_samples : int
        Samples drawn, to fit and to measure.
    seconds : float
    """

    labelled_before_as: dict[str, float]
    accuracy: float
    by_noise: dict[str, float]
    confused: dict[str, float]
    old_before: float
    old_after: float
    lost: dict[str, float]
    background_lost: float
    n_samples: int
    seconds: float

    @property
    def faults(self) -> tuple[str, ...]:
        """Reasons not to use the extended model."""
        faults = []
        if self.accuracy < LEAST_ACCURACY:
            before, share = next(iter(self.labelled_before_as.items()))
            text = (
                f"only {self.accuracy:.0%} of the atoms of fresh samples are recognised (needed: {LEAST_ACCURACY:.0%})"
            )
            faults.append(f"{text}; before, the model took {share:.0%} of them for {before}")
        if self.old_before - self.old_after > MOST_LOST:
            faults.append(
                f"the accuracy of the old phases falls from {self.old_before:.1%} to {self.old_after:.1%}, by more "
                f"than {100 * MOST_LOST:.1f} points"
            )
        faults += [
            f"{key} loses {share:.0%} of its atoms to the new phase"
            for key, share in self.lost.items()
            if share > MOST_LOST_BY_ONE
        ]
        return tuple(faults)


def measure_added(
    rehearsal: Rehearsal,
    phase: Phase,
    model: PhaseModel,
    row: AddedRow,
    settings: AddSettings,
    progress: Progress,
) -> AddReport:
    """Draw fresh samples and label them without and with the new phase."""
    rng = np.random.default_rng([settings.seed, 1])
    keys = [*(old.key for old in model.phases), phase.key]
    # deliberately all but the hottest of what training draws: a phase must be told apart with defects and phonons, too
    usual = dataclasses.replace(SampleSettings(), hot_share=0.0)
    by_noise, judged_before, judged, n_bins = {}, [], [], len(NOISE_BINS) - 1
    for number, (low, high) in enumerate(pairwise(NOISE_BINS)):
        sampling = dataclasses.replace(usual, sigma=(low, high))
        stage = f"fresh samples of {phase.key}, {number + 1} of {n_bins}"
        rows = rehearsal.some([rehearsal.n_phases], settings.test_new, sampling, rng, partial(progress, stage))
        column = class_columns(row.logits(rows), class_calibration(model))
        by_noise[f"{low:.2f}-{high:.2f}"] = round(float((column == rehearsal.n_phases).mean()), 4)
        if high <= _JUDGED:
            judged.append(column)
            judged_before.append(class_columns(rows.logits.numpy(), class_calibration(model)))
    old = rehearsal.old(
        settings.test_per_phase,
        settings.background,
        usual,
        rng,
        partial(progress, "fresh samples of the old phases"),
    )
    extra = partial(rehearsal.some, count=settings.test_per_confusable, settings=usual, rng=rng)
    old = old.joined(extra(row.confusable, progress=partial(progress, "fresh samples of confusable phases")))
    before, after, losses = _compare(old, row, class_calibration(model))
    again = [c for c, loss in losses.items() if loss > _LOOK_AGAIN and c not in row.confusable]
    if again:
        more = extra(again, progress=partial(progress, "more of those that lose"))
        old = old.joined(more)
        before, after, losses = _compare(old, row, class_calibration(model))
    right_before, right_after = (_rights(columns, old.label) for columns in (before, after))
    crystals = [c for c in right_before if c != OTHER_COLUMN]
    lost = {keys[c]: round(loss, 4) for c, loss in losses.items() if loss > 0}
    packed = old.label == OTHER_COLUMN
    final = np.concatenate(judged)
    return AddReport(
        labelled_before_as=_named(np.concatenate(judged_before), keys),
        accuracy=round(float((final == rehearsal.n_phases).mean()), 4),
        by_noise=by_noise,
        confused=_named(final[final != rehearsal.n_phases], keys, len(final)),
        old_before=round(float(np.mean([right_before[c] for c in crystals])), 5),
        old_after=round(float(np.mean([right_after[c] for c in crystals])), 5),
        lost=dict(sorted(lost.items(), key=lambda item: -item[1])),
        background_lost=round(float((after[packed] == rehearsal.n_phases).mean()), 4) if packed.any() else 0.0,
        n_samples=row.n_samples + len(old.label) // settings.keep + settings.test_new * n_bins,
        seconds=0.0,
    )


def _compare(
    old: Rows, row: AddedRow, calibration: Calibration
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], dict[int, float]]:
    """Return columns of old atoms without and with the new row, and the share that each old phase loses."""
    before, after = class_columns(old.logits.numpy(), calibration), class_columns(row.logits(old), calibration)
    first, last = _rights(before, old.label), _rights(after, old.label)
    return before, after, {c: first[c] - last[c] for c in first if c != OTHER_COLUMN}


def _rights(column: npt.NDArray[np.int64], truth: npt.NDArray[np.int64]) -> dict[int, float]:
    """Share of the atoms of each class that are labelled right."""
    return {int(c): float((column[truth == c] == c).mean()) for c in np.unique(truth)}


def _named(column: npt.NDArray[np.int64], keys: Sequence[str], total: int | None = None) -> dict[str, float]:
    """Shares of the classes by key, most first."""
    numbers, counts = np.unique(column, return_counts=True)
    order = np.argsort(-counts)
    return {keys[numbers[k]]: round(float(counts[k]) / (total or len(column)), 4) for k in order}
