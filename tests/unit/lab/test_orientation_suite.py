"""Rotations and strains of the suite `orientation`, held against what they are made of; all drawn at random."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.lab.evaluation.suites import orientation
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.phases.templates import template

TABLE = phase_table()
KEYS = ("FCC", "HCP", "CUBIC_DIAMOND", "RUTILE", "LAVES_C14")


def equivalents(phase, rotation: Rotation, rng) -> Rotation:
    """The rotation written in other ways, by rotations of the crystal before it."""
    turns = template(phase).rotations
    return rotation * Rotation.from_matrix(turns[rng.integers(len(turns), size=20)])


@pytest.mark.parametrize("key", KEYS)
def test_orientations_alike_by_symmetry_are_no_angle_apart(key, rng):
    phase, rotation = TABLE.by_key(key), Rotation.random(rng=rng)
    again = equivalents(phase, rotation, rng).as_quat()
    np.testing.assert_allclose(orientation.angles(again, rotation, phase), 0.0, atol=1e-5)
    np.testing.assert_allclose(orientation.angles(-again, rotation, phase), 0.0, atol=1e-5)


@pytest.mark.parametrize("key", KEYS)
def test_a_small_turn_is_its_angle(key, rng):
    """Less than half of the smallest rotation of a crystal, 60 degrees or more."""
    phase, rotation = TABLE.by_key(key), Rotation.random(rng=rng)
    degrees = rng.uniform(0.0, 25.0, 20)
    axes = rng.normal(size=(20, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    turned = Rotation.from_rotvec(np.radians(degrees)[:, None] * axes) * equivalents(phase, rotation, rng)
    np.testing.assert_allclose(orientation.angles(turned.as_quat(), rotation, phase), degrees, atol=1e-5)


def test_no_two_cubes_are_further_apart_than_mackenzie_says(rng):
    """Largest disorientation of cubic crystals: 62.80 degrees, Mackenzie, Biometrika 45, 229 (1958)."""
    quaternions = Rotation.random(4000, rng=rng).as_quat()
    found = orientation.angles(quaternions, Rotation.random(rng=rng), TABLE.by_key("FCC"))
    assert found.max() < 62.81
    assert np.median(found) == pytest.approx(42.3, abs=1.5)  # his distribution's median


def test_a_phase_without_a_template_has_no_angles():
    with pytest.raises(ValueError, match="ICO has no template"):
        orientation.angles(np.eye(4), Rotation.identity(), TABLE.by_key("ICO"))


def test_tension_stretches_along_one_direction(rng):
    size = rng.uniform(0.01, 0.2)
    change = orientation.deformation("tension", size, rng)
    np.testing.assert_allclose(change, change.T, atol=1e-12)
    np.testing.assert_allclose(np.linalg.eigvalsh(change), [1 - 0.3 * size] * 2 + [1 + size], atol=1e-12)


def test_shear_keeps_the_volume_and_two_directions(rng):
    size = rng.uniform(0.01, 0.2)
    change = orientation.deformation("shear", size, rng)
    assert np.linalg.det(change) == pytest.approx(1.0)
    np.testing.assert_allclose(np.linalg.svd(change - np.eye(3), compute_uv=False), [size, 0, 0], atol=1e-12)
    assert np.trace(change) == pytest.approx(3.0)  # moved along a plane, not out of it


def test_directions_differ(rng):
    one, other = (orientation.deformation("tension", 0.1, rng) for _ in range(2))
    assert np.abs(one - other).max() > 1e-3


def test_crystals_are_changed_as_a_whole(rng):
    """Every bond is one of the crystal at rest, turned and strained; cell and atoms together."""
    phase, change = (
        TABLE.by_key("FCC"),
        Rotation.random(rng=rng).as_matrix() @ orientation.deformation("shear", 0.1, rng),
    )
    still, moved = (orientation.crystal(phase, 0.0, f, rng) for f in (np.eye(3), change))
    np.testing.assert_allclose(moved.cell, still.cell @ change.T, atol=1e-9)
    before, after = (neighbour_list(f.positions, f.cell, f.pbc, 4.0).vectors for f in (still, moved))
    shortest = before[np.linalg.norm(before, axis=1) < 3.0] @ change.T
    gap = np.linalg.norm(shortest[:50, None] - after[None], axis=2).min(axis=1)
    assert gap.max() < 1e-6


def test_noise_is_in_units_of_the_shortest_distance(rng):
    phase, sigma = TABLE.by_key("BCC"), rng.uniform(0.01, 0.05)
    still, moved = (orientation.crystal(phase, s, np.eye(3), rng) for s in (0.0, sigma))
    edges = neighbour_list(still.positions, still.cell, still.pbc, 4.5)
    shortest = np.linalg.norm(edges.vectors, axis=1).min()
    assert (moved.positions - still.positions).std() == pytest.approx(sigma * shortest, rel=0.1)
