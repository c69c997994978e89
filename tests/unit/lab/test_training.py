"""Structures, split, sampler, shards and the head: training on a small scale."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from labelled_file import write_labelled

from ovito_mace_phase.atoms.length_scale import TARGET_VOLUME, length_factor, local_spacing
from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.classification.readout.frame_prior import frame_prior
from ovito_mace_phase.classification.readout.labels import label, posterior
from ovito_mace_phase.lab.calibration.accuracy import expected_calibration_error
from ovito_mace_phase.lab.data.structures import (
    cell_rows,
    load_labelled,
    load_unlisted,
    part_of,
    reference_structures,
    split,
    split_seed,
)
from ovito_mace_phase.lab.samples.disorder import random_packing, shattered
from ovito_mace_phase.lab.samples.noise import correlated, white
from ovito_mace_phase.lab.samples.sampler import SampleLaw, draw, supercell
from ovito_mace_phase.lab.samples.source import SampleSource, random_alloy
from ovito_mace_phase.lab.training.feature_rows import Shard, ShardLaw, ShardMaker
from ovito_mace_phase.lab.training.fit import FitSettings, fit_head
from ovito_mace_phase.lab.training.whitening import fit_whitening, fold
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.model.engine.evaluator import make_evaluator
from ovito_mace_phase.model.network.head import HeadConfig, PhaseHead
from ovito_mace_phase.model.network.model_file import NetworkConfig, load_model
from ovito_mace_phase.model.phase_model import SHIPPED
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.runtime.errors import InputError, ModelFileError

PHASES = tuple(phase for phase in phase_table() if phase.key in {"OTHER", "FCC", "ROCKSALT", "CUBIC_DIAMOND", "L1_2"})


@pytest.fixture(scope="module")
def network():
    tensors, card = load_model(SHIPPED)
    return make_evaluator(tensors, NetworkConfig.from_card(card), None)


@pytest.fixture
def labelled(tmp_path, rng):
    """A small npz in the format of the labelled structures, with every reference cell decorated twenty times."""
    return write_labelled(tmp_path / "labelled.npz", PHASES[1:], rng)


def test_structures_and_split(labelled):
    structures = load_labelled(labelled, PHASES)
    assert len(structures) == 80
    references = reference_structures(PHASES, structures)
    parts = split(structures, references, len(PHASES), seed=3)
    systems = {part: {s.system for s in items if not s.system.startswith("reference")} for part, items in parts.items()}
    assert all(systems.values())
    assert not systems["train"] & systems["test"]
    assert not systems["train"] & systems["validation"]
    assert {s.phase for s in parts["train"]} == {1, 2, 3, 4}
    drawn = Counter(part_of(f"system {k}", 3) for k in range(5000))
    assert {part: round(count / 5000, 1) for part, count in drawn.items()} == {
        "train": 0.7, "validation": 0.1, "test": 0.2,
    }  # fmt: skip
    assert any(part_of(f"system {k}", 3) != part_of(f"system {k}", 4) for k in range(100))


def test_prototypes_that_are_no_phase_are_split_whole(labelled):
    """With some phases left out of the table, their structures are crystals of no phase."""
    few = tuple(phase for phase in PHASES if phase.key != "ROCKSALT")
    kinds = load_unlisted(labelled, few, seed=0)
    found = [one for part in kinds.values() for kind in part for one in kind]
    everything = load_labelled(labelled, PHASES)
    column = [phase.key for phase in PHASES].index("ROCKSALT")
    expected = {one.source for one in everything if one.phase == column}
    assert expected
    assert {one.source for one in found} == expected
    assert {one.phase for one in found} == {0}
    assert sum(bool(part) for part in kinds.values()) == 1  # one prototype, hence one part
    assert not any(load_unlisted(labelled, PHASES, seed=0).values())
    source = SampleSource(few, load_labelled(labelled, few), [], 6, unlisted=[found])
    sample, label = source.other_crystal(SampleLaw(), np.random.default_rng(0))
    assert label == 0
    assert np.isfinite(sample.displacement).all()


def test_orphans_train_on_their_reference(labelled):
    """A phase whose only structure would be tested trains on it instead, and is not tested on it."""
    structures = load_labelled(labelled, PHASES)
    only = next(s for s in structures if part_of(s.system, 3) == "test")
    reference = dataclasses.replace(only, source="the same")
    parts = split([only], [reference], len(PHASES), seed=3)
    assert parts["test"] == []
    assert len(parts["train"]) == 1


def test_missing_data_is_named(tmp_path):
    with pytest.raises(InputError, match="--data"):
        load_labelled(tmp_path / "none.npz", PHASES)
    np.savez(tmp_path / "bad.npz", ids=np.zeros(1))
    with pytest.raises(InputError, match="label"):
        load_labelled(tmp_path / "bad.npz", PHASES)
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(InputError, match=r"text\.npz is no npz file"):
        load_labelled(tmp_path / "text.npz", PHASES)


def test_cell_rows():
    rows = cell_rows(np.array([3.0, 4.0, 5.0, 80.0, 95.0, 110.0]))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [3, 4, 5])
    unit = rows / np.linalg.norm(rows, axis=1)[:, None]
    np.testing.assert_allclose(
        [unit[1] @ unit[2], unit[0] @ unit[2], unit[0] @ unit[1]], np.cos(np.radians([80, 95, 110])), atol=1e-12
    )


@pytest.mark.parametrize("key", ["FCC", "ROCKSALT", "GRAPHENE", "ICE_IH"])
def test_samples_are_in_network_units(rng, key):
    phases = tuple(phase_table())
    structure = next(s for s in reference_structures(phases, []) if phases[s.phase].key == key)
    cell, fractional, species = supercell(structure)
    assert len(species) >= 32
    assert (1 / np.linalg.norm(np.linalg.inv(cell), axis=0)).min() >= 6.0
    assert len(fractional) == len(species)
    sample = draw(structure, SampleLaw(jitter=0.0), 6, rng)
    assert length_factor(local_spacing(sample.frame)) == pytest.approx(1.0, rel=1e-6)
    assert sample.carrier.max() < 6
    different = len(np.unique(sample.carrier))
    assert different == len(np.unique(structure.species))


@pytest.mark.parametrize("kind", [white, correlated])
def test_noise_has_the_amplitude_asked_for(rng, kind):
    cell, fractional, _ = supercell(reference_structures(PHASES, [])[0], 100)
    moves = [kind(fractional @ cell, cell, 0.1, rng) for _ in range(20)]
    assert np.std(moves) == pytest.approx(0.1, rel=0.05)


def test_correlated_noise_moves_neighbours_together(rng):
    cell, fractional, _ = supercell(reference_structures(PHASES, [])[0], 100)
    edges = neighbour_list(fractional @ cell, cell, np.ones(3, dtype=bool), 3.0)
    direction = edges.vectors / np.linalg.norm(edges.vectors, axis=1)[:, None]
    share = {}
    for kind in (white, correlated):
        along = []
        for _ in range(80):
            move = kind(fractional @ cell, cell, 0.1, rng)
            along.append((np.sum(move[edges.centre] * direction, 1), np.sum(move[edges.neighbour] * direction, 1)))
        first, second = np.concatenate(along, axis=1)
        share[kind] = np.mean(first * second) / np.mean(first**2)
    assert abs(share[white]) < 0.1
    assert share[correlated] > 0.15


def test_no_noise_beyond_melting(rng):
    cell, fractional, _ = supercell(next(s for s in reference_structures(PHASES, []) if s.phase == 1), 100)
    assert np.std(white(fractional @ cell, cell, 5.0, rng)) < 0.4
    assert np.std(correlated(fractional @ cell, cell, 5.0, rng)) < 0.8


def test_shattered_crystals_keep_composition_and_distance(rng):
    structure = next(s for s in reference_structures(PHASES, []) if PHASES[s.phase].key == "L1_2")
    frame = shattered(structure, rng)
    assert np.mean(frame.species == np.bincount(frame.species).argmax()) == pytest.approx(0.75)
    edges = neighbour_list(frame.positions, frame.cell, frame.pbc, 1.0)
    assert len(edges.neighbour) == 0


def test_random_alloy_keeps_the_sites(rng):
    structure = reference_structures(PHASES, [])[0]
    alloy = random_alloy(structure, rng, 3)
    cell, fractional, _ = supercell(structure)
    np.testing.assert_array_equal(alloy.cell, cell)
    np.testing.assert_array_equal(alloy.fractional, fractional)
    found = [len(np.unique(random_alloy(structure, rng, 3).species)) for _ in range(40)]
    assert set(found) >= {2, 3}
    assert alloy.phase == structure.phase


def test_random_packing_density(rng):
    frame = random_packing(rng, 3)
    assert abs(np.linalg.det(frame.cell)) / len(frame) == pytest.approx(TARGET_VOLUME)


def test_shards_and_head_learn(network, labelled, rng, tmp_path):
    """Four phases: after a short training nearly all atoms of fresh samples are right; a stopped run goes on."""
    structures = load_labelled(labelled, PHASES)
    parts = split(structures, reference_structures(PHASES, structures), len(PHASES), 0)
    # no rare carriers: thirty samples of a phase would hold some of them once or never, and lose those samples whole
    sample = SampleLaw(hot_share=0.0, vacancies=0.0, surfaces=0.0, any_carriers=0.0)
    law = ShardLaw(per_phase=30, surplus=1, background=30, sample=sample, alloy_share=0.0)
    paths = []
    for number in range(2):
        shard = ShardMaker(network, PHASES, parts["train"], []).make(law, int(rng.integers(1000)), number)
        paths.append(tmp_path / f"shard{number}.npz")
        shard.save(paths[-1])
    again = Shard.load(paths[0])
    assert again.features.shape == (len(again.label), network.n_features)
    assert set(np.unique(again.label)) == {0, 1, 2, 3, 4}
    config = HeadConfig(kind="mlp", n_features=network.n_features, n_phases=5, n_hidden=32)
    settings = FitSettings(epochs=10, batch=128)
    head = fit_head(config, paths[:1], settings, tmp_path / "head.checkpoint")
    test = Shard.load(paths[1])
    found = head(torch.from_numpy(test.features.astype(np.float32))).argmax(1).numpy()
    assert (found == test.label).mean() > 0.97
    resumed = fit_head(config, paths[:1], settings, tmp_path / "head.checkpoint")
    torch.testing.assert_close(resumed.first.weight, head.first.weight)
    with pytest.raises(InputError, match="other settings"):
        fit_head(config, paths[:1], dataclasses.replace(settings, epochs=5), tmp_path / "head.checkpoint")


def test_whitening_folds_into_the_head(rng, tmp_path):
    """The folded head on plain features equals the head on whitened ones; whitened rows have unit covariance."""
    mix = np.eye(40) + 0.1 * rng.normal(size=(40, 40))
    rows = (rng.normal(size=(4000, 40)) @ mix + 3.0).astype(np.float16)
    whole = np.zeros(4000)
    shard = Shard(
        features=rows, label=whole.astype(np.int16), sigma=whole.astype(np.float32), sample=whole.astype(np.int32)
    )
    shard.save(tmp_path / "rows.npz")
    whitening = fit_whitening([tmp_path / "rows.npz"])
    white_rows = whitening.apply(shard).features.astype(np.float32)
    np.testing.assert_allclose(np.cov(white_rows.T), np.eye(40), atol=0.1)
    head = PhaseHead(HeadConfig(kind="mlp", n_features=40, n_phases=7, n_hidden=16)).eval()
    head.mean += 0.1
    head.scale *= 1.3
    plain = fold(head, whitening)(torch.from_numpy(rows.astype(np.float32)))
    torch.testing.assert_close(plain, head(torch.from_numpy(white_rows)), atol=5e-3, rtol=1e-2)


def test_shards_can_be_made_again(network, labelled):
    structures = load_labelled(labelled, PHASES)
    maker = ShardMaker(network, PHASES, structures, [])
    law = ShardLaw(per_phase=1, surplus=1, background=1)
    first, second = maker.make(law, 5, 0), maker.make(law, 5, 0)
    np.testing.assert_array_equal(first.label, second.label)
    np.testing.assert_allclose(first.features, second.features, atol=1e-3)
    other = maker.make(law, 5, 1)
    assert other.features.shape[1] == first.features.shape[1]
    assert not np.array_equal(other.features[: len(first.label)], first.features[: len(other.label)])


@pytest.mark.parametrize("kind", ["mlp", "metric"])
def test_head_round_trip(kind):
    config = HeadConfig(kind=kind, n_features=20, n_phases=7, n_hidden=16, n_embedding=8)
    head = PhaseHead(config).eval()
    again = PhaseHead.from_tensors(head.to_tensors(), {"head": dataclasses.asdict(config)})
    x = torch.randn(5, 20)
    torch.testing.assert_close(again(x), head(x))
    with pytest.raises(ModelFileError, match="head"):
        PhaseHead.from_tensors({}, {"head": dataclasses.asdict(config)})
    with pytest.raises(ModelFileError, match="bare network"):
        PhaseHead.from_tensors({}, {})


def test_metric_logit_is_minus_half_the_squared_distance():
    head = PhaseHead(HeadConfig(kind="metric", n_features=4, n_phases=3, n_hidden=8, n_embedding=5, n_anchors=2)).eval()
    x = torch.randn(6, 4)
    z = head.embed(head.first(x))
    wanted = -0.5 * ((z[:, None, None] - head.anchors[None]) ** 2).sum(-1).amin(-1) + head.bias
    torch.testing.assert_close(head(x), wanted, rtol=1e-4, atol=1e-4)


def test_posterior_label_and_rejection(rng):
    logits = rng.normal(0, 3, (50, 6)).astype(np.float32)
    p = posterior(logits, 2.0)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.log(p[:, 1] / p[:, 0]), (logits[:, 1] - logits[:, 0]) / 2, rtol=1e-3, atol=1e-4)
    column, _confidence, margin = label(logits, Calibration(), None, 0.0, 0)
    np.testing.assert_array_equal(column, logits.argmax(1))
    ordered = np.sort(logits, axis=1)
    np.testing.assert_allclose(margin, ordered[:, -1] - ordered[:, -2], rtol=1e-5)
    rejected, _, _ = label(logits, Calibration(log_density=1e9), None, 0.0, 0)
    assert (rejected == 0).all()


def test_each_phase_has_its_own_density_floor(rng):
    phases = PHASES[:5]
    logits = rng.normal(0, 3, (200, 5)).astype(np.float32)
    density = np.logaddexp.reduce(logits.astype(float), axis=1)
    floor = float(np.median(density))
    calibration = Calibration(log_density=-1e9, floors={phases[2].key: floor}).of(phases)
    column, _, _ = label(logits, calibration, None, 0.0, 0)
    best = logits.argmax(1)
    expected = np.where((best == 2) & (density < floor), 0, best)
    np.testing.assert_array_equal(column, expected)
    assert (expected != best).any()
    everywhere = Calibration(log_density=floor, floors={phases[2].key: -1e9}).of(phases)
    np.testing.assert_array_equal(label(logits, everywhere, None, 0.0, 0)[0], np.where(density < floor, 0, best))


def test_frame_prior_keeps_a_small_nucleus_and_drops_stray_atoms(rng):
    """990 doubtful atoms of phase 1 and 10 sure ones of phase 2: the doubtful ones go to 1, the nucleus stays."""
    logits = rng.normal(0, 1, (1000, 5)).astype(np.float32)
    logits[:990, 1] += 1.5
    logits[990:, 2] += 15
    weights = frame_prior(logits, 1.0)
    column, _, _ = label(logits, Calibration(), weights, 0.0, 0)
    assert (column[:990] == 1).mean() > 0.97
    assert (column[990:] == 2).all()
    assert weights.sum() == pytest.approx(1.0)


def test_calibration_error():
    confidence = np.full(1000, 0.8, dtype=np.float32)
    assert expected_calibration_error(confidence, np.arange(1000) < 800) == pytest.approx(0.0, abs=1e-6)
    assert expected_calibration_error(confidence, np.arange(1000) < 300) == pytest.approx(0.5, abs=1e-6)


def test_the_split_of_a_model_is_told_by_its_card():
    assert split_seed({"training": {"split_seed": 3, "settings": {"seed": 5}}}) == 3
    assert split_seed({"training": {"settings": {"seed": 5}}}) == 5
    assert split_seed({"training": {"split_seed": 0, "settings": {"training": {"seed": 11}}}}) == 0
    assert split_seed({}) == 0
