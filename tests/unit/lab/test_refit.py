"""The class branch trained on features of a finished network: a tiny network, two phases."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from test_end_to_end import CONFIG, PHASES, head, source, tensors  # noqa: F401 - fixtures

from ovito_mace_phase.lab.features.rows import chosen_rows, rows_of
from ovito_mace_phase.lab.features.whitening import whiten
from ovito_mace_phase.lab.samples.sampler import SampleSettings
from ovito_mace_phase.lab.samples.source import SampleMix
from ovito_mace_phase.lab.training import class_head as refit
from ovito_mace_phase.lab.training.class_head import ClassFitSettings, FeatureRows, log_oversampling, train_classes
from ovito_mace_phase.lab.training.emphasis import phase_weights, with_logit_offsets
from ovito_mace_phase.lab.training.end_to_end import with_density
from ovito_mace_phase.model.engine.evaluator import make_evaluator
from ovito_mace_phase.model.network.head import HeadConfig
from ovito_mace_phase.runtime.errors import InputError

IDENTITY = {"network": "a", "samples": "b"}
SETTINGS = ClassFitSettings(n_parts=3, n_samples=30, keep=16, passes=6, batch=128, first_rate=1e-2, rate=1e-2)


def labelled_rows(evaluator, samples, keep, rng):
    found = rows_of(evaluator, samples, keep, rng, 0)
    return found["features"], found["label"].astype(np.int64)


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(refit, "WHITENING_SAMPLES", 40)


def drawn(draw, *seed):
    rng = np.random.default_rng(seed)
    while True:
        yield draw(rng)


def trained(evaluator, head, draw, settings, folder, progress=None):  # noqa: F811
    rows = FeatureRows(evaluator=evaluator, draw=draw, stream=partial(drawn, draw), identity=IDENTITY)
    return train_classes(rows, head, settings, folder, progress)


@pytest.fixture
def whole(head):  # noqa: F811
    one = with_density(head, 8)
    torch.nn.init.normal_(one.density_last.weight)
    return one.eval().requires_grad_(False)


@pytest.fixture
def draw(source):  # noqa: F811
    # phases that a network drawn at random can tell apart
    sample_settings = SampleSettings(sigma=(0.0, 0.1), hot_share=0.0)
    return lambda rng: source.draw(int(rng.integers(1, len(PHASES))), sample_settings, 0.0, rng)


def scale_features(evaluator, head, draw, rng):  # noqa: F811
    features, _ = labelled_rows(evaluator, [draw(rng) for _ in range(20)], 50, rng)
    head.mean.copy_(torch.from_numpy(features.mean(0)))
    head.scale.copy_(torch.from_numpy(features.std(0) + 1e-3))


def loss(evaluator, head, draw):  # noqa: F811
    """Of the first samples that it learns from: what so few say of others depends on the network drawn."""
    rng = np.random.default_rng([SETTINGS.seed, 0])
    features, label = labelled_rows(evaluator, [draw(rng) for _ in range(24)], SETTINGS.keep, rng)
    with torch.inference_mode():
        return float(torch.nn.functional.cross_entropy(head(torch.from_numpy(features)), torch.from_numpy(label)))


def test_classes_get_better_and_the_density_stays(tensors, whole, draw, tmp_path, rng):  # noqa: F811
    evaluator = make_evaluator(tensors, CONFIG, whole)
    scale_features(evaluator, whole, draw, rng)
    evaluator = make_evaluator(tensors, CONFIG, whole)
    seen = []
    better = trained(evaluator, whole, draw, SETTINGS, tmp_path, seen.append)
    assert loss(evaluator, better, draw) < 0.5 * loss(evaluator, whole, draw)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)
    features = torch.from_numpy(rng.normal(size=(9, 160)).astype(np.float32))
    density = [torch.logsumexp(one(features), 1) for one in (whole, better)]
    torch.testing.assert_close(*density)
    assert {path.name for path in tmp_path.glob("rows*")} == {f"rows_{k:02d}.npz" for k in range(3)}


def test_nothing_learned_is_nothing_changed(tensors, whole, draw, tmp_path):  # noqa: F811
    """The whitened coordinates and back."""
    evaluator = make_evaluator(tensors, CONFIG, whole)
    still = dataclasses.replace(SETTINGS, first_rate=0.0, rate=0.0, passes=1, prior_correction=0.0)
    again = trained(evaluator, whole, draw, still, tmp_path)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=1e-3, atol=1e-4)


def test_parts_that_are_there_are_used(tensors, whole, draw, tmp_path):  # noqa: F811
    evaluator = make_evaluator(tensors, CONFIG, whole)
    settings = dataclasses.replace(SETTINGS, n_parts=1, n_samples=4, passes=1)
    first = trained(evaluator, whole, draw, settings, tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    second = trained(evaluator, whole, draw, settings, tmp_path)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "c"}, r"whitening\.npz was made with other network"),
        ({"samples": "c"}, r"whitening\.npz was made with other samples"),
        ({"n_samples": 5}, r"rows_00\.npz was made with other sampling"),
        ({"rate": 1e-3}, r"fit\.checkpoint was made with other settings"),
    ],
)
def test_files_of_another_run_are_refused(tensors, whole, draw, tmp_path, change, message):  # noqa: F811
    evaluator = make_evaluator(tensors, CONFIG, whole)
    settings = dataclasses.replace(SETTINGS, n_parts=1, n_samples=4, passes=1)
    trained(evaluator, whole, draw, settings, tmp_path)
    inputs = {name: value for name, value in change.items() if name in IDENTITY}
    rows = FeatureRows(evaluator=evaluator, draw=draw, stream=partial(drawn, draw), identity=IDENTITY | inputs)
    other = dataclasses.replace(settings, **{name: value for name, value in change.items() if name not in IDENTITY})
    with pytest.raises(InputError, match=f"{message}; remove it or choose another output folder"):
        train_classes(rows, whole, other, tmp_path)


def test_parts_of_another_whitening_or_an_earlier_version_are_refused(tensors, whole, draw, tmp_path):  # noqa: F811
    evaluator = make_evaluator(tensors, CONFIG, whole)
    settings = dataclasses.replace(SETTINGS, n_parts=1, n_samples=4, passes=1)
    trained(evaluator, whole, draw, settings, tmp_path)
    with np.load(tmp_path / "whitening.npz") as archive:
        white = dict(archive)
    np.savez(tmp_path / "whitening.npz", **white | {"matrix": 2 * white["matrix"]})
    with pytest.raises(InputError, match=r"rows_00\.npz was made with other whitening"):
        trained(evaluator, whole, draw, settings, tmp_path)
    np.savez(tmp_path / "whitening.npz", **white)
    with np.load(tmp_path / "rows_00.npz") as archive:
        rows = {name: archive[name] for name in archive.files if name != "identity"}
    np.savez(tmp_path / "rows_00.npz", **rows)
    with pytest.raises(InputError, match=r"rows_00\.npz does not say what it was made from"):
        trained(evaluator, whole, draw, settings, tmp_path)


def test_a_stopped_fit_goes_on(tensors, whole, draw, tmp_path):  # noqa: F811
    """Stopped after the first pass over a part, it comes to the same head."""
    evaluator = make_evaluator(tensors, CONFIG, whole)
    settings = dataclasses.replace(SETTINGS, n_parts=2, n_samples=8, passes=2, batch=64)
    expected = trained(evaluator, whole, draw, settings, tmp_path / "one")

    def stop(done):
        if done > 0.9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(evaluator, whole, draw, settings, tmp_path / "two", stop)
    assert (tmp_path / "two" / "fit.checkpoint").is_file()
    seen = []
    found = trained(evaluator, whole, draw, settings, tmp_path / "two", seen.append)
    assert min(done for done in seen if done > 0.6) > 0.7  # not from the beginning
    for one, other in zip(expected.parameters(), found.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_a_new_head_learns(tensors, source, tmp_path):  # noqa: F811
    """From a shape alone, on features that nothing was standardised for.

    Asked about samples that it learns from: of the few it has seen not every network drawn at random tells others.
    """
    sample_settings = SampleSettings(sigma=(0.0, 0.1), hot_share=0.0)
    evaluator = make_evaluator(tensors, CONFIG, None)

    def draw(rng):
        return source.draw(int(rng.integers(1, len(PHASES))), sample_settings, 0.0, rng)

    rows = FeatureRows(evaluator=evaluator, draw=draw, stream=partial(drawn, draw), identity=IDENTITY)
    shape = HeadConfig(n_features=evaluator.n_features, n_phases=len(PHASES), n_hidden=16)
    new = train_classes(rows, shape, SETTINGS, tmp_path)
    rng = np.random.default_rng([SETTINGS.seed, 0])
    features, label = labelled_rows(evaluator, [rows.draw(rng) for _ in range(24)], SETTINGS.keep, rng)
    with torch.inference_mode():
        right = new(torch.from_numpy(features)).argmax(1).numpy() == label
    assert right.mean() > 0.8


def test_phases_drawn_more_often_lose_a_share_of_what_that_gave_them():
    label = np.repeat(np.int16([0, 1, 2, 4]), [500, 10, 20, 40])
    np.testing.assert_allclose(log_oversampling(label, 5), np.log([1.0, 0.5, 1.0, 1.0, 2.0]), atol=1e-6)
    np.testing.assert_allclose(log_oversampling(label, 5, [1, 4]), np.log([1.0, 0.4, 1.0, 1.0, 1.6]), atol=1e-6)


def test_samples_of_several_phases_give_as_many_rows_of_each(rng):
    label = np.repeat([3, 7], [90, 10])
    chosen = chosen_rows(label, 16, rng)
    assert np.bincount(label[chosen], minlength=8)[[3, 7]].tolist() == [8, 8]
    assert (np.diff(chosen) > 0).all()
    assert len(chosen_rows(label, 1000, rng)) == 100
    assert len(chosen_rows(np.full(50, 2), 16, rng)) == 16


def test_rows_have_the_class_of_their_atom(tensors, whole, source, rng):  # noqa: F811
    sample, _ = source.draw(1, SampleSettings(vacancies=0.0, surfaces=0.0), 0.0, rng)
    label = np.arange(len(sample.frame)) % 2 + 1
    found = rows_of(make_evaluator(tensors, CONFIG, whole), [(dataclasses.replace(sample, label=label), 1)], 8, rng, 0)
    assert np.bincount(found["label"], minlength=3).tolist() == [0, 4, 4]


def test_directions_whiten(tensors, whole, draw, rng):  # noqa: F811
    evaluator = make_evaluator(tensors, CONFIG, whole)
    scale_features(evaluator, whole, draw, rng)
    rows = FeatureRows(evaluator=evaluator, draw=draw, stream=partial(drawn, draw), identity=IDENTITY)
    white = whiten(rows.features(0), whole.mean, whole.scale)
    features, _ = labelled_rows(evaluator, [draw(rng) for _ in range(60)], 16, rng)
    y = ((torch.from_numpy(features) - whole.mean) / whole.scale) @ white.matrix
    assert white.matrix.shape == (160, 160)
    assert 0.3 < float(y[:, :8].std()) < 3.0
    weight = torch.from_numpy(rng.normal(size=(5, 160)).astype(np.float32))
    torch.testing.assert_close(white.to_plain(white.to_white(weight)), weight, rtol=1e-3, atol=1e-4)


def card(**phases):
    """Return a model card; key=(share right, taken for, share taken for it)."""
    return {
        "scores": {
            "validation": {
                "per_phase": {
                    key: {"phase": right, "confused_with": other, "confused": confused}
                    for key, (right, other, confused) in phases.items()
                }
            }
        }
    }


def test_hard_phases_and_those_they_are_taken_for_get_the_same_emphasis():
    fcc, rocksalt = (next(k for k, p in enumerate(PHASES) if p.key == key) for key in ("FCC", "ROCKSALT"))
    found = phase_weights(card(FCC=(1.0, None, 0.0), ROCKSALT=(0.25, "FCC", 0.7)), PHASES, 2.0)
    assert found == {fcc: 2.5, rocksalt: 2.5}
    other = card(FCC=(1.0, None, 0.0), ROCKSALT=(0.5, "OTHER", 0.5))
    assert phase_weights(other, PHASES, 2.0) == {fcc: 1.0, rocksalt: 2.0}
    assert phase_weights(card(FCC=(0.0, "ROCKSALT", 1.0)), PHASES, 0.0) == {fcc: 1.0, rocksalt: 1.0}
    assert phase_weights({}, PHASES, 2.0) == {}


def test_logit_offsets_make_phases_less_likely(whole, rng):
    rocksalt = next(k for k, phase in enumerate(PHASES) if phase.key == "ROCKSALT")
    phases = [dataclasses.replace(phase, logit_offset=1.5 * (k == rocksalt)) for k, phase in enumerate(PHASES)]
    features = torch.from_numpy(rng.normal(size=(5, 160)).astype(np.float32))
    lower = with_logit_offsets(whole, phases)
    before, after = (torch.log_softmax(one(features), 1) for one in (whole, lower))
    odds = (after - before)[:, rocksalt] - (after - before)[:, 0]
    torch.testing.assert_close(odds, torch.full((5,), -1.5))
    torch.testing.assert_close(torch.logsumexp(whole(features), 1), torch.logsumexp(lower(features), 1))


def test_phases_are_drawn_as_often_as_their_weights_say(source, rng):  # noqa: F811
    mix = SampleMix(common_weight=1.0, background=0.0, dynamics=0.0, stackings=0.0, unlisted=0.0)
    first, second = source.present
    labels = np.array([source.draw_any(mix, rng, {first: 9.0})[1] for _ in range(200)])
    assert set(labels) <= {first, second}
    assert 0.8 < (labels == first).mean() < 0.98
