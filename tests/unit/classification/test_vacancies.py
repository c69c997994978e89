"""Vacancies at random belong to a crystal; surfaces, voids and melts have none. Atoms called Other join it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.atoms.network_frame import network_frame
from ovito_mace_phase.classification.geometry.fits import fit_frame
from ovito_mace_phase.classification.geometry.kernels_vacant import fit_vacant
from ovito_mace_phase.classification.geometry.library import make_library
from ovito_mace_phase.classification.geometry.proposals import propose
from ovito_mace_phase.classification.geometry.verdict import judge
from ovito_mace_phase.lab.crystals import repeated
from ovito_mace_phase.lab.samples.disorder import push_apart
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.phases.templates import template

TABLE = phase_table()


def crystal(key, width):
    cell = TABLE.by_key(key).reference
    return repeated(cell.cell, cell.fractional, cell.species, width)


def shaken(frame, noise, rng):
    """Move the atoms by white noise, in units of the shortest distance."""
    edges = neighbour_list(frame.positions, frame.cell, frame.pbc, 5.0)
    sigma = noise * np.linalg.norm(edges.vectors, axis=1).min()
    return dataclasses.replace(frame, positions=frame.positions + sigma * rng.normal(size=frame.positions.shape))


def without(frame, lost):
    keep = np.setdiff1d(np.arange(len(frame)), lost)
    return make_frame(frame.positions[keep], frame.species[keep], frame.cell, frame.pbc)


def column_of(frame, key, rng, label=None):
    """Return the place of the verified phase of every atom, 0 for `key`, -1 for Other."""
    label = np.zeros(len(frame), dtype=np.int64) if label is None else label
    proposals = propose((TABLE.by_key(key),), label, np.zeros((len(frame), 1), dtype=np.int16))
    sure, dense = rng.uniform(0.5, 1.0, len(frame)).astype(np.float32), np.ones(len(frame), dtype=bool)
    fits = fit_frame(network_frame(frame, r_max=6.0, n_slots=8), proposals, np.where(label >= 0, sure, np.float32(0)))
    return judge(fits, label, sure, dense).column


def nearest_to(frame, point, number):
    apart = frame.positions - point
    apart -= np.round(apart @ np.linalg.inv(frame.cell)) @ frame.cell
    return np.argsort((apart**2).sum(axis=1))[:number]


@pytest.mark.parametrize("key", ["FCC", "BCC", "ROCKSALT", "FLUORITE", "PEROVSKITE", "WURTZITE", "RUTILE"])
def test_vacancies_at_random_leave_the_phase(key, rng):
    frame = crystal(key, 20.0)
    kind = int(rng.choice(np.unique(frame.species)))
    sites = np.flatnonzero(frame.species == kind)
    most = 0.06 if len(np.unique(frame.species)) == 1 else 0.1  # chance clusters of more look like voids
    share, noise = rng.uniform(0.04, most), rng.uniform(0.0, 0.06)
    lost = rng.choice(sites, max(4, round(share * len(sites))), replace=False)
    found = column_of(shaken(without(frame, lost), noise, rng), key, rng)
    assert (found == 0).mean() > 0.9, (key, kind, share, noise)


def test_a_few_vacancies_leave_their_neighbours_other(rng):
    frame = crystal("ROCKSALT", 26.0)
    lost = rng.choice(len(frame), 2, replace=False)
    found = column_of(shaken(without(frame, lost), 0.03, rng), "ROCKSALT", rng)
    assert 10 <= (found < 0).sum() <= 36


@pytest.mark.parametrize("key", ["FCC", "ROCKSALT", "FLUORITE"])
def test_a_void_is_no_vacancy(key, rng):
    frame = crystal(key, 20.0)
    size = int(rng.choice([8, 20, 40]))
    lost = nearest_to(frame, rng.uniform(size=3) @ frame.cell, size)
    left = shaken(without(frame, lost), 0.03, rng)
    around = nearest_to(left, frame.positions[lost[0]], 4)
    found = column_of(left, key, rng)
    assert (found[around] < 0).all()
    assert (found < 0).sum() > size


@pytest.mark.parametrize("key", ["FCC", "BCC", "ROCKSALT", "PEROVSKITE"])
def test_a_surface_is_no_row_of_vacancies(key, rng):
    frame = crystal(key, 22.0)
    cell = frame.cell.copy()
    cell[2] *= 1.0 + 12.0 / np.linalg.norm(cell[2])
    slab = make_frame(frame.positions, frame.species, cell, True)
    height = slab.positions @ np.linalg.inv(cell)
    top = height[:, 2] > height[:, 2].max() - 1e-3
    found = column_of(shaken(slab, 0.03, rng), key, rng)
    assert (found[top] < 0).all()
    assert (found == 0).sum() > 0.2 * len(frame)


def test_a_melt_has_no_vacancies(rng):
    frame = crystal("FCC", 20.0)
    apart = push_apart(shaken(frame, 0.4, rng).positions, frame.cell, 2.3)
    found = column_of(dataclasses.replace(frame, positions=apart), "FCC", rng)
    assert (found == 0).mean() < 0.03


def test_places_left_empty_do_not_change_the_fit(rng):
    library = make_library((template(TABLE.by_key("ROCKSALT")),))
    first, last = library.offsets[0], library.offsets[1]
    strained = np.linalg.qr(rng.normal(size=(3, 3)))[0] @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3)))
    strained *= np.sign(np.linalg.det(strained))
    shell = library.vectors[first:last]
    size = len(shell)

    def fitted(keep):
        vectors = (shell[keep] @ strained.T).astype(np.float32)
        gradient = strained @ (np.eye(3) + 0.02 * rng.normal(size=(3, 3)))
        slot, used, out = np.zeros(size, np.int16), np.zeros(size, bool), np.zeros(5)
        held = fit_vacant(library, 0, len(keep), vectors, 0.35, gradient, slot, used, out)
        return held, gradient, slot, out

    keep = np.sort(rng.choice(size, size - 3, replace=False))
    held, gradient, slot, out = fitted(keep)
    assert held
    assert out[4] == 3
    np.testing.assert_allclose(gradient, strained, atol=1e-5)
    np.testing.assert_array_equal(np.flatnonzero(slot >= 0), keep)
    assert out[1] < 1e-4
    half = np.flatnonzero(shell @ rng.normal(size=3) > 0)
    assert not fitted(half)[0]


def test_atoms_called_other_join_a_cold_crystal_and_not_a_melt(rng):
    frame = crystal("L1_2", 20.0)
    label = np.where(rng.uniform(size=len(frame)) < 0.3, -1, 0)
    assert (column_of(shaken(frame, 0.03, rng), "L1_2", rng, label) == 0).mean() > 0.98
    melt = (frame.positions @ np.linalg.inv(frame.cell))[:, 2] % 1.0 > 0.5
    moved = np.where(melt, 0.8, 0.2)[:, None] * rng.normal(size=frame.positions.shape)
    half = dataclasses.replace(frame, positions=push_apart(frame.positions + moved, frame.cell, 1.8))
    found = column_of(half, "L1_2", rng, np.where(melt, -1, 0))
    assert (found[melt] == 0).mean() < 0.05
    assert (found[~melt] == 0).mean() > 0.4
