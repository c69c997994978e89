"""Large frames of well-known lattices, of which the network sees a part: nobody can tell from the labels."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ovito.io.ase import ase_to_ovito
from ovito.pipeline import Pipeline, StaticSource
from scipy.spatial.transform import Rotation

from ovito_mace_phase import MacePhaseModifier, PhaseModel, classify
from ovito_mace_phase.classification.sampled import LEAST_ATOMS
from ovito_mace_phase.lab.crystals import repeated
from ovito_mace_phase.phases import phase_table

CRYSTALS = {
    "FCC": bulk("Cu", cubic=True) * (16, 16, 16),
    "BCC": bulk("Fe", cubic=True) * (20, 20, 20),
    "HCP": bulk("Ti") * (22, 22, 18),
    "ROCKSALT": bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (13, 13, 13),
    "CUBIC_DIAMOND": bulk("Si", cubic=True) * (13, 13, 13),
    "L1_2": Atoms("AlNi3", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], cell=[3.57] * 3)
    * (16, 16, 16),
}


@pytest.fixture(scope="module")
def model():
    return PhaseModel.load()


def run(atoms, model, **settings):
    return classify(atoms.positions, atoms.numbers, atoms.cell[:], atoms.pbc, model=model, **settings)


def shaken(atoms, rng, noise=0.04):
    """A crystal with noise, a share of the distance of neighbours, its atoms in any order."""
    atoms = atoms.copy()
    atoms.pbc = True
    spacing = (atoms.get_volume() / len(atoms)) ** (1 / 3)
    atoms.positions += rng.normal(0.0, noise * spacing, atoms.positions.shape)
    return atoms[rng.permutation(len(atoms))]


@pytest.mark.parametrize("key", CRYSTALS)
def test_crystals_have_their_labels(key, model, rng):
    atoms = shaken(CRYSTALS[key], rng)
    assert len(atoms) >= LEAST_ATOMS
    few, every = run(atoms, model), run(atoms, model, sampling="off")
    assert few.sampled
    assert not every.sampled
    assert few.counts() == {key: len(atoms)}
    np.testing.assert_array_equal(few.phase, every.phase)
    assert few.confidence.mean() == pytest.approx(every.confidence.mean(), abs=0.01)
    np.testing.assert_allclose(few.rmsd, every.rmsd, atol=1e-6)
    turn = np.abs(np.einsum("ij,ij->i", few.orientation, every.orientation))
    assert np.median(turn) == pytest.approx(1.0, abs=1e-6)


def test_ice_goes_by_molecules(model, rng):
    cell = phase_table().by_key("ICE_IH").reference
    frame = repeated(cell.cell, cell.fractional, cell.species, 66.0)
    positions = frame.positions + rng.normal(0.0, 0.05, frame.positions.shape)
    found = classify(positions, frame.species, frame.cell, True, model=model)
    assert len(positions) >= LEAST_ATOMS
    assert found.sampled
    assert found.counts() == {"ICE_IH": len(positions)}


def with_defects(rng):
    """Copper with vacancies, and split interstitials along <100>."""
    atoms = CRYSTALS["FCC"].copy()
    sites = rng.choice(len(atoms), 60, replace=False)
    extra = atoms[sites[30:]]
    shift = np.array([0.9, 0.0, 0.0])
    atoms.positions[sites[30:]] -= shift
    extra.positions += shift
    del atoms[sites[:30]]
    return shaken(atoms + extra, rng, 0.02)


def test_defects_are_seen(model, rng):
    atoms = with_defects(rng)
    few, every = run(atoms, model), run(atoms, model, sampling="off")
    assert few.sampled
    other = every.phase == 0
    assert 100 < other.sum() < 1500
    assert (few.phase != every.phase).mean() < 1e-3
    assert (few.phase[other] == 0).mean() > 0.97
    np.testing.assert_array_equal(few.reason[~other & (few.phase == every.phase)], 0)


def test_defects_as_the_phase_around_them(model, rng):
    atoms = with_defects(rng)
    few = run(atoms, model, defects="phase")
    assert few.sampled
    every = run(atoms, model, defects="phase", sampling="off")
    assert few.fractions()["FCC"] > run(atoms, model).fractions()["FCC"] + 0.01
    assert (few.phase != every.phase).mean() < 1e-3


def two_halves(rng):
    """Rock salt beside a crystal that is not well known, or a melt of the same atoms."""
    salt = CRYSTALS["ROCKSALT"].copy()
    half = salt.positions[:, 2] > 0.55 * salt.cell[2, 2]
    salt.positions[half] += rng.normal(0.0, 1.2, (half.sum(), 3))
    return salt, half


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_half_a_melt_is_evaluated_as_a_whole(model, rng):
    atoms, half = two_halves(rng)
    few = run(atoms, model)
    assert not few.sampled
    every = run(atoms, model, sampling="off")
    np.testing.assert_array_equal(few.phase, every.phase)
    np.testing.assert_array_equal(few.confidence, every.confidence)
    assert (few.phase[half] == 0).mean() > 0.9


def bcc_in_fcc(rng):
    """A sphere of bcc in fcc."""
    fcc = bulk("Cu", cubic=True) * (20, 20, 20)
    centre = rng.uniform(0, 1, 3) @ fcc.cell[:]
    away = fcc.positions - centre
    away -= np.rint(away @ np.linalg.inv(fcc.cell[:])) @ fcc.cell[:]
    bcc = bulk("Fe", a=2.87, cubic=True) * (12, 12, 12)
    bcc.positions = (bcc.positions - bcc.positions.mean(axis=0)) @ Rotation.random(rng=rng).as_matrix()
    inside = bcc[np.linalg.norm(bcc.positions, axis=1) < 11.0]
    inside.positions += centre
    inside.symbols[:] = "Cu"
    atoms = fcc[np.linalg.norm(away, axis=1) > 12.5] + inside
    atoms.pbc = True
    atoms.positions += rng.normal(0.0, 0.05, atoms.positions.shape)
    return atoms


def test_a_small_crystal_of_another_phase_is_found(model, rng):
    """Between the patches or not: it does not fit, so that it is looked at; where the trial meets it, all is."""
    sampled = 0
    for _ in range(4):
        atoms = bcc_in_fcc(rng)
        few, every = run(atoms, model), run(atoms, model, sampling="off")
        sampled += few.sampled
        assert few.counts()["BCC"] == pytest.approx(every.counts()["BCC"], rel=0.02)
        assert (few.phase != every.phase).mean() < 2e-3
    assert sampled >= 2


def test_labels_do_not_depend_on_the_order_or_the_origin_of_the_atoms(model, rng):
    atoms = shaken(CRYSTALS["ROCKSALT"], rng, 0.05)
    found = run(atoms, model)
    order = rng.permutation(len(atoms))
    again = run(atoms[order], model)
    np.testing.assert_array_equal(again.phase, found.phase[order])
    np.testing.assert_allclose(again.confidence, found.confidence[order], atol=1e-5)
    moved = atoms.copy()
    moved.positions += rng.uniform(0, 1, 3) @ atoms.cell[:]
    moved.wrap()
    again = run(moved, model)  # another sample
    np.testing.assert_array_equal(again.phase, found.phase)
    np.testing.assert_allclose(again.confidence, found.confidence, atol=0.02)


def test_logits_are_there_when_asked_for(model, rng):
    atoms = shaken(CRYSTALS["FCC"], rng)
    few, every = run(atoms, model), run(atoms, model, sampling="off")
    assert few.sampled
    np.testing.assert_allclose(few.margin, every.margin, atol=1e-3)
    np.testing.assert_allclose(few.logits, every.logits, atol=1e-3)
    np.testing.assert_allclose(few.order_parameters["FCC"], every.order_parameters["FCC"], atol=1e-3)
    named = run(atoms, model, order_parameters=["FCC"])
    assert not named.sampled


@pytest.mark.parametrize(
    "settings",
    [{"sampling": "off"}, {"prior": "uniform"}, {"phases": ["FCC", "HCP"]}, {"verify": "off"}, {"keep_logits": True}],
)
def test_what_needs_all_logits_has_them(settings, model, rng):
    assert not run(shaken(CRYSTALS["FCC"], rng), model, **settings).sampled


def test_the_modifier_samples_where_no_order_parameters_are_written(rng):
    atoms = shaken(CRYSTALS["FCC"], rng)
    pipeline = Pipeline(source=StaticSource(data=ase_to_ovito(atoms)))
    modifier = MacePhaseModifier(order_parameters="none")
    pipeline.modifiers.append(modifier)
    data = pipeline.compute()
    assert data.attributes["MacePhase.counts.FCC"] == len(atoms)
    assert "Phase Margin" not in data.particles
    assert data.attributes["MacePhase.sampled"] == 1
    sampled = np.array(data.particles["Confidence"])
    modifier.confidence_threshold = float(np.median(sampled))
    data = pipeline.compute()
    assert 0 < data.attributes["MacePhase.counts.FCC"] < len(atoms)
    modifier.confidence_threshold = 0.0
    modifier.order_parameters = "FCC"
    data = pipeline.compute()
    assert "OP_FCC" in data.particles
    assert "Phase Margin" in data.particles
    assert "MacePhase.sampled" not in data.attributes
    assert data.attributes["MacePhase.counts.FCC"] == len(atoms)
