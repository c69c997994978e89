"""Atoms at the place of another: one of them stays, the others have its answer; molecules and heaps are Other."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ovito_mace_phase.atoms.close_atoms import MOST_AT_ONE_PLACE, NO_SITE, without_close
from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.atoms.network_frame import network_frame
from ovito_mace_phase.atoms.sites import find_sites
from ovito_mace_phase.lab.crystals import cubic, repeated
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.runtime.errors import OverlapError


def sites_of(frame, automatic=True):
    return find_sites(frame, lambda left: network_frame(left, r_max=6.0, n_slots=6), automatic=automatic)


def copper(rng, n=4):
    positions, cell = cubic("FCC", n)
    return positions + rng.normal(0, 0.08, positions.shape), cell


def test_duplicates_go_and_keep_the_answer(rng):
    positions, cell = copper(rng)
    doubled = rng.choice(len(positions), 5, replace=False)
    frame = make_frame(np.concatenate([positions, positions[doubled] + 1e-4 + cell[0]]), None, cell, True)
    sites, here = sites_of(frame)
    assert len(here) == len(positions)
    values = rng.random(len(positions))
    spread = sites.spread(values, np.nan)
    np.testing.assert_array_equal(spread[len(positions) :], spread[doubled])
    assert "5 of 261 atoms (5 of type all atoms)" in sites.notes[0]
    assert "delete" in sites.notes[0]


def test_the_whole_file_twice(rng):
    positions, cell = copper(rng)
    sites, here = sites_of(make_frame(np.concatenate([positions, positions]), None, cell, True))
    assert len(here) == len(positions)
    alone = network_frame(make_frame(positions, None, cell, True), r_max=6.0, n_slots=6)
    assert here.factor == pytest.approx(alone.factor, rel=1e-12)
    assert np.array_equal(np.sort(sites.site), np.repeat(np.arange(len(positions)), 2))


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.15])
def test_shells_on_their_cores(shift, rng):
    cell = phase_table().by_key("ROCKSALT").reference
    frame = repeated(cell.cell, cell.fractional, cell.species, 14.0)
    frame = dataclasses.replace(frame, positions=frame.positions + rng.normal(0, 0.1, frame.positions.shape))
    scale = (20.0 * len(frame) / abs(np.linalg.det(frame.cell))) ** (1 / 3)  # 20 A^3 an atom
    shells = scale * frame.positions + rng.normal(0, max(shift, 1e-9) / np.sqrt(3), frame.positions.shape)
    positions = np.concatenate([scale * frame.positions, shells])
    both = make_frame(positions, np.concatenate([frame.species, frame.species + 2]), frame.cell * scale, True)
    sites, here = sites_of(both)
    assert len(here) == len(frame)
    assert here.frame.n_species == 4
    assert len(np.unique(here.frame.species)) == 2
    assert np.array_equal(sites.site[: len(frame)], sites.site[len(frame) :])


def test_the_evenly_spaced_type_stays(rng):
    positions, cell = copper(rng, 4)
    direction = rng.normal(size=positions.shape)
    off = positions + 0.15 * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    for first in (True, False):
        species = np.repeat([0, 1] if first else [1, 0], len(positions))
        kept = without_close(make_frame(np.concatenate([positions, off]), species, cell, True))
        assert np.array_equal(kept.atoms, np.arange(len(positions)))


def test_a_dilute_gas_of_molecules_is_other(rng):
    corners = 20.0 * np.indices((3, 3, 3)).reshape(3, -1).T + rng.normal(0, 1.0, (27, 3))
    direction = rng.normal(size=corners.shape)
    ends = corners + 1.1 * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    sites, here = sites_of(make_frame(np.concatenate([corners, ends]), None, np.eye(3) * 60.0, True))
    assert len(here) == 0
    assert (sites.site == NO_SITE).all()
    assert "54 of 54 atoms" in sites.notes[0]


@pytest.mark.parametrize("n_atoms", [2, 3, MOST_AT_ONE_PLACE + 1, 5000])
def test_all_atoms_at_one_point(n_atoms):
    frame = make_frame(np.ones((n_atoms, 3)), None, np.eye(3) * 10.0, True)
    sites, here = sites_of(frame)
    assert len(here) == 0
    assert f"{n_atoms} of {n_atoms} atoms" in sites.notes[0]


def test_a_heap_in_a_crystal(rng):
    positions, cell = copper(rng)
    heap = np.zeros((200, 3)) + positions[7]
    sites, here = sites_of(make_frame(np.concatenate([positions, heap]), None, cell, True))
    assert len(here) == len(positions) - 1
    assert (sites.site == NO_SITE).sum() == 201


def test_a_crystal_beside_a_gas_is_left_alone(rng):
    positions, _ = cubic("FCC", 2)
    gas = rng.random((600, 3)) * 400.0 + [30.0, 30.0, 30.0]
    sites, here = sites_of(make_frame(np.concatenate([positions, gas]), None, np.eye(3) * 430.0, True))
    assert (sites.site is None) or (sites.site[: len(positions)] >= 0).all()
    assert np.isfinite(here.factor)


def test_below_the_entrance_an_overlap_is_an_error(rng):
    positions, cell = copper(rng)
    positions[3] = positions[9]
    with pytest.raises(OverlapError, match="index 3 and 9"):
        network_frame(make_frame(positions, None, cell, True), r_max=6.0, n_slots=6)


def test_answers_do_not_depend_on_the_order(rng):
    positions, cell = copper(rng)
    every = np.concatenate([positions, positions[:20], positions[:3] + 0.001])
    order = rng.permutation(len(every))
    here, there = (without_close(make_frame(places, None, cell, True)) for places in (every, every[order]))
    np.testing.assert_allclose(every[here.atoms][here.site][order], every[order][there.atoms][there.site], atol=1e-12)
