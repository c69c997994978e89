"""Some atoms of a frame: their logits are those that they have when the whole frame is evaluated."""

from __future__ import annotations

import numpy as np
import pytest
from engine_tools import LOGITS_FLOAT32, crystal, evaluator, logits_of, random_frame, shipped

from ovito_mace_phase.atoms.some_pairs import pairs_of
from ovito_mace_phase.model.engine.forward import threads
from ovito_mace_phase.model.engine.partial import Partial


def some_logits(frame, wanted, used, budget=2**30):
    """Logits of some sorted atoms, NaN of all others, in the order of the frame."""
    grid, slots = frame.sorted()
    out = np.full((len(grid), shipped()[2].config.n_phases), np.nan, dtype=np.float32)
    counts = np.full(len(grid), -1)

    def keep(atoms, logits, n_neighbours):
        out[grid.order[atoms]], counts[atoms] = logits, n_neighbours

    with threads(used, None) as pool:
        Partial(grid, slots, used, pool, budget).run(wanted, keep)
    return grid, out, counts


@pytest.mark.parametrize("n_species", [1, 2, 3])
@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, False), (False, False, False)])
def test_some_atoms_are_what_they_are_in_the_whole_frame(n_species, pbc, rng):
    frame = random_frame(rng, n_species, pbc)
    wanted = np.flatnonzero(rng.uniform(size=len(frame.positions)) < 0.3)
    grid, found, counts = some_logits(frame, wanted, evaluator())
    atoms = grid.order[wanted]
    np.testing.assert_allclose(found[atoms], logits_of(frame)[atoms], atol=LOGITS_FLOAT32)
    assert np.isnan(found).all(axis=1).sum() == len(found) - len(wanted)
    np.testing.assert_array_equal(counts[wanted], np.diff(grid.pairs(0, len(grid))[0])[wanted])


@pytest.mark.parametrize("share", [0.01, 0.5, 1.0])
def test_any_share_any_blocks_and_any_memory(share, rng):
    frame = crystal(rng, (6, 5, 7), n_species=2)
    wanted = np.flatnonzero(rng.uniform(size=len(frame.positions)) <= share)
    _, found, _ = some_logits(frame, wanted, evaluator())
    grid, _ = frame.sorted()
    atoms = grid.order[wanted]
    np.testing.assert_allclose(found[atoms], logits_of(frame)[atoms], atol=LOGITS_FLOAT32)
    _, again, _ = some_logits(frame, wanted, evaluator(block_size=16), budget=10**5)
    np.testing.assert_allclose(again[atoms], found[atoms], atol=LOGITS_FLOAT32)


def test_edges_of_some_atoms_are_those_of_the_whole_list(rng):
    grid, _ = crystal(rng, (4, 5, 6)).sorted()
    atoms = np.flatnonzero(rng.uniform(size=len(grid)) < 0.4)
    offsets, neighbour, vectors = pairs_of(grid, atoms)
    every, number, arrows = grid.pairs(0, len(grid))
    for place, atom in enumerate(atoms):
        mine, all_of = slice(offsets[place], offsets[place + 1]), slice(every[atom], every[atom + 1])
        np.testing.assert_array_equal(neighbour[mine], number[all_of])
        np.testing.assert_allclose(vectors[mine], arrows[all_of], atol=1e-12)
