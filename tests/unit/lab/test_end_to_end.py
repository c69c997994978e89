"""End-to-end training on a small scale: a tiny network, two phases, a few steps."""

from __future__ import annotations

import dataclasses
from itertools import combinations

import numpy as np
import pytest
import torch
from engine_tools import evaluator, shipped
from tiny_network import CONFIG, random_tensors

from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.lab.calibration.density_floors import density_floors
from ovito_mace_phase.lab.calibration.distances import common_line, fit_distances
from ovito_mace_phase.lab.calibration.temperature import calibrate
from ovito_mace_phase.lab.data.npz import Snapshot
from ovito_mace_phase.lab.data.structures import reference_structures
from ovito_mace_phase.lab.samples.disorder import rattled_melt
from ovito_mace_phase.lab.samples.sampler import SampleSettings
from ovito_mace_phase.lab.samples.source import DRAW_BACKGROUND, SampleMix, SampleSource
from ovito_mace_phase.lab.training import batches, end_to_end
from ovito_mace_phase.lab.training.batches import label_shares, make_batch, moved, noise_weight, rms
from ovito_mace_phase.lab.training.calibrated_model import MARGIN, lowered
from ovito_mace_phase.lab.training.end_to_end import (
    EndToEnd,
    EndToEndSettings,
    reinitialise_zero_matrices,
)
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.model.engine.evaluator import make_evaluator
from ovito_mace_phase.model.network.head import HeadConfig, PhaseHead, with_density
from ovito_mace_phase.model.network.model_file import read_card
from ovito_mace_phase.model.registry import MODELS
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.runtime.threads import BlockPool

PHASES = tuple(phase for phase in phase_table() if phase.key in {"OTHER", "FCC", "ROCKSALT"})
SETTINGS = EndToEndSettings(
    n_steps=6,
    n_atoms=150,
    n_density=8,
    warm_up=2,
    mix=SampleMix(background=0.2, dynamics=0.0),
    head_rate=1e-3,
    seed=3,
)


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(end_to_end, "_ROWS", 300)


@pytest.fixture
def tensors(rng):
    return random_tensors(rng)


@pytest.fixture
def head():
    torch.manual_seed(0)
    return PhaseHead(HeadConfig(n_features=160, n_phases=len(PHASES), n_hidden=16))


@pytest.fixture
def source():
    return SampleSource(PHASES, reference_structures(PHASES, []), [], 6)


@pytest.fixture
def run(tensors, head, source):
    return EndToEnd(tensors, CONFIG, head, source, SETTINGS)


def test_a_density_branch_changes_no_label(head, rng):
    whole = with_density(head, 8)
    features = torch.from_numpy(rng.normal(size=(20, 160)).astype(np.float32))
    torch.testing.assert_close(whole(features), torch.log_softmax(head(features), 1))
    torch.nn.init.normal_(whole.density_last.weight)
    torch.testing.assert_close(torch.softmax(whole(features), 1), torch.softmax(head(features), 1))
    density = whole.log_density(whole.density_first(features))
    assert density.std() > 0
    torch.testing.assert_close(torch.logsumexp(whole(features), 1), density)


def test_a_wider_density_branch_changes_no_logit(head, rng):
    narrow = with_density(head, 8)
    for parameter in narrow.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    wide = with_density(narrow, 20)
    features = torch.from_numpy(rng.normal(size=(20, 160)).astype(np.float32))
    assert wide.config.n_density == 20
    torch.testing.assert_close(wide(features), narrow(features))
    wide(features).square().sum().backward()
    assert all(wide.density_last.weight.grad[0, 8:] != 0)  # what is new will be used
    assert with_density(wide, 8).config.n_density == 20


def test_phases_of_one_sample_are_looked_at_alike(source, rng):
    sample_settings = SampleSettings(vacancies=0.0, surfaces=0.0)
    samples = [source.draw(phase, sample_settings, 0.0, rng) for phase in (1, 2)]
    n_atoms = len(samples[1][0].frame)
    label = np.full(n_atoms, 2)
    label[:5] = 1
    samples[1] = (dataclasses.replace(samples[1][0], label=label), 2)
    batch = make_batch(samples, 5.0)
    share = label_shares(batch, 0.2)
    first = batch.sample == 0
    np.testing.assert_allclose(share[first], 0.2)
    few, many = share[~first][:5], share[~first][5:]
    np.testing.assert_allclose(many, 0.1 * n_atoms / (n_atoms - 5))
    np.testing.assert_allclose(few, min(1.0, 0.1 * n_atoms / 5))


def test_zero_matrices_are_drawn_and_others_kept(tensors, rng):
    tensors["layers.1.linear.2"] = np.zeros_like(tensors["layers.1.linear.2"])
    drawn = reinitialise_zero_matrices(tensors, CONFIG, rng)
    changed = [name for name in tensors if not np.array_equal(tensors[name], drawn[name])]
    assert changed == ["layers.1.linear.2"]
    expected = np.sqrt((tensors["layers.1.linear.0"] ** 2).mean())
    assert drawn["layers.1.linear.2"].std() == pytest.approx(expected, rel=0.4)


def test_displacements_lead_back_to_the_crystal(source, rng):
    """Noisy minus displacement is the strained crystal: its shortest distances are all alike."""
    sample_settings = SampleSettings(sigma=(0.05, 0.1), hot_share=0.0, strain=0.0, vacancies=0.0, surfaces=0.0)
    sample, label = source.draw(1, sample_settings, 0.0, rng)
    assert PHASES[label].key == "FCC"
    frame = sample.frame
    clean = make_frame(frame.positions - sample.displacement, None, frame.cell, True)
    batch = make_batch([(dataclasses.replace(sample, frame=clean), label)], 5.0)
    nearest = np.sort(np.linalg.norm(batch.edges.vectors, axis=1))[: 12 * len(clean)]
    assert nearest.std() < 1e-9
    assert np.abs(sample.displacement).max() > 0.02


def test_melts_know_their_displacements(rng):
    sites = np.argwhere(np.ones((3, 3, 3))) * 8 / 3
    frame = make_frame(sites + rng.uniform(-0.4, 0.4, sites.shape), None, np.eye(3) * 8, True)
    rattled, moved = rattled_melt([frame], rng)
    inverse = np.linalg.inv(rattled.cell)
    np.testing.assert_allclose((rattled.positions - moved) @ inverse, frame.positions / 8, atol=1e-12)


def test_a_step_draws_the_same_samples_again(run):
    one, again, other = run.batch(2), run.batch(2), run.batch(3)
    np.testing.assert_array_equal(one.edges.vectors, again.edges.vectors)
    assert one.edges.vectors.shape != other.edges.vectors.shape or not np.array_equal(
        one.edges.vectors, other.edges.vectors
    )
    assert len(one.slots) >= SETTINGS.n_atoms
    assert set(one.label) <= {-1, 0, 1, 2}
    crystal = one.label > 0
    assert np.isfinite(one.displacement[crystal]).all()


def test_steps_draw_the_same_samples_in_any_order(tensors, head, source, monkeypatch):
    """One after the other, across the end of a shard, and each alone as a resumed run does."""
    monkeypatch.setattr(end_to_end, "_SHARD", 3)
    run, resumed = (EndToEnd(tensors, CONFIG, head, source, SETTINGS) for _ in range(2))
    whole = [run.samples(step) for step in range(5)]
    for step in (4, 2, 3, 0):
        for (one, label), (again, same) in zip(whole[step], resumed.samples(step), strict=True):
            np.testing.assert_array_equal(one.frame.positions, again.frame.positions)
            assert label == same
    first = [samples[0][0].frame.positions for samples in whole]
    assert not any(np.array_equal(one, other) for one, other in combinations(first, 2))


def test_labels_of_a_share_of_the_atoms_are_looked_at(run):
    batch = run.batch(0)
    assert 0.3 < (batch.label >= 0).mean() < 0.7
    whole = make_batch(run.samples(0), CONFIG.r_max)
    seen = batch.label >= 0
    np.testing.assert_array_equal(batch.label[seen], whole.label[seen])


def test_every_sample_weighs_the_same_whatever_its_noise(source, rng):
    samples = []
    for sigma in (0.02, 0.1, 0.25):
        sample_settings = SampleSettings.quiet(sigma, sigma)
        samples.append(source.draw(1, sample_settings, 0.0, rng))
    # no clean positions: any weight, but finite
    samples.append(source.draw(DRAW_BACKGROUND, SampleSettings(), 0.0, rng))
    batch = make_batch(samples, CONFIG.r_max)
    weight = noise_weight(batch, 0.15, 0.06)
    for k, (sample, _) in enumerate(samples[:3]):
        expected = (0.15 / max(rms(sample), 0.06)) ** 2
        np.testing.assert_allclose(weight[batch.sample == k], expected)
    assert np.isfinite(weight).all()


def test_moved_samples_keep_their_clean_positions(source, rng):
    sample, _ = source.draw(1, SampleSettings(), 0.0, rng)
    by = rng.normal(0, 0.1, sample.displacement.shape)
    found = moved(sample, by)
    np.testing.assert_allclose(found.frame.positions - sample.frame.positions, by, atol=1e-12)
    clean = sample.frame.positions - sample.displacement
    np.testing.assert_allclose(found.frame.positions - found.displacement, clean, atol=1e-12)


def test_some_samples_are_denoised_by_the_model_first(tensors, head, source, monkeypatch):
    """A score that goes half way is applied one to three times; a wild one moves atoms by a bounded length."""
    sample_settings = SampleSettings(sigma=(0.05, 0.1), hot_share=0.0)
    mix = SampleMix(background=0.0, sample=sample_settings)
    settings = dataclasses.replace(SETTINGS, denoised=1.0, mix=mix)
    run = EndToEnd(tensors, CONFIG, head, source, settings)
    s = settings.noise_scale
    before = run.batch(0)
    with BlockPool() as pool:
        monkeypatch.setattr(batches, "scores", lambda model, batch, pool: -0.5 * batch.displacement / s**2)
        after = run.batch(0, pool)
        ratio = np.abs(after.displacement).max(axis=1) / np.abs(before.displacement).max(axis=1)
        halvings = np.log2(1.0 / ratio)
        np.testing.assert_allclose(halvings, np.round(halvings), atol=1e-6)
        assert set(np.round(halvings).astype(int)) <= {1, 2, 3}
        monkeypatch.setattr(batches, "scores", lambda model, batch, pool: 30.0 * np.ones_like(batch.displacement))
        wild = run.batch(0, pool)
    assert (np.abs(wild.displacement).max(axis=1) <= np.abs(before.displacement).max(axis=1) + 0.6).all()
    np.testing.assert_array_equal(before.slots, after.slots)


def losses_of(run, steps):
    with BlockPool() as pool:
        return np.array([run.advance(run.batch(step), pool) for step in steps])


def test_stopped_and_resumed_is_the_same_as_one_run(tensors, head, source, tmp_path):
    """The state is taken up exactly, and losses go on alike.

    Later weights are not compared: those of an idle feature have no gradient but rounding, which Adam makes a full
    step of, in one run as in another.
    """
    settings = dataclasses.replace(SETTINGS, density_rate=1e-2, head_rate=1e-2)
    whole, half, rest = (EndToEnd(tensors, CONFIG, head, source, settings) for _ in range(3))
    expected = losses_of(whole, range(6))
    losses_of(half, range(3))
    half.save(tmp_path / "half")
    rest.resume(tmp_path / "half")
    assert rest.step == 3
    for part in ("model", "average", "optimizer", "schedule"):
        one, other = (getattr(run, part).state_dict() for run in (half, rest))
        torch.testing.assert_close(other, one, rtol=0, atol=0, msg=lambda text, part=part: f"{part}: {text}")
    np.testing.assert_allclose(losses_of(rest, range(3, 6)), expected[3:], rtol=1e-3)


def test_a_run_out_of_time_leaves_a_checkpoint(run, tmp_path):
    assert not run.run(tmp_path / "checkpoint", seconds=0.0)
    assert run.step == 1
    run.resume(tmp_path / "checkpoint")
    assert run.step == 1


def test_a_checkpoint_of_another_run_is_refused(run, tensors, head, source, tmp_path):
    """Other settings, data, network or head: the message names which."""
    run.save(tmp_path / "checkpoint")
    few = SampleSource(PHASES, reference_structures(PHASES, [])[:1], [], 6)
    moved = tensors | {"embedding": tensors["embedding"] + 1e-3}
    another = PhaseHead(head.config)
    settings = dataclasses.replace(SETTINGS, seed=4)
    for arguments, name in (
        ((tensors, CONFIG, head, source, settings), "other settings"),
        ((tensors, CONFIG, head, few, SETTINGS), "other data"),
        ((moved, CONFIG, head, source, SETTINGS), "other start_model"),
        ((tensors, CONFIG, another, source, SETTINGS), "other start_model"),
    ):
        with pytest.raises(InputError, match=f"checkpoint was made with {name}; remove it or choose another"):
            EndToEnd(*arguments).resume(tmp_path / "checkpoint")
    EndToEnd(tensors, CONFIG, head, source, SETTINGS).resume(tmp_path / "checkpoint")


def test_a_frozen_network_stays(tensors, head, source):
    run = EndToEnd(tensors, CONFIG, head, source, dataclasses.replace(SETTINGS, network_rate=0.0))
    with BlockPool() as pool:
        for step in range(2):
            run.advance(run.batch(step), pool)
    found, _ = run.result()
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_the_losses_fall(tensors, head, source):
    """On one phase with one amplitude of noise, within twenty steps."""
    sample_settings = SampleSettings(sigma=(0.1, 0.1), hot_share=0.0, correlated=0.0, vacancies=0.0, surfaces=0.0)
    settings = dataclasses.replace(
        SETTINGS,
        n_steps=60,
        mix=SampleMix(background=0.0, sample=sample_settings),
        density_rate=1e-2,
        density_first_rate=1e-2,
        head_rate=1e-2,
        first_rate=1e-2,
    )
    run = EndToEnd(tensors, CONFIG, head, source, settings)
    with BlockPool() as pool:
        losses = np.array([run.advance(run.batch(step), pool) for step in range(50)])
    assert losses[-8:, 0].mean() < 0.9 * losses[:5, 0].mean()
    assert losses[-8:, 1].mean() < 0.7 * losses[:5, 1].mean()


def test_snapshots_of_unknown_phases_are_named(source, rng):
    """An unknown label is an error, not class 0."""
    snapshot = Snapshot(name="hot_x", frame=make_frame(np.zeros((1, 3)), None, None, None), phase="NO_SUCH")
    with pytest.raises(InputError, match=r"hot_x has the phase 'NO_SUCH'"):
        SampleSource(PHASES, reference_structures(PHASES, []), [], 6, [snapshot])


def test_background_is_other_and_has_no_clean_positions(source, rng):
    sample, label = source.draw(DRAW_BACKGROUND, SampleSettings(), 0.0, rng)
    assert label == 0
    assert np.isnan(sample.displacement).all()


def test_temperature_of_logits_that_are_too_sure(rng):
    """Labels drawn from softmax(l / 3) give T = 3, whichever source they come from."""
    logits = rng.normal(0, 6, (4000, 5)).astype(np.float32)
    p = np.exp(logits / 3 - (logits / 3).max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    label = (p.cumsum(1) < rng.uniform(size=(4000, 1))).sum(1)
    found = calibrate((logits[:2000], label[:2000]), [(logits[2000:], label[2000:])], 0.01, hot_weight=1.0)
    assert found.temperature == pytest.approx(3.0, rel=0.1)


def test_distances_and_floors_of_a_shipped_model_are_found_again(rng):
    """With two crystals of fcc: near what its card says, which was fitted to many decorations."""
    phases = tuple(phase_table().by_key(key) for key in read_card(MODELS["mace-phase-6"])["phases"])
    fcc = [one for one in reference_structures(phases, []) if phases[one.phase].key == "FCC"]
    _, _, head = shipped()
    card = read_card(MODELS["mace-phase-6"])
    (best, scale, r_squared) = fit_distances(evaluator(), head, phases, fcc, rng, n_crystals=2)["FCC"]
    assert [best, scale] == pytest.approx(card["distances"]["FCC"][:2], rel=0.08)
    assert r_squared > 0.95
    floor = density_floors(evaluator(), head, phases, fcc, rng, per_common=48)["FCC"]
    calibration = Calibration.from_card(card).of(phases)
    assert calibration.log_density[fcc[0].phase] < floor < best


def test_floors_of_all_phases_that_are_there(run, rng):
    network, head = run.result()
    structures = reference_structures(PHASES, [])
    given = (make_evaluator(network, CONFIG, head), head, PHASES, structures, rng)
    low, middle = (density_floors(*given, per_common=3, rejected=share) for share in (0.005, 0.5))
    assert set(low) == set(middle) == {"FCC", "ROCKSALT"}
    assert all(low[key] < middle[key] for key in low)


def test_one_distorted_crystal_does_not_tilt_the_line_of_the_others(rng):
    squared = rng.uniform(0, 0.07, (5, 6))
    height = 4.0 - 25.0 * squared + rng.normal(0, 0.01, squared.shape)
    height[rng.integers(5)] = rng.uniform(0, 1) + rng.normal(0, 0.3, 6)
    best, slope, r_squared = common_line(squared, height)
    assert best == pytest.approx(4.0, abs=0.05)
    assert slope == pytest.approx(-25.0, abs=1.5)
    assert r_squared > 0.99


def test_hot_crystals_lower_the_density_floor_of_their_phase():
    logits = np.full((200, 3), -50.0, dtype=np.float32)
    logits[:, 0] = np.linspace(0, 1, 200)
    label = np.repeat([1, 2], 100).astype(np.int16)
    found = lowered({"FCC": 0.9, "ROCKSALT": -3.0}, PHASES, (logits, label), 0.1)
    column = [phase.key for phase in PHASES].index("FCC")
    assert found["FCC"] == pytest.approx(np.quantile(logits[label == column, 0], 0.1) - MARGIN, abs=1e-3)
    assert found["ROCKSALT"] == -3.0 - MARGIN
