"""The row of the head that a new phase adds (`logistic_row`), and the old phases that it is confusable with.

These, which the model took the new phase for, are drawn more often; one that got the share p of the new atoms weighs p
times as much as the new phase, so that a copy of an old phase cannot win by taking it over.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from ovito_mace_phase.classification.readout.labels import label
from ovito_mace_phase.lab.samples.sampler import SampleSettings
from ovito_mace_phase.lab.samples.source import OTHER_COLUMN
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.phases import Phase

from .logistic_row import Embedded, fit_row
from .rehearsal import Rehearsal, Rows

_CONFUSABLE, _MOST = 0.02, 8  # share of the new atoms; phases
_BACKGROUND_WEIGHT = 20.0  # of a phase
Progress = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class AddSettings:
    """How a phase is added; the numbers are samples of 32 to 160 atoms.

    Attributes
    ----------
    per_phase, background, new, per_confusable : int
        Samples to fit on: of every old phase and of background (twice), of the new phase, further ones of each
        confusable phase.
    test_per_phase, test_new, test_per_confusable : int
        Fresh samples to measure on: of every old phase, of the new one in each range of noise, of each confusable one.
    keep : int
        Atoms kept of each sample.
    old_share : float
        Weight of all old phases together, against 1 of the new one: more keeps more of the old phases.
    decay : float
        See `logistic_row.fit_row`.
    """

    per_phase: int = 2
    background: int = 100
    new: int = 400
    per_confusable: int = 40
    test_per_phase: int = 2
    test_new: int = 40
    test_per_confusable: int = 20
    keep: int = 16
    old_share: float = 3.0
    decay: float = 1e-3
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class AddedRow:
    """The new row of the last layer, and the old phases (columns) that it was fitted to keep apart from."""

    weight: npt.NDArray[np.float32]
    bias: float
    confusable: tuple[int, ...]
    n_samples: int

    def logits(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Return old and new logits, (n_atoms, n_phases + 1) float32."""
        return _with_row(rows, self.weight, self.bias)


def _with_row(rows: Rows, weight: npt.NDArray[np.float32], bias: float) -> npt.NDArray[np.float32]:
    new = rows.embedding.numpy() @ weight + np.float32(bias)
    return np.concatenate([rows.logits.numpy(), new[:, None]], axis=1)


def fit_added(
    rehearsal: Rehearsal, phase: Phase, model: PhaseModel, settings: AddSettings, progress: Progress
) -> AddedRow:
    """Fit twice: old phases that lose atoms of fresh samples to the first row are drawn more often for the second."""
    sampling, n_phases = SampleSettings(), len(model.phases)
    rng = np.random.default_rng([settings.seed, 0])
    new = rehearsal.some([n_phases], settings.new, sampling, rng, partial(progress, f"samples of {phase.key}"))
    share = np.bincount(new.logits.argmax(1).numpy(), minlength=n_phases) / len(new.label)
    confusable = [int(c) for c in np.argsort(-share)[:_MOST] if share[c] >= _CONFUSABLE and c != OTHER_COLUMN]

    def fit(old: Rows) -> tuple[npt.NDArray[np.float32], float]:
        wanted = np.full(n_phases, settings.old_share / n_phases)
        wanted[OTHER_COLUMN] *= _BACKGROUND_WEIGHT
        wanted[confusable] += share[confusable]
        weight = (wanted / np.maximum(np.bincount(old.label, minlength=n_phases), 1))[old.label]
        row, bias = fit_row(
            _embedded(old, torch.from_numpy(weight).float(), class_calibration(model)),
            _embedded(new, torch.full((len(new.label),), 1.0 / len(new.label)), class_calibration(model)),
            decay=settings.decay,
        )
        return row.numpy(), bias

    def draw_old(number: int) -> Rows:
        stage = f"samples of the old phases, {number} of 2"
        return rehearsal.old(settings.per_phase, settings.background, sampling, rng, partial(progress, stage))

    report = partial(progress, "more of confusable phases")
    old = draw_old(1).joined(rehearsal.some(confusable, settings.per_confusable, sampling, rng, report))
    progress("first fit", 0.0)
    weight, bias = fit(old)
    fresh = draw_old(2)
    column = class_columns(_with_row(fresh, weight, bias), class_calibration(model))
    n_lost = np.bincount(fresh.label[column == n_phases], minlength=n_phases) * np.arange(n_phases).astype(bool)
    losing = [int(c) for c in np.argsort(-n_lost)[: 2 * _MOST] if n_lost[c] and c not in confusable]
    more = rehearsal.some(losing, settings.per_confusable, sampling, rng, partial(progress, "more of losing phases"))
    old = old.joined(fresh).joined(more)
    progress("second fit", 0.0)
    weight, bias = fit(old)
    progress("second fit", 1.0)
    n_atoms = len(old.label) + len(new.label)
    return AddedRow(weight=weight, bias=bias, confusable=(*confusable, *losing), n_samples=n_atoms // settings.keep)


def class_calibration(model: PhaseModel) -> Calibration:
    """Return the calibration of class logits: in a head with a density branch they are no density, so no threshold."""
    if not model.card["head"].get("n_density"):
        return model.calibration
    return dataclasses.replace(model.calibration, log_density=-np.inf)


def _embedded(rows: Rows, weight: torch.Tensor, calibration: Calibration) -> Embedded:
    to_beat = torch.logaddexp(rows.logits.logsumexp(1), torch.tensor(calibration.log_density, dtype=torch.float32))
    return Embedded(embedding=rows.embedding, to_beat=to_beat, weight=weight)


def class_columns(logits: npt.NDArray[np.float32], calibration: Calibration) -> npt.NDArray[np.int64]:
    """Return the column of the label of every atom, (n_atoms,), under a uniform prior."""
    return label(logits, calibration, None, 0.0, OTHER_COLUMN)[0]
