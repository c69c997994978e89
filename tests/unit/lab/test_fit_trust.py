"""The trust in fitted templates: what is put in comes out, held-out frames are asked, a card is read or refused."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from ovito_mace_phase.classification.geometry.confidence import FitTrust, logit
from ovito_mace_phase.lab.calibration.fit_trust import _regression, fit_trust
from ovito_mace_phase.lab.data.structures import reference_structures
from ovito_mace_phase.lab.samples.source import SampleMix, SampleSource
from ovito_mace_phase.model.calibration import FITTED, Calibration
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.runtime.errors import ModelFileError


def test_the_regression_finds_what_labels_were_drawn_from(rng):
    z = logit(rng.uniform(0.01, 0.999, 200_000))
    right = (rng.uniform(size=len(z)) < 1.0 / (1.0 + np.exp(-(1.2 + 0.6 * z)))).astype(float)
    assert _regression(z, right, np.ones(len(z)), (0.0, 1.0)) == pytest.approx((1.2, 0.6), abs=0.05)
    assert _regression(z[:0], right[:0], z[:0], (0.3, 0.7)) == (0.3, 0.7)


def test_on_frames_a_good_model_is_trusted(rng):
    model = PhaseModel.load(device="cpu")
    few = [one for one in reference_structures(model.phases, []) if model.phases[one.phase].common]
    source = SampleSource(model.phases, few, [], model.evaluator.n_slots)
    found = fit_trust(model, source, 25, rng, SampleMix(background=0.0, dynamics=0.0, stackings=0.0))
    a, b = found.same_familiar
    assert a + b * logit(0.9) > logit(0.9)  # crystals with noise, the template agrees
    assert all(np.isfinite(getattr(found, one.name)).all() for one in fields(FitTrust))


def test_a_card_has_its_numbers_or_those_of_before():
    assert FitTrust(**Calibration.from_card({}).fitted) == FitTrust()
    assert tuple(one.name for one in fields(FitTrust)) == FITTED
    card = {"calibration": {"fitted": {"same": [1, 2], "other_familiar": [-1.5, 0]}}}
    assert FitTrust(**Calibration.from_card(card).fitted) == FitTrust(same=(1.0, 2.0), other_familiar=(-1.5, 0.0))


@pytest.mark.parametrize("entry", [{"same": [1]}, {"same": "ab"}, {"sme": [1, 2]}, {"same": [1, float("nan")]}, [1]])
def test_numbers_that_cannot_be_used_are_refused(entry):
    with pytest.raises(ModelFileError, match="pairs for fits"):
        Calibration.from_card({"calibration": {"fitted": entry}})
