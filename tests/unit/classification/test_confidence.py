"""Confidence of fitted phases."""

from __future__ import annotations

import numpy as np

from ovito_mace_phase.classification.geometry.confidence import of_fitted

P = np.linspace(0.0, 1.0, 101, dtype=np.float32)


def asked(same: bool, simple: bool) -> np.ndarray:
    return of_fitted(P, np.full(len(P), same), np.full(len(P), simple))


def test_lattices_of_ptm_keep_the_confidence_of_the_network():
    np.testing.assert_array_equal(asked(True, True), P)


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
