"""Kernels of the readout against the formulas written out."""

from __future__ import annotations

import numpy as np
import pytest

from ovito_mace_phase.classification.readout.frame_prior import N_STEPS, frame_prior
from ovito_mace_phase.classification.readout.labels import label
from ovito_mace_phase.classification.readout.posterior import posterior
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.runtime.threads import over_rows, set_threads


@pytest.mark.parametrize("n_phases", [1, 2, 7, 532])
@pytest.mark.parametrize("weighted", [False, True])
def test_label(rng, n_phases, weighted):
    logits = rng.normal(0, 15, (700, n_phases)).astype(np.float32)
    weights = rng.uniform(0, 1, n_phases) if weighted else None
    if weighted and n_phases > 2:
        weights[1] = 0.0
    column, confidence, margin = label(logits, Calibration(temperature=1.5), weights, 0.0, None)
    p = posterior(logits, 1.5, weights)
    np.testing.assert_array_equal(column, p.argmax(axis=1))
    np.testing.assert_allclose(confidence, p.max(axis=1), rtol=1e-5)
    ordered = np.sort(logits, axis=1)
    expected = ordered[:, -1] - ordered[:, -2] if n_phases > 1 else np.full(700, np.inf)
    np.testing.assert_allclose(margin, expected, rtol=1e-6)


def test_ties():
    logits = np.float32([[1, 1, 0], [0, 2, 2], [3, 3, 3]])
    column, confidence, margin = label(logits, Calibration(), None, 0.0, None)
    np.testing.assert_array_equal(column, [0, 1, 0])
    np.testing.assert_array_equal(margin, 0)
    np.testing.assert_allclose(confidence, posterior(logits, 1.0).max(axis=1), rtol=1e-6)


def test_threshold_and_density(rng):
    logits = rng.normal(0, 3, (300, 5)).astype(np.float32)
    plain = label(logits, Calibration(), None, 0.0, 4)
    column, confidence, _ = label(logits, Calibration(log_density=3.0), None, 0.8, 4)
    sure = plain[1]
    density = np.log(np.exp(logits.astype(float)).sum(axis=1))
    rejected = ((sure < 0.8) | (density < 3.0)) & (plain[0] != 4)
    np.testing.assert_array_equal(column, np.where(rejected, 4, plain[0]))
    np.testing.assert_allclose(confidence, np.where(rejected, 1 - sure, sure), atol=1e-6)


def test_frame_prior(rng):
    logits = rng.normal(0, 6, (5000, 40)).astype(np.float32)
    logits[:3000, 3] += 20
    weights = np.full(40, 1 / 40)
    likelihood = posterior(logits, 1.3).astype(np.float64)
    for _ in range(N_STEPS):
        joint = likelihood * weights
        joint /= joint.sum(axis=1, keepdims=True)
        weights = (joint.sum(axis=0) + 1e-6) / (5000 + 1e-6 * 40)
    # it stops once the weights change by less than 1e-6 in all
    np.testing.assert_allclose(frame_prior(logits, 1.3), weights, rtol=1e-4, atol=3e-6)
    assert frame_prior(logits, 1.3).sum() == pytest.approx(1.0)


def test_frame_prior_does_not_depend_on_the_threads(rng):
    logits = rng.normal(0, 6, (9000, 12)).astype(np.float32)
    found = []
    for count in (1, 3):
        set_threads(count)
        try:
            found.append(frame_prior(logits, 1.0))
        finally:
            set_threads(0)
    np.testing.assert_array_equal(*found)


def test_over_rows():
    assert over_rows(lambda a, b: (a, b), 10, 4) == [(0, 4), (4, 8), (8, 10)]
    assert over_rows(lambda a, b: (a, b), 0, 4) == []
    with pytest.raises(ZeroDivisionError):
        over_rows(lambda a, b: 1 // a, 10, 4)
