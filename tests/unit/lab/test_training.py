"""Structures, split, sampler, shards and the head: training on a small scale."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from ase.geometry import cell_to_cellpar
from labelled_file import write_labelled

from ovito_mace_phase.atoms.length_scale import TARGET_VOLUME, length_factor, local_spacing
from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.classification.readout.frame_prior import frame_prior
from ovito_mace_phase.classification.readout.labels import label
from ovito_mace_phase.classification.readout.posterior import posterior
from ovito_mace_phase.lab.calibration.accuracy import expected_calibration_error
from ovito_mace_phase.lab.data.structures import (
    load_labelled,
    load_unlisted,
    part_of,
    reference_structures,
    split,
    split_seed,
)
from ovito_mace_phase.lab.samples.disorder import amorphised, random_packing
from ovito_mace_phase.lab.samples.sampler import SampleSettings, draw, supercell
from ovito_mace_phase.lab.samples.source import SampleSource, random_alloy
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.model.engine.evaluator import make_evaluator
from ovito_mace_phase.model.network.head import HeadConfig, PhaseHead
from ovito_mace_phase.model.network.model_file import NetworkConfig, load_model
from ovito_mace_phase.model.registry import SHIPPED
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
    sample, label = source.other_crystal(SampleSettings(), np.random.default_rng(0))
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


def test_cells_have_the_lengths_and_angles_of_the_file(labelled):
    """Of a triclinic cell all six are kept."""
    with np.load(labelled) as archive:
        data = dict(archive)
    data["cell"][0] = [3.0, 4.0, 5.0, 80.0, 95.0, 110.0]
    np.savez(labelled, **data)
    first = next(s for s in load_labelled(labelled, PHASES) if s.source == data["ids"][0])
    np.testing.assert_allclose(cell_to_cellpar(first.cell), data["cell"][0], atol=1e-9)


@pytest.mark.parametrize("key", ["FCC", "ROCKSALT", "GRAPHENE", "ICE_IH"])
def test_samples_are_in_network_units(rng, key):
    phases = tuple(phase_table())
    structure = next(s for s in reference_structures(phases, []) if phases[s.phase].key == key)
    cell, fractional, species = supercell(structure)
    assert len(species) >= 32
    assert (1 / np.linalg.norm(np.linalg.inv(cell), axis=0)).min() >= 6.0
    assert len(fractional) == len(species)
    sample = draw(structure, SampleSettings(jitter=0.0), 6, rng)
    assert length_factor(local_spacing(sample.frame)) == pytest.approx(1.0, rel=1e-6)
    assert sample.slots.max() < 6
    different = len(np.unique(sample.slots))
    assert different == len(np.unique(structure.species))


def test_amorphised_crystals_keep_composition_and_distance(rng):
    structure = next(s for s in reference_structures(PHASES, []) if PHASES[s.phase].key == "L1_2")
    frame = amorphised(structure, rng)
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


def test_head_round_trip():
    config = HeadConfig(n_features=20, n_phases=7, n_hidden=16)
    head = PhaseHead(config).eval()
    again = PhaseHead.from_tensors(head.to_tensors(), {"head": dataclasses.asdict(config)})
    x = torch.randn(5, 20)
    torch.testing.assert_close(again(x), head(x))
    with pytest.raises(ModelFileError, match="head"):
        PhaseHead.from_tensors({}, {"head": dataclasses.asdict(config)})
    with pytest.raises(ModelFileError, match="bare network"):
        PhaseHead.from_tensors({}, {})


def test_cards_of_earlier_versions_are_read_and_metric_heads_refused():
    head = PhaseHead(HeadConfig(n_features=20, n_phases=7, n_hidden=16)).eval()
    config = {**dataclasses.asdict(head.config), "n_embedding": 8, "n_anchors": 4}
    again = PhaseHead.from_tensors(head.to_tensors(), {"head": config})
    assert again.config == head.config
    with pytest.raises(ModelFileError, match=r"metric head.*shipped model.*train"):
        PhaseHead.from_tensors(head.to_tensors(), {"head": {**config, "kind": "metric"}})


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
