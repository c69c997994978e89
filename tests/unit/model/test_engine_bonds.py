"""Bonds out of the engine's own edges are those that a search of their own finds."""

from __future__ import annotations

import numpy as np
import pytest
from engine_tools import crystal, evaluator, random_frame

from ovito_mace_phase.atoms.bonds import BOND_LENGTH, BondCollector, find_bonds
from ovito_mace_phase.atoms.cell_grid import make_grid
from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.classification.readout.kept_logits import LogitKeeper
from ovito_mace_phase.classification.settings import Settings
from ovito_mace_phase.classification.stages import logits_of, result_of
from ovito_mace_phase.model.engine.forward import forward
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.runtime.errors import CancelledError
from ovito_mace_phase.runtime.threads import over_rows, set_threads
from ovito_mace_phase.runtime.watch import Watch


@pytest.fixture(autouse=True)
def default_threads():
    yield
    set_threads(0)


def pairs_of(bonds):
    """Bonds as pairs of the caller's atoms, sorted; one to several images of an atom is there as often."""
    centre = np.repeat(bonds.order, np.diff(bonds.offsets))
    pairs = np.stack([centre, bonds.order[bonds.neighbour]], axis=1)
    return pairs[np.lexsort(pairs.T)]


def by_engine(frame, block_size=None, **settings):
    grid, slots = frame.sorted()
    collector = BondCollector(grid)
    forward(grid, slots, evaluator(block_size=block_size), lambda *_: None, bonds=collector, **settings)
    return collector.bonds()


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, False, False)])
@pytest.mark.parametrize("n_species", [1, 2])
def test_small_triclinic_cells(rng, pbc, n_species):
    frame = random_frame(rng, n_species=n_species, pbc=pbc)
    found = pairs_of(by_engine(frame, block_size=5))
    expected = pairs_of(find_bonds(make_grid(frame.positions, frame.cell, frame.pbc, BOND_LENGTH)))
    np.testing.assert_array_equal(found, expected)


def test_an_atom_bonded_to_several_images(rng):
    frame = crystal(rng, 1, sigma=0.02)
    found = pairs_of(by_engine(frame))
    assert len(found) > len(np.unique(found, axis=0))
    expected = pairs_of(find_bonds(make_grid(frame.positions, frame.cell, frame.pbc, BOND_LENGTH)))
    np.testing.assert_array_equal(found, expected)


def test_blocks_slabs_and_threads_change_nothing(rng):
    frame = crystal(rng, (10, 4, 4), n_species=2)
    given = by_engine(frame)
    for count, block_size, memory in ((1, 64, None), (2, 100, 200_000), (5, 37, 1)):
        set_threads(count)
        found = by_engine(frame, block_size=block_size, memory=memory)
        for name in ("order", "offsets", "neighbour"):
            np.testing.assert_array_equal(getattr(found, name), getattr(given, name))


def test_begun_again_in_other_blocks(rng):
    frame = crystal(rng, 3)
    grid, slots = frame.sorted()
    collector = BondCollector(grid)
    collector.add(7, *grid.pairs(7, 30))
    with pytest.raises(RuntimeError, match="23 atoms"):
        collector.bonds()
    collector.add(7, *grid.pairs(7, 30))
    forward(grid, slots, evaluator(), lambda *_: None, bonds=collector)
    np.testing.assert_array_equal(pairs_of(collector.bonds()), pairs_of(by_engine(frame)))


@pytest.fixture(scope="module")
def model():
    return PhaseModel.load(device="cpu")


def network_frame(model, positions, cell, pbc):
    return model.network_frame(make_frame(positions, None, cell, pbc))


@pytest.mark.parametrize("n_atoms", [0, 1, 3])
def test_no_atom_one_and_all_alone(model, n_atoms):
    atoms = make_frame(40.0 * np.arange(3.0 * n_atoms).reshape(-1, 3), None, None, False)
    frame = model.network_frame(atoms, length_scale=2.35)
    kept = logits_of(frame, model, Settings())
    assert frame.has_bonds
    bonds = frame.bonds()
    assert len(bonds) == n_atoms
    assert len(bonds.neighbour) == 0
    assert (result_of(kept, model, Settings()).phase == 0).all()


def test_only_where_a_prior_needs_them(rng, model):
    given = crystal(rng, 3)
    for prior in ("local", "frame", "uniform"):
        frame = network_frame(model, given.positions, given.cell, True)
        logits_of(frame, model, Settings(prior=prior))
        assert frame.has_bonds == (prior == "local")


def test_none_of_a_frame_that_was_cancelled(rng, model):
    given = crystal(rng, 3)
    frame = network_frame(model, given.positions, given.cell, True)
    with pytest.raises(CancelledError):
        model.stream_logits(frame, lambda *_: None, watch=Watch(cancelled=lambda: True), with_bonds=True)
    assert not frame.has_bonds


def test_readout_is_the_same_with_any_number_of_threads(rng, model):
    """Bit by bit, more threads than cores among them; the logits are those of one evaluation."""
    given = crystal(rng, (11, 10, 10), sigma=0.25)
    positions = given.positions[given.positions[:, 0] > 6.0]  # two surfaces, which are Other whatever the seed
    evaluated = network_frame(model, positions, given.cell, True)
    logits = model.logits(evaluated)
    found = []
    for count in (1, 2, 7):
        set_threads(count)
        frame = network_frame(model, positions, given.cell, True)
        keeper = LogitKeeper(frame, model.phases, model.calibration.temperature, full=False)
        over_rows(lambda a, b: keeper.add(np.arange(a, b), logits[a:b]), len(frame), 300)  # noqa: B023 - used up at once
        kept = keeper.result()
        result = result_of(kept, model, Settings(keep_logits=False))
        bonds = frame.bonds()
        found.append((frame.factor, result.phase, result.confidence, kept.best, kept.log_norm, *vars(bonds).values()))
    assert len(np.unique(found[0][1])) > 1
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)
