"""Which types are alike: random sublattices and marks are, ordered compounds are not, hot and cold."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.atoms.interchangeable import evenness, interchangeable
from ovito_mace_phase.atoms.surroundings import N_BINS, WIDTH, surroundings
from ovito_mace_phase.lab.crystals import cubic, repeated
from ovito_mace_phase.lab.evaluation.suites.interchangeable import (
    clusters,
    grains,
    grips,
    many,
    partly_ordered,
    twin_layers,
    unlike_sizes,
)
from ovito_mace_phase.phases import phase_table

ORDERED = ("ROCKSALT", "CSCL", "L1_2", "L1_0", "L1_1", "WC", "CHALCOPYRITE", "HEUSLER_L2_1", "ALPHA_NAFEO2", "MOSI2")
HOT = 0.07  # of the neighbour distance of about 2.5 A


def crystal(key, rng, width=11.0, sigma=HOT):
    """A crystal of the table, hot, scaled to V = 13 A^3."""
    cell = phase_table().by_key(key).reference
    scale = (13.0 * len(cell.species) / abs(np.linalg.det(cell.cell))) ** (1 / 3)
    frame = repeated(cell.cell * scale, cell.fractional, cell.species, width)
    return dataclasses.replace(frame, positions=frame.positions + rng.normal(0, sigma * 2.3, frame.positions.shape))


def retyped(frame, species):
    return make_frame(frame.positions, species, frame.cell, frame.pbc)


@pytest.mark.parametrize("key", ORDERED)
@pytest.mark.parametrize("sigma", [0.0, HOT])
def test_ordered_types_stay_apart(key, sigma, rng):
    frame = crystal(key, rng, sigma=sigma)
    assert interchangeable(frame) == tuple((code,) for code in range(frame.n_species))


@pytest.mark.parametrize("key", ["FCC", "BCC", "ROCKSALT", "FLUORITE", "ALPHA_NAFEO2", "PEROVSKITE"])
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_types_at_random_on_one_sublattice_are_alike(key, share, rng):
    frame = crystal(key, rng, width=13.0)
    mixed = int(rng.integers(frame.n_species))
    atoms = np.flatnonzero(frame.species == mixed)
    species = frame.species.copy()
    species[rng.choice(atoms, round(share * len(atoms)), replace=False)] = frame.n_species
    wanted = [(code,) for code in range(frame.n_species) if code != mixed] + [(mixed, frame.n_species)]
    assert interchangeable(retyped(frame, species)) == tuple(sorted(wanted))


@pytest.mark.parametrize("make", [clusters, grains, grips, many, twin_layers, unlike_sizes, partly_ordered])
def test_marks_alloys_and_partial_order(make, rng):
    frame, species = make(rng)
    group_of = {code: k for k, group in enumerate(interchangeable(frame)) for code in group}
    for a in range(frame.n_species):
        for b in range(a):
            assert (group_of[a] == group_of[b]) == (species[a] == species[b])


@pytest.mark.parametrize("pure", [True, False])
def test_a_precipitate_keeps_its_types(pure, rng):
    positions, cell = cubic("FCC", 9)
    corner = (np.arange(len(positions)) % 4 == 0).astype(int)
    inside = np.linalg.norm(positions - cell.sum(axis=0) / 2, axis=1) < 0.38 * cell[0, 0]
    matrix = np.zeros(len(positions), dtype=int) if pure else (rng.random(len(positions)) < 0.2).astype(int)
    frame = make_frame(positions + rng.normal(0, 0.12, positions.shape), np.where(inside, corner, matrix), cell, True)
    assert interchangeable(frame) == ((0,), (1,))


def test_names_order_unit_and_origin_do_not_matter(rng):
    frame = crystal("ROCKSALT", rng, width=14.0)
    species = frame.species.copy()
    species[rng.choice(np.flatnonzero(species == 0), 40, replace=False)] = 2
    order, names = rng.permutation(len(frame)), rng.permutation(3)
    plain = interchangeable(retyped(frame, species))
    positions = 0.1 * (frame.positions + rng.normal(0, 30, 3))[order]
    other = interchangeable(make_frame(positions, names[species[order]], frame.cell * 0.1, True))
    assert plain == ((0, 2), (1,))
    assert {frozenset(names[list(group)].tolist()) for group in plain} == {frozenset(group) for group in other}


def test_one_type_and_no_atoms_cost_nothing(monkeypatch):
    monkeypatch.setattr("ovito_mace_phase.atoms.interchangeable.surroundings", lambda *_: pytest.fail("looked at"))
    assert interchangeable(make_frame(np.zeros((0, 3)), [], None, None)) == ()
    assert interchangeable(make_frame(np.eye(3), ["a"] * 3, None, None)) == ((0,),)


@pytest.mark.parametrize("pbc", [True, False, (True, True, False)])
def test_counts_are_those_of_all_pairs(pbc, rng):
    positions, cell = cubic("FCC", 5)
    positions = positions + rng.normal(0, 0.1, positions.shape)
    species = rng.integers(0, 3, len(positions))
    found = surroundings(make_frame(positions, species, cell, pbc))
    assert found.counts.shape == (len(positions), 3, N_BINS)
    shifts = np.stack(np.meshgrid(*[[-1, 0, 1] if one else [0] for one in np.broadcast_to(pbc, 3)], indexing="ij"), -1)
    images = (positions[:, None] + shifts.reshape(-1, 3) @ cell).reshape(-1, 3)
    far = np.linalg.norm(positions[:, None] - images[None], axis=2)
    kinds = np.repeat(species, len(images) // len(positions))
    # the unit is not known here: the number within reach follows from the counts, and then all distances
    total = found.counts.sum()
    reach = np.sort(far[far > 1e-9])[total - 1 : total + 1].mean()
    for kind in range(3):
        here = far[:, kinds == kind]
        pairs = here[(here > 1e-9) & (here < reach)]
        by_bin = np.histogram(pairs, np.arange(N_BINS + 1) * reach / N_BINS)[0]
        assert abs(by_bin - found.counts[:, kind].sum(axis=0)).sum() <= 0.02 * max(1, by_bin.sum())
    assert reach / (WIDTH * N_BINS) == pytest.approx(
        (13.0 * abs(np.linalg.det(cell)) / len(positions) / 13.0) ** (1 / 3), rel=0.2
    )


def test_a_sample_of_a_large_frame_is_enough(rng):
    positions, cell = cubic("FCC", 14)
    frame = make_frame(positions + rng.normal(0, 0.1, positions.shape), rng.integers(0, 2, len(positions)), cell, True)
    part = surroundings(frame, most_centres=3000)
    assert 2000 < len(part.species) < 4000
    order = rng.permutation(len(positions))
    again = surroundings(make_frame(frame.positions[order], frame.species[order], cell, True), most_centres=3000)
    assert np.array_equal(np.sort(part.counts.sum(axis=(1, 2))), np.sort(again.counts.sum(axis=(1, 2))))


@pytest.mark.parametrize("key", ["CHALCOPYRITE", "DELAFOSSITE_3R", "LAVES_C36"])
def test_numbers_of_neighbours_are_even_in_order_and_not_at_random(key, rng):
    frame = crystal(key, rng, sigma=0.0)

    def measured(given):
        around = surroundings(given)
        chosen = around.species < 2
        second = around.species[chosen] == 1
        counts = around.counts[chosen].astype(np.float32)
        return evenness(counts[:, 1], counts[:, :2].sum(axis=1), second)

    assert measured(frame) < 0.35
    mixed = [measured(retyped(frame, rng.permutation(frame.species))) for _ in range(16)]
    assert 0.7 < np.mean(mixed) < 1.2  # 0.9, and 0.15 from one permutation of 200 to 500 atoms to another
