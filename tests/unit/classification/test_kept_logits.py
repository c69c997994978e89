"""What is kept of the logits: the best of each atom answer as all do, and say when they cannot."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.atoms.network_frame import NetworkFrame
from ovito_mace_phase.classification.classify import classify_frame
from ovito_mace_phase.classification.readout.kept_logits import N_BEST, SAMPLE, LogitKeeper, stride_of
from ovito_mace_phase.classification.readout.kernels_keep import log_sums
from ovito_mace_phase.classification.readout.labels import label, label_atoms, label_weighted
from ovito_mace_phase.classification.settings import Settings
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.plugin.logit_cache import Entry, LogitCache, content_key
from ovito_mace_phase.runtime.errors import InputError

PHASES = tuple(phase_table())[:60]
CALIBRATION = Calibration(temperature=1.7)


def some_frame(n_atoms):
    """Atoms far from each other: the local prior changes nothing."""
    frame = make_frame(50.0 * np.arange(3 * n_atoms).reshape(n_atoms, 3), None, None, None)
    return NetworkFrame(frame=frame, factor=1.0, slots=np.zeros(n_atoms, dtype=np.int64), r_max=6.0)


def kept(logits, *, full, keys=(), considered=None, blocks=3, rng=None):
    keeper = LogitKeeper(some_frame(len(logits)), PHASES, 1.7, full=full, keys=keys, considered=considered)
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
    for one in (full, compact):
        for prior in ("uniform", "local"):
            same_labels(a, label_atoms(one, CALIBRATION, prior=prior, threshold=threshold))
    assert compact.nbytes - compact.sampled.nbytes < full.logits.nbytes / 2


def same_labels(a, b):
    np.testing.assert_array_equal(a[0], b[0])
    np.testing.assert_allclose(a[1], b[1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(a[2], b[2], atol=1e-5)


def test_log_sums(rng):
    logits = (rng.normal(0, 1, (300, 77)) * rng.uniform(0, 60, (300, 1))).astype(np.float32)
    density, norm = np.empty((2, 300), dtype=np.float32)
    log_sums(logits, np.float32(0.4), density, norm)
    np.testing.assert_allclose(density, logsumexp(logits.astype(float), axis=1), rtol=1e-6, atol=2e-6)
    np.testing.assert_allclose(norm, logsumexp(0.4 * logits.astype(float), axis=1), rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("n_phases", [1, 2, 8, 16, 17, 60])
def test_best_and_sums_of_any_number_of_phases(rng, n_phases):
    """Rows with many equal logits among them, of which the lower columns come first; blocks in any order."""
    logits = np.concatenate(
        [
            rng.normal(0, rng.uniform(0.1, 40), (200, n_phases)),
            rng.integers(-2, 3, (100, n_phases)),
            np.full((3, n_phases), -8.0),
        ]
    ).astype(np.float32)
    n_best = min(N_BEST, n_phases)
    order = np.argsort(-logits, axis=1, kind="stable")[:, :n_best]
    keeper = LogitKeeper(some_frame(len(logits)), PHASES[:n_phases], 1.7, full=True)
    for rows in np.array_split(rng.permutation(len(logits)), 4):
        keeper.add(rows, logits[rows])
    found = keeper.result()
    np.testing.assert_array_equal(found.best_columns, order)
    np.testing.assert_array_equal(found.best, np.take_along_axis(logits, order, axis=1))
    np.testing.assert_array_equal(found.all_logits, logits)
    np.testing.assert_allclose(found.log_density, logsumexp(logits.astype(float), axis=1), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.log_norm, logsumexp(logits / 1.7, axis=1), rtol=1e-6, atol=1e-6)


def test_other_priors_are_never_too_sure(logits, rng):
    weights = rng.dirichlet(np.full(len(PHASES), 0.2))
    full, compact = kept(logits, full=True), kept(logits, full=False)
    a, b = (label_weighted(one, CALIBRATION, weights) for one in (full, compact))
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
    full = kept(logits, full=True).restricted(considered, 1.7)
    assert compact.phases == full.phases
    for prior in ("uniform", "local", "frame"):
        one, other = (label_atoms(scores, CALIBRATION, prior=prior) for scores in (compact, full))
        np.testing.assert_array_equal(one.column, other.column)
    with pytest.raises(InputError, match="kept for other phases"):
        compact.restricted([0, 1], 1.7)


def test_some_columns_answer_like_a_copy_of_them(logits, rng):
    full = kept(logits, full=True)
    dropped = rng.choice(np.arange(1, len(PHASES)), 3, replace=False)  # Other, the first, is always considered
    considered = np.setdiff1d(np.arange(len(PHASES)), dropped)
    some = full.restricted(considered, 1.7)
    copied = np.ascontiguousarray(logits[:, considered])
    floors = Calibration(temperature=1.7, log_density=float(np.median(np.logaddexp.reduce(copied, axis=1))))
    weights = rng.uniform(0.1, 1.0, len(considered))
    same_labels(label_weighted(some, floors, weights, 0.3), label(copied, floors, weights, 0.3, 0, some.log_density))
    same_labels(label_atoms(some, floors, prior="uniform", threshold=0.3), label(copied, floors, None, 0.3, 0))
    assert full.restricted(considered, 1.7) is some
    np.testing.assert_array_equal(some.logits, copied)
    np.testing.assert_array_equal(some.sample(), copied[:: stride_of(len(copied))])
    key = PHASES[considered[1]].key
    np.testing.assert_array_equal(some.column(key), copied[:, 1])
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
    found = kept(logits, full=True).restricted(chosen, 1.7)
    copied = np.ascontiguousarray(logits[:, chosen])
    order = np.argsort(-copied, axis=1)[:, :N_BEST]
    np.testing.assert_array_equal(found.best, np.take_along_axis(copied, order, axis=1))
    np.testing.assert_array_equal(np.take_along_axis(copied, found.best_columns.astype(int), axis=1), found.best)
    np.testing.assert_allclose(found.log_density, logsumexp(copied, axis=1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.log_norm, logsumexp(copied / 1.7, axis=1), rtol=1e-4, atol=1e-4)


def test_sample_for_the_prior(rng):
    n_atoms = 2 * SAMPLE + 5
    logits = rng.normal(size=(n_atoms, len(PHASES))).astype(np.float32)
    full, compact = kept(logits, full=True), kept(logits, full=False, rng=rng)
    np.testing.assert_array_equal(full.sample(), compact.sample())
    assert SAMPLE / 2 < len(full.sample()) <= SAMPLE
    np.testing.assert_array_equal(full.sample(), logits[:: stride_of(n_atoms)])
    assert stride_of(1) == 1


def test_cache_asks_again_when_what_was_kept_does_not_answer(logits):
    frame = make_frame(np.zeros((1, 3)), None, None, None)
    key, cache = content_key(frame), LogitCache()
    compact = kept(logits, full=False, keys=("FCC",))
    plain = Settings(order_parameters=("FCC",))
    cache.put(key, plain, Entry(kept=compact))
    assert cache.get(key, plain).kept is compact
    assert cache.get(key, Settings()).kept is compact
    assert cache.get(key, Settings(order_parameters=("HCP",))) is None
    assert cache.get(key, Settings(phases=("FCC",))) is None
    full = kept(logits, full=True)
    cache.put(key, plain, Entry(kept=full))
    assert cache.get(key, Settings(phases=("FCC",), order_parameters=("HCP",))).kept is full


def test_cache_drops_the_oldest_and_keeps_the_denoised(logits):
    frames = [make_frame(np.full((1, 3), float(k)), None, None, None) for k in range(3)]
    keys, entries = [content_key(frame) for frame in frames], [Entry(kept=kept(logits, full=True)) for _ in frames]
    cache = LogitCache(max_bytes=int(2.5 * entries[0].nbytes))
    for key, entry in zip(keys, entries, strict=True):
        cache.put(key, Settings(), entry)
    assert cache.get(keys[0], Settings()) is None
    assert cache.get(keys[2], Settings()).kept is entries[2].kept
    cache.put("too large", Settings(), Entry(kept=kept(np.tile(logits, (3, 1)), full=True)))
    assert cache.get("too large", Settings()) is None
    moved = type("Moved", (), {"displacement": np.zeros((len(logits), 3))})()
    cache.put(
        keys[2], Settings(denoise_steps=4), Entry(kept=entries[2].kept, after={4: (moved, kept(logits, full=False))})
    )
    cache.put(keys[2], Settings(), Entry(kept=entries[2].kept))
    assert cache.get(keys[2], Settings()).after[4][0] is moved


def test_compact_scores_of_the_shipped_model(rng):
    from ase.build import bulk

    from ovito_mace_phase import PhaseModel

    crystal = bulk("Cu", cubic=True) * (4, 4, 4)
    crystal.positions += rng.normal(0, 0.15, crystal.positions.shape)
    frame, model = make_frame(crystal.positions, None, crystal.cell[:], True), PhaseModel.load()
    results = {}
    for full in (True, False):
        for prior in ("uniform", "frame"):
            settings = Settings(keep_logits=full, order_parameters=("HCP",), prior=prior)
            results[full, prior] = classify_frame(frame, model, settings)
    for prior in ("uniform", "frame"):
        a, b = results[True, prior], results[False, prior]
        np.testing.assert_array_equal(a.phase, b.phase)
        np.testing.assert_array_equal(a.order_parameter("HCP"), b.order_parameter("HCP"))
    with pytest.raises(InputError, match="were not kept"):
        _ = results[False, "uniform"].logits
