"""Confidence of fitted phases."""

from __future__ import annotations

import numpy as np

from ovito_mace_phase.classification.geometry.confidence import FitTrust, of_fitted

P = np.linspace(0.0, 1.0, 101, dtype=np.float32)


def asked(same: bool, simple: bool, trust: FitTrust = FitTrust(), accord: float = 1.0) -> np.ndarray:  # noqa: B008 - frozen
    return of_fitted(P, np.full(len(P), same), np.full(len(P), simple), np.full(len(P), accord), trust)


def test_lattices_of_ptm_keep_the_confidence_of_the_network():
    np.testing.assert_allclose(asked(True, True), P, atol=2e-5)


def test_the_surer_the_network_the_surer_its_own_phase_and_the_less_another():
    assert (np.diff(asked(True, False)) > 0).all()
    for simple in (True, False):
        assert (np.diff(asked(False, simple)) < 0).all()


def test_it_is_a_probability_at_the_ends():
    for same in (True, False):
        ends = asked(same, False)[[0, -1]]
        assert ((ends >= 0.0) & (ends <= 1.0)).all()
    assert asked(True, False)[-1] > 0.99
    assert asked(False, False)[-1] < 0.01


def test_each_case_has_its_own_pair():
    trust = FitTrust(same=(1, 0), same_familiar=(2, 0), other=(-1, 0), other_familiar=(-2, 0))
    for same, familiar, a in ((True, False, 1), (True, True, 2), (False, False, -1), (False, True, -2)):
        np.testing.assert_allclose(asked(same, familiar, trust), 1 / (1 + np.exp(-a)), rtol=1e-6)


def test_neighbours_that_do_not_agree_have_pairs_of_their_own():
    trust = FitTrust(same=(1, 0), other=(-1, 0), same_divided=(0.5, 0), other_divided=(-3, 0))
    for same, a in ((True, 0.5), (False, -3)):
        np.testing.assert_allclose(asked(same, False, trust, accord=0.9), 1 / (1 + np.exp(-a)), rtol=1e-6)
        np.testing.assert_array_equal(asked(same, True, trust, accord=0.9), asked(same, True, trust))
    old = FitTrust(same=(1, 0), other=(-1, 0))
    np.testing.assert_array_equal(asked(True, False, old, accord=0.9), asked(True, False, old))
