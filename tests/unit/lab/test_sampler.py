"""Noise, pools and streams: the law of a sample is the same however many come from one crystal."""

from __future__ import annotations

import dataclasses
from itertools import islice, pairwise

import numpy as np
import pytest
from scipy.stats import ks_2samp

from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.lab.data.structures import reference_structures
from ovito_mace_phase.lab.samples.disorder import push_apart
from ovito_mace_phase.lab.samples.noise import ThermalNoise
from ovito_mace_phase.lab.samples.pool import PoolSettings, pooled
from ovito_mace_phase.lab.samples.sampler import CleanCrystal, SampleSettings, supercell
from ovito_mace_phase.lab.samples.source import SampleMix, SampleSource
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.runtime.errors import OverlapError

PHASES = tuple(phase for phase in phase_table() if phase.key in {"OTHER", "FCC", "ROCKSALT", "CUBIC_DIAMOND", "ICE_IH"})
ALL = np.ones(3, dtype=bool)


def crystal(key, least=60):
    structure = next(s for s in reference_structures(PHASES, []) if PHASES[s.phase].key == key)
    cell, fractional, _ = supercell(structure, least)
    return fractional @ cell, cell


@pytest.fixture
def source():
    return SampleSource(PHASES, reference_structures(PHASES, []), [], 6)


def network(positions, cell, transverse):
    """The spring matrix as `noise` writes it, pinned; also pairs, their distances and directions."""
    edges = neighbour_list(positions, cell, ALL, 4.2)
    distance = np.linalg.norm(edges.vectors, axis=1)
    direction = edges.vectors / distance[:, None]
    n = len(positions)
    matrix = np.zeros((n, 3, n, 3))
    for a, b, r, e in zip(edges.centre, edges.neighbour, distance, direction, strict=True):
        block = (2.5 / r) ** 6 * ((1 - transverse) * np.outer(e, e) + transverse * np.eye(3))
        matrix[a, :, b] -= block
        matrix[a, :, a] += block
    matrix = matrix.reshape(3 * n, 3 * n)
    return matrix + 0.02 * np.trace(matrix) / (3 * n) * np.eye(3 * n), edges, distance, direction


@pytest.mark.parametrize("key", ["FCC", "ROCKSALT", "CUBIC_DIAMOND", "ICE_IH"])
def test_correlated_noise_is_the_thermal_ensemble_of_the_springs(rng, monkeypatch, key):
    """Correlations of all pairs of components against the inverse of the matrix, without the cap of melting."""
    transverse = rng.uniform(0.05, 0.4)
    monkeypatch.setattr("ovito_mace_phase.lab.samples.noise._TRANSVERSE", (transverse, transverse))
    monkeypatch.setattr("ovito_mace_phase.lab.samples.noise.LINDEMANN", 1e6)
    positions, cell = crystal(key, 32)
    noise, n = ThermalNoise(positions, cell, together=500), len(positions)
    drawn = np.array([noise.correlated(0.1, rng) for _ in range(4000)])
    np.testing.assert_allclose(drawn.mean(axis=1), 0.0, atol=1e-6)
    np.testing.assert_allclose(np.sqrt((drawn**2).mean(axis=(1, 2))), 0.1, rtol=1e-5)
    root = np.linalg.cholesky(network(positions, cell, transverse)[0])
    dense = np.linalg.solve(root.T, rng.normal(size=(3 * n, 20000))).T.reshape(-1, n, 3)
    dense -= dense.mean(axis=1, keepdims=True)
    dense *= 0.1 / np.sqrt((dense**2).mean(axis=(1, 2)))[:, None, None]
    expected, found = (one.reshape(-1, 3 * n).T @ one.reshape(-1, 3 * n) / len(one) for one in (dense, drawn))
    largest = expected.diagonal().max()
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.03 * largest  # chance alone: 1 / sqrt(4000) = 0.016
    near = np.abs(expected) > 0.2 * largest
    assert np.sum(expected[near] * found[near]) / np.sum(expected[near] ** 2) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("key", ["FCC", "ROCKSALT", "ICE_IH"])
def test_one_crystal_stretches_bonds_as_many_do(rng, key):
    """Amplitude and rms stretch of bonds: a dense factor in double precision against many fields of one in single."""
    positions, cell = crystal(key)
    _, edges, distance, direction = network(positions, cell, 0.2)
    nearest = np.minimum.reduceat(np.minimum(distance, 3.0), edges.offsets[:-1])
    short = distance < 1.15 * nearest[edges.centre]

    def stretch(field):
        along = ((field[edges.neighbour] - field[edges.centre]) * direction).sum(axis=1) / distance
        return np.sqrt(np.mean(along[short] ** 2))

    def dense(matrix):
        field = np.linalg.solve(np.linalg.cholesky(matrix).T, rng.normal(size=len(matrix))).reshape(-1, 3)
        field -= field.mean(axis=0)
        return field * min(0.1 / np.sqrt(np.mean(field**2)), np.sqrt(2) * 0.12 / stretch(field))

    matrices = [network(positions, cell, rng.uniform(0.05, 0.4))[0] for _ in range(12)]
    expected = [dense(matrix) for matrix in matrices for _ in range(20)]
    noises = [ThermalNoise(positions, cell, together=20) for _ in range(12)]
    found = [noise.correlated(0.1, rng) for noise in noises for _ in range(20)]
    for measure in (stretch, np.std):
        one, other = ([measure(field) for field in fields] for fields in (expected, found))
        assert np.mean(one) == pytest.approx(np.mean(other), rel=0.1)
    assert max(map(stretch, found)) <= np.sqrt(2) * 0.12 * (1 + 1e-5)


@pytest.mark.parametrize("kind", ["white", "correlated"])
def test_noise_has_the_amplitude_asked_for(rng, kind):
    noise = ThermalNoise(*crystal("FCC", 100))
    assert np.std([getattr(noise, kind)(0.1, rng) for _ in range(20)]) == pytest.approx(0.1, rel=0.05)


def test_correlated_noise_moves_neighbours_together(rng):
    positions, cell = crystal("FCC", 100)
    edges = neighbour_list(positions, cell, ALL, 3.0)
    direction = edges.vectors / np.linalg.norm(edges.vectors, axis=1)[:, None]
    share = {}
    for kind in ("white", "correlated"):
        along = []
        for _ in range(80):
            move = getattr(ThermalNoise(positions, cell), kind)(0.1, rng)
            along.append((np.sum(move[edges.centre] * direction, 1), np.sum(move[edges.neighbour] * direction, 1)))
        first, second = np.concatenate(along, axis=1)
        share[kind] = np.mean(first * second) / np.mean(first**2)
    assert abs(share["white"]) < 0.1
    assert share["correlated"] > 0.15


def test_no_noise_beyond_melting(rng):
    noise = ThermalNoise(*crystal("FCC", 100))
    assert np.std(noise.white(5.0, rng)) < 0.4
    assert np.std(noise.correlated(5.0, rng)) < 0.8


def test_bound_groups_move_together(rng):
    """Hydrogen has the share of its oxygen on top of its own."""
    positions, cell = crystal("ICE_IH")
    edges = neighbour_list(positions, cell, ALL, 1.3)
    noise = ThermalNoise(positions, cell)
    moves = np.array([noise.white(0.05, rng) for _ in range(400)])
    first, second = moves[:, edges.centre], moves[:, edges.neighbour]
    assert np.mean(first * second) / np.mean(first**2) == pytest.approx(0.5, abs=0.06)


def test_atoms_are_pushed_as_by_all_pairs_anew_in_every_turn(rng):
    cell = np.eye(3) * 8.0 + rng.uniform(-0.5, 0.5, (3, 3))
    least = rng.uniform(1.2, 2.5)
    positions = rng.uniform(0.0, 1.0, (45, 3)) @ cell
    expected = positions.copy()
    for _ in range(40):
        edges = neighbour_list(expected, cell, ALL, least)
        distance = np.linalg.norm(edges.vectors, axis=1)
        push = edges.vectors * (0.5 * (distance - least) / np.maximum(distance, 1e-3))[:, None]
        np.add.at(expected, edges.centre, push)
    np.testing.assert_allclose(push_apart(positions, cell, least), expected, atol=1e-7)


def test_every_crystal_of_a_pool_is_used_as_often_as_it_should():
    """Drawn with a fixed seed: only the order is random."""
    made = []

    def make(_):
        made.append(0)
        number = len(made) - 1
        return lambda _: number

    settings = PoolSettings(crystals=12, uses=5)
    drawn = list(islice(pooled(make, settings, np.random.default_rng(0)), 12 * 40))
    assert all(one != other for one, other in pairwise(drawn))
    for start in range(0, len(drawn), 12):
        assert len(set(drawn[start : start + 12])) == 12
    counts = np.bincount(drawn)
    assert (counts[12:84] == 5).all()
    assert set(counts[:12]) == {1, 2, 3, 4, 5}


def test_a_stream_is_the_same_for_the_same_key(source):
    mix = SampleMix(stackings=0.0, pool=PoolSettings(crystals=6, uses=4))
    one, again, other = (list(islice(source.stream(mix, key), 40)) for key in ((3, 1), (3, 1), (3, 2)))
    for (a, label), (b, same) in zip(one, again, strict=True):
        assert label == same
        np.testing.assert_array_equal(a.frame.positions, b.frame.positions)
        np.testing.assert_array_equal(a.slots, b.slots)
    assert not any(np.array_equal(a.displacement, b.displacement) for (a, _), (b, _) in zip(one, other, strict=True))


def test_samples_of_one_crystal_differ_in_all_that_is_drawn_afresh(source):
    mix = SampleMix(background=0.0, stackings=0.0, pool=PoolSettings(crystals=1, uses=30))
    drawn = [sample for sample, _ in islice(source.stream(mix, (5,)), 31)][1:]  # the first crystal has one use
    sigma = [sample.sigma for sample in drawn]
    assert len(set(sigma)) == len(drawn)
    scale = [abs(np.linalg.det(sample.frame.cell)) for sample in drawn]
    assert len({round(one, 9) for one in scale}) == len(drawn)
    shape = [sample.frame.cell / np.cbrt(volume) for sample, volume in zip(drawn, scale, strict=True)]
    np.testing.assert_allclose(shape, np.broadcast_to(shape[0], (30, 3, 3)), atol=1e-12)


def test_streams_and_single_draws_have_one_law(rng, source):
    """Two-sample tests of size, noise, density, strain and slots; one false alarm in 2000 runs of the test."""
    mix = SampleMix(stackings=0.0, pool=PoolSettings(crystals=64, uses=3))
    key = int(rng.integers(2**31))
    streamed = list(islice(source.stream(mix, (key,)), 600))
    single = [source.draw_any(mix, rng) for _ in range(600)]

    def measures(sample):
        cell = sample.frame.cell
        metric = cell @ cell.T
        known = np.isfinite(sample.displacement).all()
        return (
            sample.sigma,
            len(sample.slots),
            np.sqrt(np.mean(sample.displacement**2)) if known else -1.0,
            abs(np.linalg.det(cell)) / len(sample.slots),
            metric[0, 1] / np.sqrt(metric[0, 0] * metric[1, 1]),
            float(sample.slots.mean()),
            float(sample.frame.pbc.all()),
        )

    one, other = (np.array([measures(sample) for sample, _ in drawn]).T for drawn in (streamed, single))
    for few, many in zip(one, other, strict=True):  # samples of a crystal are alike: their number counts for less
        assert ks_2samp(few, many, method="asymp").pvalue > 1e-6
    share = [np.bincount([label for _, label in drawn], minlength=len(PHASES)) / 600 for drawn in (streamed, single)]
    np.testing.assert_allclose(*share, atol=0.2)


def test_larger_supercells(source):
    sample = dataclasses.replace(SampleSettings(), atoms=(150, 200))
    mix = SampleMix(background=0.0, stackings=0.0, sample=sample, pool=PoolSettings(crystals=3, uses=2))
    sizes = [len(one.slots) for one, _ in islice(source.stream(mix, (1,)), 12)]
    assert max(sizes) <= 200
    assert np.mean(sizes) > 120


def test_a_failing_sample_is_replaced_and_its_crystal_stays(source, monkeypatch):
    """Another crystal of the phase gives the sample; later ones are of the first again."""
    seen, drawn = [], CleanCrystal.sample

    def second_one_fails(self, rng):
        seen.append(self)
        if len(seen) == 2:
            raise OverlapError("two atoms at the same place")
        return drawn(self, rng)

    monkeypatch.setattr(CleanCrystal, "sample", second_one_fails)
    mix = SampleMix(background=0.0, stackings=0.0, pool=PoolSettings(crystals=1, uses=30))
    labels = [label for _, label in islice(source.stream(mix, (4,)), 6)][1:]
    assert len(set(labels)) == 1
    assert seen[1] is not seen[2]
    assert len(set(map(id, [seen[1], *seen[3:]]))) == 1


def test_phases_take_the_place_of_what_cannot_be_drawn(source, rng, monkeypatch):
    """A share without samples of its kind must not become another kind's."""
    monkeypatch.setattr(source, "dynamics", [])
    monkeypatch.setattr(type(source), "has_stackings", False)
    monkeypatch.setattr(source, "kinds", object())  # whatever is asked of it fails
    mix = SampleMix(background=0.0, dynamics=0.5, stackings=0.5, unlisted=0.0, kinds=0.0)
    labels = [source.draw_any(mix, rng)[1] for _ in range(20)]
    assert min(labels) > 0
