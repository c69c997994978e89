"""The prior of the surroundings: against its equations written out, its invariances, and what it is for."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ovito_mace_phase.atoms.bonds import BOND, Bonds
from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.atoms.length_scale import TARGET_VOLUME
from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.atoms.network_frame import NetworkFrame
from ovito_mace_phase.classification.classify import classify
from ovito_mace_phase.classification.readout.kept_logits import LogitKeeper
from ovito_mace_phase.classification.readout.labels import label_atoms
from ovito_mace_phase.classification.readout.local_prior import _FLOOR, N_SWEEPS, local_labels
from ovito_mace_phase.classification.settings import Settings
from ovito_mace_phase.classification.stages import logits_of, result_of
from ovito_mace_phase.lab.crystals import cubic
from ovito_mace_phase.lab.evaluation.frames.defects import faulted, faults
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.runtime.errors import CancelledError

CALIBRATION = Calibration(temperature=1.3)


@pytest.fixture(scope="module")
def model() -> PhaseModel:
    return PhaseModel.load(None, device="cpu")


def in_network_units(frame) -> NetworkFrame:
    return NetworkFrame(frame=frame, factor=1.0, slots=np.zeros(len(frame), dtype=np.int64), r_max=6.0)


def random_bonds(rng, n_atoms: int) -> Bonds:
    """Symmetric bonds between random pairs, an atom without any among them."""
    matrix = np.triu(rng.uniform(size=(n_atoms, n_atoms)) < 0.1, 1)
    matrix = matrix | matrix.T
    matrix[0] = matrix[:, 0] = False
    return Bonds(
        order=rng.permutation(n_atoms).astype(np.int32),
        offsets=np.append(0, np.cumsum(matrix.sum(axis=1))),
        neighbour=np.nonzero(matrix)[1].astype(np.int32),
    )


def written_out(posterior: np.ndarray, bonds: Bonds) -> tuple[np.ndarray, np.ndarray]:
    """The equations of the module, atom by atom, on all phases."""
    around = [[] for _ in range(len(bonds))]
    for k, atom in enumerate(bonds.order):
        near = bonds.order[bonds.neighbour[bonds.offsets[k] : bonds.offsets[k + 1]]]
        around[atom] = [atom, *near]
    p = posterior
    for _ in range(N_SWEEPS):
        weight = np.array([p[near].mean(axis=0) for near in around])
        p = posterior * (weight + _FLOOR)
        p /= p.sum(axis=1, keepdims=True)
    best = p.argmax(axis=1)
    alike = [[b for b in near if best[b] == best[near[0]]] for near in around]
    return best, np.array([posterior[near, best[near[0]]].mean() for near in alike])


@pytest.mark.parametrize("n_phases", [1, 2, 6])
def test_kernels_follow_the_equations(rng, n_phases):
    bonds = random_bonds(rng, 60)
    posterior = rng.dirichlet(np.full(n_phases, 0.7), 60)
    columns = np.argsort(-posterior, axis=1).astype(np.int16)
    held = np.take_along_axis(posterior, columns.astype(np.int64), axis=1).astype(np.float32)
    place, confidence = local_labels(columns, held, bonds)
    best, sure = written_out(np.where(posterior < 1e-3 * posterior.max(axis=1, keepdims=True), 0.0, posterior), bonds)
    np.testing.assert_array_equal(columns[np.arange(60), place], best)
    np.testing.assert_allclose(confidence, sure, rtol=2e-3)


@pytest.mark.parametrize("pbc", [True, False, (True, False, True)])
def test_bonds_are_those_of_the_neighbour_list(rng, pbc):
    cell = np.diag([9.0, 7.0, 11.0]) + rng.uniform(-1.0, 1.0, (3, 3))
    frame = make_frame(rng.uniform(0, 9, (50, 3)), None, cell, pbc)
    bonds = in_network_units(frame).bonds()
    edges = neighbour_list(frame.positions, frame.cell, frame.pbc, BOND * TARGET_VOLUME ** (1 / 3))
    ours = np.repeat(bonds.order, np.diff(bonds.offsets)) * 50 + bonds.order[bonds.neighbour]
    np.testing.assert_array_equal(np.sort(ours), np.sort(edges.centre * 50 + edges.neighbour))


def test_no_atoms():
    bonds = in_network_units(make_frame(np.zeros((0, 3)), None, np.eye(3), True)).bonds()
    place, confidence = local_labels(np.zeros((0, 8), dtype=np.int16), np.zeros((0, 8), dtype=np.float32), bonds)
    assert len(bonds) == len(place) == len(confidence) == 0


def test_the_search_for_bonds_can_be_cancelled():
    with pytest.raises(CancelledError):
        in_network_units(fcc(3)).bonds(lambda: True)


def test_an_atom_alone_keeps_its_label_and_confidence(rng):
    logits = rng.normal(0, 3, (3, 8)).astype(np.float32)
    scores = kept(logits, make_frame(np.diag([0.0, 50.0, 90.0]), None, None, False))
    found = (label_atoms(scores, CALIBRATION, prior=prior, threshold=0.3) for prior in ("local", "uniform"))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)


def kept(logits: np.ndarray, frame, *, full: bool = True, pieces: int = 7):
    phases = tuple(phase_table())[: logits.shape[1]]
    keeper = LogitKeeper(in_network_units(frame), phases, CALIBRATION.temperature, full=full)
    for atoms in np.array_split(np.arange(len(logits)), pieces):
        keeper.add(atoms, logits[atoms])
    return keeper.result()


def fcc(repeat: int):
    positions, cell = cubic("FCC", repeat)
    return make_frame(positions, None, cell, True)


def test_a_stray_atom_joins_and_a_sure_one_stays(rng):
    frame = fcc(4)
    logits = np.zeros((len(frame), 8), dtype=np.float32)
    logits[:, 1] = 6.0
    stray, sure = 17, 150
    logits[stray, 3], logits[sure, 3] = 7.0, 20.0
    for full in (True, False):
        scores = kept(logits, frame, full=full)
        uniform, local = (label_atoms(scores, CALIBRATION, prior=prior) for prior in ("uniform", "local"))
        assert (uniform[0][[stray, sure]] == 3).all()
        assert local[0][stray] == 1
        assert local[0][sure] == 3
        np.testing.assert_array_equal(np.delete(local[0], [stray, sure]), 1)
    some = kept(logits, frame).restricted([0, 1, 3], CALIBRATION.temperature)
    assert label_atoms(some, CALIBRATION)[0][[stray, sure]].tolist() == [1, 2]


def test_the_confidence_is_no_higher_where_all_are_mistaken_alike():
    """A crystal that is 60 % one phase to every atom is 60 % that phase."""
    frame = fcc(3)
    logits = np.tile(np.log([1e-9, 0.6, 0.4]).astype(np.float32) * np.float32(1.3), (len(frame), 1))
    column, confidence, _ = label_atoms(kept(logits, frame), CALIBRATION)
    assert (column == 1).all()
    np.testing.assert_allclose(confidence, 0.6, rtol=1e-3)
    doubted = label_atoms(kept(logits, frame), CALIBRATION, threshold=0.7)
    assert (doubted[0] == 0).all()


def test_independent_of_order_place_and_supercell(rng, model):
    """Permuted, rotated, shifted and repeated, each atom gets the same answer."""
    crystal = fcc(3)
    positions = crystal.positions + rng.normal(0, 0.12, crystal.positions.shape)
    frame = dataclasses.replace(crystal, positions=positions)
    given = classify(frame.positions, None, frame.cell, True, model=model)
    order = rng.permutation(len(frame))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    moved = classify(((positions + rng.uniform(-9, 9, 3)) @ turn)[order], None, frame.cell @ turn, True, model=model)
    same = given.phase[order] == moved.phase
    assert same.mean() > 0.98  # rounding may turn an atom between two phases
    np.testing.assert_allclose(moved.confidence[same], given.confidence[order][same], atol=5e-3)
    double = np.concatenate([positions, positions + frame.cell[0]])
    cell = frame.cell * np.array([[2.0], [1.0], [1.0]])
    twice = classify(double, None, cell, True, model=model)
    assert (twice.phase.reshape(2, -1) == given.phase).mean() > 0.98


def test_a_twin_stays(rng, model):
    """The one hcp layer of a twin survives, where the prior of the frame would sweep most of it away."""
    twin = faulted("twin in FCC", dict(faults(15))["twin in FCC"], (4, 2))
    scores = logits_of(model.network_frame(twin.rattled(0.05, rng)), model, Settings())
    key = {phase.id: phase.key for phase in model.phases}
    layer = twin.truth == "HCP"
    found = {}
    for prior in ("local", "uniform"):
        result = result_of(scores, model, Settings(prior=prior))
        found[prior] = np.mean([key[number] == "HCP" for number in result.phase[layer]])
    assert found["local"] >= found["uniform"] - 0.1
    assert found["local"] > 0.8


def test_hot_crystals_are_at_least_as_right_as_without(rng, model):
    frame = fcc(6)
    shaken = dataclasses.replace(frame, positions=frame.positions + rng.normal(0, 0.24, frame.positions.shape))
    scores = logits_of(model.network_frame(shaken), model, Settings())
    right = {
        prior: (result_of(scores, model, Settings(prior=prior, verify="off")).phase == 1).mean()
        for prior in ("local", "uniform")
    }
    assert 0.5 < right["uniform"] < right["local"]
