"""What is kept of the logits: compact scores answer as full ones do, and say when they cannot."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.classification.classify import EvaluationSettings, ReadoutSettings, evaluate_scores, read_out
from ovito_mace_phase.classification.readout.chosen_logits import best_of
from ovito_mace_phase.classification.readout.labels import label
from ovito_mace_phase.classification.readout.local_prior import N_RIVALS
from ovito_mace_phase.classification.readout.logits import N_BEST, SAMPLE, ScoreKeeper, stride_of
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.model.network.operations.kernels import log_sums
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.plugin.logit_cache import ScoreCache, content_key
from ovito_mace_phase.runtime.errors import InputError

PHASES = tuple(phase_table())[:60]
CALIBRATION = Calibration(temperature=1.7)


def kept(logits, *, full, keys=(), considered=None, blocks=3, rng=None):
    keeper = ScoreKeeper(len(logits), PHASES, 1.7, full=full, keys=keys, considered=considered)
    order = np.arange(len(logits)) if rng is None else rng.permutation(len(logits))
    for rows in np.array_split(order, blocks):
        keeper.add(rows, logits[rows].copy())
    return keeper.result()


@pytest.fixture
def logits(rng):
    return rng.normal(0, 4, (500, len(PHASES))).astype(np.float32)


@pytest.mark.parametrize("threshold", [0.0, 0.6])
def test_uniform_prior_is_exact(logits, rng, threshold):
    full, compact = kept(logits, full=True), kept(logits, full=False, rng=rng)
    a = label(logits, CALIBRATION, None, threshold, 0)  # without any short cut
    for b in (full.labels(CALIBRATION, None, threshold, 0), compact.labels(CALIBRATION, None, threshold, 0)):
        same_labels(a, b)
    assert compact.nbytes - compact.sampled.nbytes < full.logits.nbytes / 2


def same_labels(a, b):
    np.testing.assert_array_equal(a[0], b[0])
    np.testing.assert_allclose(a[1], b[1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(a[2], b[2], atol=1e-5)


def test_log_sums(rng):
    logits = (rng.normal(0, 1, (300, 77)) * rng.uniform(0, 60, (300, 1))).astype(np.float32)
    density, norm = np.empty((2, 300), dtype=np.float32)
    log_sums(logits, 0.4, density, norm)
    np.testing.assert_allclose(density, logsumexp(logits.astype(float), axis=1), rtol=1e-6, atol=2e-6)
    np.testing.assert_allclose(norm, logsumexp(0.4 * logits.astype(float), axis=1), rtol=1e-6, atol=2e-6)


def test_other_priors_are_never_too_sure(logits, rng):
    weights = rng.dirichlet(np.full(len(PHASES), 0.2))
    full, compact = kept(logits, full=True), kept(logits, full=False)
    a, b = (scores.labels(CALIBRATION, weights, 0.0, 0) for scores in (full, compact))
    assert (b[1] <= a[1] + 1e-5).all()
    sure = b[1] > 0.5  # more than all others together, so it must be the best
    assert sure.any()
    np.testing.assert_array_equal(a[0][sure], b[0][sure])


def test_columns(logits):
    compact = kept(logits, full=False, keys=("FCC",))
    fcc, hcp = (next(k for k, phase in enumerate(PHASES) if phase.key == key) for key in ("FCC", "HCP"))
    np.testing.assert_array_equal(compact.column("FCC"), logits[:, fcc])
    eighth = np.sort(logits, axis=1)[:, -N_BEST]
    np.testing.assert_array_equal(compact.column("HCP"), np.maximum(logits[:, hcp], eighth))
    with pytest.raises(InputError, match="NONSENSE"):
        compact.column("NONSENSE")


def test_only_some_phases(logits):
    considered = [0, 3, 5, 7]
    compact = kept(logits, full=False, considered=considered)
    full = kept(logits, full=True).restricted(considered)
    assert compact.phases == full.phases
    np.testing.assert_array_equal(
        compact.labels(CALIBRATION, None, 0.0, 0)[0], full.labels(CALIBRATION, None, 0.0, 0)[0]
    )
    with pytest.raises(InputError, match="kept for other phases"):
        compact.restricted([0, 1])


def test_some_columns_answer_like_a_copy_of_them(logits, rng):
    full = kept(logits, full=True)
    considered = np.sort(rng.choice(len(PHASES), len(PHASES) - 3, replace=False))
    some = full.restricted(considered)
    copied = np.ascontiguousarray(logits[:, considered])
    floors = Calibration(temperature=1.3, log_density=float(np.median(np.logaddexp.reduce(copied, axis=1))))
    for weights in (None, rng.uniform(0.1, 1.0, len(considered))):
        for one, other in zip(
            some.labels(floors, weights, 0.3, 0), label(copied, floors, weights, 0.3, 0), strict=True
        ):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(some.logits, copied)
    np.testing.assert_array_equal(some.sample(), copied[:: stride_of(len(copied))])
    key = PHASES[considered[1]].key
    np.testing.assert_array_equal(some.column(key), copied[:, 1])
    assert [phase.key for phase in some.restricted([1, 0]).phases] == [key, PHASES[considered[0]].key]
    left = PHASES[next(k for k in range(len(PHASES)) if k not in considered)].key
    with pytest.raises(InputError, match=left):
        some.column(left)


@pytest.mark.parametrize("n_left_out", [0, 2, 20, len(PHASES) - 10])
def test_best_among_some_columns(logits, rng, n_left_out):
    """Few or many left out, the commonest of them or not: as if the others had never been there."""
    wins = logits.argmax(axis=1)
    left_out = rng.choice(len(PHASES), n_left_out, replace=False)
    if n_left_out:
        left_out[0] = wins[0]
    chosen = np.setdiff1d(np.arange(len(PHASES)), left_out)
    found = best_of(kept(logits, full=True), chosen, 1.7)
    copied = np.ascontiguousarray(logits[:, chosen])
    order = np.argsort(-copied, axis=1)[:, :N_RIVALS]
    np.testing.assert_array_equal(found.best, np.take_along_axis(copied, order, axis=1))
    np.testing.assert_array_equal(np.take_along_axis(copied, found.best_columns.astype(int), axis=1), found.best)
    np.testing.assert_allclose(found.log_density, logsumexp(copied, axis=1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.log_norm, logsumexp(copied / 1.7, axis=1), rtol=1e-4, atol=1e-4)


def test_memory_of_a_choice_counts(logits):
    full = kept(logits, full=True)
    before, some = full.nbytes, full.restricted([0, 1, 2, 3, 4])
    some.best.append(best_of(full, some.chosen, 1.7))
    assert full.nbytes == before + some.extra_bytes > before


def test_sample_for_the_prior(rng):
    n_atoms = 2 * SAMPLE + 5
    logits = rng.normal(size=(n_atoms, len(PHASES))).astype(np.float32)
    full, compact = kept(logits, full=True), kept(logits, full=False, rng=rng)
    np.testing.assert_array_equal(full.sample(), compact.sample())
    assert SAMPLE / 2 < len(full.sample()) <= SAMPLE
    np.testing.assert_array_equal(full.sample(), logits[:: stride_of(n_atoms)])
    assert stride_of(1) == 1


def test_cache_asks_again_when_compact_scores_do_not_answer(logits):
    frame = make_frame(np.zeros((1, 3)), None, None, None)
    key, cache = content_key(frame), ScoreCache()
    compact = kept(logits, full=False, keys=("FCC",))
    plain = EvaluationSettings(order_parameters=("FCC",))
    cache.put(key, plain, compact)
    assert cache.get(key, plain) == (compact, None)
    assert cache.get(key, EvaluationSettings()) == (compact, None)
    assert cache.get(key, EvaluationSettings(order_parameters=("HCP",))) is None
    assert cache.get(key, EvaluationSettings(phases=("FCC",))) is None
    full = kept(logits, full=True)
    cache.put(key, plain, full)
    assert cache.get(key, EvaluationSettings(phases=("FCC",), order_parameters=("HCP",))) == (full, None)


def test_compact_scores_of_the_shipped_model(rng):
    from ase.build import bulk

    from ovito_mace_phase import PhaseModel

    crystal = bulk("Cu", cubic=True) * (4, 4, 4)
    crystal.positions += rng.normal(0, 0.15, crystal.positions.shape)
    frame, model = make_frame(crystal.positions, None, crystal.cell[:], True), PhaseModel.load()
    results = {}
    for full in (True, False):
        wanted = EvaluationSettings(keep_logits=full, order_parameters=("HCP",))
        scores = evaluate_scores(frame, model, wanted)
        for prior in ("uniform", "frame"):
            results[full, prior] = read_out(scores, model, ReadoutSettings(prior=prior))
    for prior in ("uniform", "frame"):
        a, b = results[True, prior], results[False, prior]
        np.testing.assert_array_equal(a.phase, b.phase)
        np.testing.assert_array_equal(a.order_parameter("HCP"), b.order_parameter("HCP"))
    with pytest.raises(InputError, match="were not kept"):
        _ = results[False, "uniform"].logits
