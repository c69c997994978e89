"""Logits and score of the default model against plain torch in float64; its logits are larger than those of others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from engine_tools import SCORE, logits_of, random_frame

from ovito_mace_phase.model.engine.evaluator import make_evaluator
from ovito_mace_phase.model.engine.gradient import log_density_gradient
from ovito_mace_phase.model.network.head import PhaseHead
from ovito_mace_phase.model.network.model_file import NetworkConfig, load_model
from ovito_mace_phase.model.reference.logits import reference_scores
from ovito_mace_phase.model.registry import SHIPPED

ERRORS = {torch.float32: 1.5e-4, torch.float64: 5e-6}
"""Of logits, over the largest: what rounding leaves, and what splines leave."""


@pytest.fixture(scope="module")
def parts():
    tensors, card = load_model(SHIPPED)
    return tensors, NetworkConfig.from_card(card), PhaseHead.from_tensors(tensors, card)


@pytest.mark.parametrize("n_species", [1, 2, 4])
@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, False, False)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_and_score_equal_the_reference(rng, parts, n_species, pbc, dtype):
    frame = random_frame(rng, n_species, pbc)
    wanted = reference_scores(*parts, frame.positions, frame.cell, frame.pbc, frame.slots)
    used = make_evaluator(*parts, dtype=dtype)
    most = np.abs(wanted.logits).max()
    found = log_density_gradient(*frame.sorted(), used)
    assert np.abs(found.log_density - wanted.log_density).max() < ERRORS[dtype] * most
    assert np.abs(found.gradient - wanted.gradient).max() < 3 * SCORE * np.abs(wanted.gradient).max()
    logits = logits_of(frame, used, parts[2].config.n_phases)
    assert np.abs(logits - wanted.logits).max() < ERRORS[dtype] * most
