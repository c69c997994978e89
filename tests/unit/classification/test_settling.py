"""Grains that grew from a site of another layer give way to the crystal around them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.atoms.network_frame import network_frame
from ovito_mace_phase.classification.geometry import growth
from ovito_mace_phase.classification.geometry.fits import fit_frame
from ovito_mace_phase.classification.geometry.proposals import propose
from ovito_mace_phase.lab.crystals import repeated
from ovito_mace_phase.phases import phase_table

TABLE = phase_table()
LAYERED = {"LAVES_C36": ("LAVES_C14", "LAVES_C15"), "MAX_413": ("MAX_211", "ROCKSALT"), "TA4SITE4": ("TLCO2S2",)}


def shaken(key, rng, width=20.0, noise=0.03):
    """Return a crystal strained and shaken at random."""
    cell = TABLE.by_key(key).reference
    frame = repeated(cell.cell, cell.fractional, cell.species, width)
    strain = np.eye(3) + rng.uniform(-0.03, 0.03, (3, 3))
    positions = frame.positions @ strain + rng.normal(0.0, noise, frame.positions.shape)
    return dataclasses.replace(frame, positions=positions, cell=frame.cell @ strain)


def fits_of(frame, keys, rng):
    """Fit with seeds drawn at random."""
    phases = tuple(TABLE.by_key(key) for key in keys)
    best = np.tile(np.arange(len(keys), dtype=np.int16), (len(frame), 1))
    proposals = propose(phases, np.zeros(len(frame), dtype=np.int64), best)
    claim = rng.uniform(0.9, 1.0, len(frame)).astype(np.float32)
    return fit_frame(network_frame(frame, r_max=6.0, n_slots=8), proposals, claim)


@pytest.mark.parametrize("key", LAYERED)
def test_a_crystal_of_layers_is_one_grain(key, rng):
    for _ in range(4):
        fits = fits_of(shaken(key, rng), (key, *LAYERED[key]), rng)
        assert (fits.column == 0).mean() > 0.99
        assert fits.support.mean() > 0.95


def test_without_it_layers_are_taken_for_others(rng, monkeypatch):
    monkeypatch.setattr(growth, "settle", lambda state, watch: None)
    found = [fits_of(shaken("LAVES_C36", rng), ("LAVES_C36", *LAYERED["LAVES_C36"]), rng) for _ in range(24)]
    assert any(fits.support.mean() < 0.9 for fits in found)


def test_grains_that_are_turned_stay(rng):
    """Two crystals in one frame, one turned: neither takes the other over."""
    one = shaken("LAVES_C36", rng)
    ball = one.positions - one.positions.mean(axis=0)
    inside = np.linalg.norm(ball, axis=1) < 11.0
    turned = Rotation.random(random_state=int(rng.integers(2**31))).apply(ball[inside])
    frame = make_frame(
        np.concatenate([ball[inside], turned + np.array([26.0, 0.0, 0.0])]),
        np.tile(one.species[inside], 2),
        np.diag([60.0, 40.0, 40.0]),
        (False, False, False),
    )
    fits = fits_of(frame, ("LAVES_C36", "LAVES_C15"), rng)
    for half in np.split(fits.support, 2):
        assert (half > 0.9).mean() > 0.1
    assert (fits.column[fits.support > 0.9] == 0).all()


def test_a_phase_of_fewer_species_takes_nothing_over(rng):
    """A ball of Ca7Ge, whose atoms lie on the sites of fcc, that the network takes for fcc at a quarter of them."""
    whole = shaken("A7B_CF32_225_AD_B", rng, width=36.0)
    ball = whole.positions - whole.positions.mean(axis=0)
    inside = np.linalg.norm(ball, axis=1) < 11.0
    frame = make_frame(ball[inside], whole.species[inside], np.diag([60.0] * 3), (False, False, False))
    phases = tuple(TABLE.by_key(key) for key in ("A7B_CF32_225_AD_B", "FCC"))
    label = (frame.positions[:, 0] > 6.0).astype(np.int64)
    best = np.tile(np.arange(2, dtype=np.int16), (len(frame), 1))
    claim = rng.uniform(0.9, 1.0, len(frame)).astype(np.float32)
    fits = fit_frame(network_frame(frame, r_max=6.0, n_slots=8), propose(phases, label, best), claim)
    inner = (np.linalg.norm(frame.positions, axis=1) < 6.0) & (label == 0)
    assert (fits.column[inner] == 0).mean() > 0.9
