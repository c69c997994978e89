"""Distortion of a crystal: heat goes out of it, other coordinates do not; far from its template nobody is sure."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ovito_mace_phase.atoms.network_frame import network_frame
from ovito_mace_phase.classification.geometry.fits import fit_frame
from ovito_mace_phase.classification.geometry.proposals import propose
from ovito_mace_phase.classification.geometry.verdict import DISTORTED, UNSURE, judge
from ovito_mace_phase.lab.crystals import repeated
from ovito_mace_phase.phases import phase_table

TABLE = phase_table()
STRANGE = ("SIGMA", "LAVES_C36", "DELAFOSSITE_3R", "THC2", "KFES2")
FREE = ("DELAFOSSITE_3R", "THC2", "KFES2")  # moving one atom of their cells moves many of a site alike
D_NN = 2.2  # about, network units: at 13 A^3 per atom


def crystal(key, noise, rng, moved=0.0, width=18.0):
    """Return a crystal turned and shaken at random; one atom of its cell `moved` by so much, A."""
    cell = TABLE.by_key(key).reference
    fractional = cell.fractional.copy()
    direction = np.random.default_rng(5).normal(size=3)
    fractional[0] += moved * direction / np.linalg.norm(direction) @ np.linalg.inv(cell.cell)
    frame = repeated(cell.cell, fractional, cell.species, width)
    turn = Rotation.random(random_state=rng).as_matrix()
    positions = (frame.positions + rng.normal(0.0, noise, frame.positions.shape)) @ turn.T
    return dataclasses.replace(frame, positions=positions, cell=frame.cell @ turn.T)


def fits_of(frame, key):
    best = np.zeros((len(frame), 1), dtype=np.int16)
    proposals = propose((TABLE.by_key(key),), np.zeros(len(frame), dtype=np.int64), best)
    claim = np.linspace(0.5, 1.0, len(frame)).astype(np.float32)
    return fit_frame(network_frame(frame, r_max=6.0, n_slots=8), proposals, claim)


def confidence_of(fits):
    n_atoms = len(fits.template)
    label, sure = np.zeros(n_atoms, dtype=np.int64), np.full(n_atoms, 0.99, dtype=np.float32)
    return judge(fits, label, sure, np.ones(n_atoms, dtype=bool))


@pytest.mark.parametrize("key", STRANGE)
def test_heat_is_no_distortion(key, rng):
    """The mean over the crystal is near the template where each atom is not."""
    fits = fits_of(crystal(key, 0.05 * D_NN, rng), key)
    matched = fits.template >= 0
    assert matched.mean() > 0.99
    assert np.median(fits.rmsd[matched]) > 0.04
    assert np.nanmax(fits.distortion[matched]) < 0.02
    assert not np.isnan(fits.distortion[matched]).any()


@pytest.mark.parametrize("key", FREE)
def test_other_coordinates_are_seen_through_heat(key, rng):
    """The same distortion is found with noise and without, and no order of the atoms changes it."""
    cold = fits_of(crystal(key, 0.0, rng, moved=0.3), key).distortion
    frame = crystal(key, 0.03 * D_NN, rng, moved=0.3)
    hot = fits_of(frame, key).distortion
    assert np.nanmedian(cold) > 0.02
    assert np.nanmedian(hot) == pytest.approx(np.nanmedian(cold), rel=0.25)
    order = rng.permutation(len(frame))
    again = fits_of(dataclasses.replace(frame, positions=frame.positions[order], species=frame.species[order]), key)
    assert np.nanmedian(again.distortion) == pytest.approx(np.nanmedian(hot), rel=0.1)


@pytest.mark.parametrize("key", FREE[1:])
def test_nobody_is_sure_of_a_distorted_crystal(key, rng):
    """What is far from its template keeps the label, in doubt."""
    near, far = (fits_of(crystal(key, 0.02 * D_NN, rng, moved=by), key) for by in (0.0, 0.8))
    distorted = (far.template >= 0) & (far.distortion > DISTORTED)
    assert distorted.mean() > 0.5
    label = confidence_of(far)
    assert (label.column >= 0)[distorted].any()
    kept = distorted & (label.column >= 0)
    assert label.confidence[kept].max() <= np.float32(UNSURE)
    assert np.median(confidence_of(near).confidence) > 0.9


def test_common_phases_are_not_asked(rng):
    """Alloys and strained crystals of them are what people simulate."""
    fits = fits_of(crystal("ROCKSALT", 0.05 * D_NN, rng), "ROCKSALT")
    assert np.isnan(fits.distortion).all()
