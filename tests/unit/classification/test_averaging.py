"""Averaging over a crystal: noise goes, the coordinates of the compound and waves of strain stay, as do other atoms."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ovito_mace_phase import classify
from ovito_mace_phase.atoms.network_frame import network_frame
from ovito_mace_phase.classification.geometry.averaging import crystal_moves
from ovito_mace_phase.classification.geometry.fits import fit_frame
from ovito_mace_phase.classification.geometry.proposals import propose
from ovito_mace_phase.classification.geometry.verify import Part
from ovito_mace_phase.lab.crystals import repeated
from ovito_mace_phase.phases import phase_table

TABLE = phase_table()
NOISE = 0.10  # network units


def sites_of(key, rng, moved=0.0, width=18.0):
    """Return a crystal turned at random, one atom of its cell `moved` by so much, A."""
    cell = TABLE.by_key(key).reference
    fractional = cell.fractional.copy()
    fractional[0] += moved * np.array([0.6, 0.0, 0.8]) @ np.linalg.inv(cell.cell)
    frame = repeated(cell.cell, fractional, cell.species, width)
    turn = Rotation.random(random_state=rng).as_matrix()
    return dataclasses.replace(frame, positions=frame.positions @ turn.T, cell=frame.cell @ turn.T)


def with_positions(frame, positions):
    return dataclasses.replace(frame, positions=positions)


def moves_of(frame, key, asked=None):
    """Return moves from the positions of a frame, its own unit; all atoms labelled, or those asked for."""
    phases = (TABLE.by_key(key),)
    label = np.zeros(len(frame), dtype=np.int64)
    proposals = propose(phases, label, np.zeros((len(frame), 1), dtype=np.int16))
    here = network_frame(frame, r_max=6.0, n_slots=8)
    claim = np.linspace(0.5, 1.0, len(frame)).astype(np.float32)
    parts = (Part(atoms=np.arange(len(frame)), fits=fit_frame(here, proposals, claim, shells_kept=True)),)
    column = label if asked is None else np.where(asked, 0, -1)
    return crystal_moves(here, phases, parts, column, np.zeros((len(frame), 3))) / here.factor


def left(sites, positions):
    """Return the rms distance from the sites, a common shift taken off."""
    off = positions - sites
    return float(np.sqrt(((off - off.mean(axis=0)) ** 2).sum(axis=1).mean()))


@pytest.mark.parametrize("key", ["FCC", "CUBIC_DIAMOND", "PEROVSKITE", "SIGMA", "THC2", "KFES2"])
@pytest.mark.parametrize("moved", [0.0, 0.3])
def test_noise_goes_and_coordinates_stay(key, moved, rng):
    """An atom of the cell that lies elsewhere than in the reference stays there."""
    sites = sites_of(key, rng, moved if len(TABLE.by_key(key).reference.fractional) > 4 else 0.0)
    noisy = sites.positions + rng.normal(0.0, NOISE, sites.positions.shape)
    after = noisy + moves_of(with_positions(sites, noisy), key)
    assert left(sites.positions, after) < 0.5 * left(sites.positions, noisy)


def test_a_wave_of_strain_stays(rng):
    """What is longer than a shell is no noise."""
    sites = sites_of("PEROVSKITE", rng, width=32.0)
    phase = 2.0 * np.pi * (sites.positions @ np.linalg.inv(sites.cell))[:, 0]
    wave = 0.3 * np.sin(phase)[:, None] * sites.cell[1] / np.linalg.norm(sites.cell[1])
    moves = moves_of(with_positions(sites, sites.positions + wave), "PEROVSKITE")
    assert np.abs(moves).max() < 0.1 * np.abs(wave).max()


def test_other_atoms_stay(rng):
    """Atoms without a label do not move, and take no part."""
    sites = sites_of("SIGMA", rng)
    noisy = with_positions(sites, sites.positions + rng.normal(0.0, NOISE, sites.positions.shape))
    asked = rng.random(len(sites)) < 0.7
    moves = moves_of(noisy, "SIGMA", asked)
    assert np.abs(moves[~asked]).max() == 0.0
    assert np.abs(moves[asked]).max() > 0.0


def test_the_order_of_atoms_does_not_matter(rng):
    """Sums come in another order: equal but for rounding."""
    sites = sites_of("CUBIC_DIAMOND", rng)
    noisy = with_positions(sites, sites.positions + rng.normal(0.0, NOISE, sites.positions.shape))
    order = rng.permutation(len(sites))
    again = dataclasses.replace(noisy, positions=noisy.positions[order], species=noisy.species[order])
    np.testing.assert_allclose(moves_of(again, "CUBIC_DIAMOND"), moves_of(noisy, "CUBIC_DIAMOND")[order], atol=1e-4)


def test_classify_averages_where_labels_are_verified(rng):
    """A compound whose coordinates are its own: less is left than the network alone leaves."""
    sites = sites_of("KFES2", rng, moved=0.2)
    noisy = sites.positions + rng.normal(0.0, NOISE, sites.positions.shape)
    found = {}
    for verify in ("auto", "off"):
        result = classify(noisy, sites.species, sites.cell, True, denoise_steps=4, verify=verify)
        found[verify] = left(sites.positions, noisy + result.denoised.displacement)
        np.testing.assert_allclose(result.denoised.frame.positions, noisy + result.denoised.displacement, atol=1e-9)
    assert found["auto"] < 0.7 * found["off"]


def test_a_ferroelectric_keeps_its_polarisation(rng):
    """Titanium that all cells have off the centre of its octahedron stays there; where none has it does not move."""
    sites = sites_of("PEROVSKITE", rng, width=24.0)
    sizes = np.bincount(sites.species)
    assert len(sizes) == 3
    moved = sites.species == min(np.flatnonzero(sizes == sizes.min()), key=lambda one: nearest(sites, one))
    axis = sites.cell[2] / np.linalg.norm(sites.cell[2])
    for shift in (0.0, 0.2):
        polar = sites.positions + shift * np.outer(moved, axis)
        noisy = polar + rng.normal(0.0, NOISE, polar.shape)
        after = noisy + classify(noisy, sites.species, sites.cell, True, denoise_steps=4).denoised.displacement
        off = (after - sites.positions) @ axis
        assert off[moved].mean() - off[~moved].mean() == pytest.approx(shift, abs=0.04)


def nearest(sites, kind):
    """Return the shortest distance of an atom of one species from the others."""
    from scipy.spatial import cKDTree

    own = sites.species == kind
    return cKDTree(sites.positions[~own]).query(sites.positions[own])[0].min()
