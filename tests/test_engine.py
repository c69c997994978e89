"""The numba engine against the reference in plain torch; invariances; blocks; cancelling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.build import bulk
from ovito_mace_phase.network.fused import FusedNetwork
from scipy.spatial.transform import Rotation

from ovito_mace_phase.errors import CancelledError
from ovito_mace_phase.model import SHIPPED
from ovito_mace_phase.neighbours import neighbour_list
from ovito_mace_phase.network import fused
from ovito_mace_phase.network.reference import ReferenceNetwork
from ovito_mace_phase.network.weights import NetworkConfig, load_model
from ovito_mace_phase.training.background import push_apart

TOLERANCE = 1e-4  # relative to the largest feature: float32 and the low-rank first layer


@pytest.fixture(scope="module")
def weights():
    tensors, card = load_model(SHIPPED)
    return {name: array for name, array in tensors.items() if not name.startswith("head.")}, NetworkConfig.from_card(
        card
    )


@pytest.fixture(scope="module")
def network(weights):
    return FusedNetwork(*weights)


def random_structure(rng, n_species):
    cell = np.diag(rng.uniform(5, 9, 3)) + rng.uniform(-2, 2, (3, 3))
    n_atoms = int(rng.integers(8, 40))
    positions = push_apart(rng.uniform(0, 1, (n_atoms, 3)) @ cell, cell, 0.8)
    return positions, cell, rng.permutation(6)[rng.integers(0, n_species, n_atoms)]


def reference_features(weights, positions, cell, pbc, carrier):
    """Blocks of layer 1, layer 2 and the means of layer 1 in float64, from the readable network."""
    tensors, config = weights
    edges = neighbour_list(positions, cell, pbc, config.r_max)
    output = ReferenceNetwork(tensors, config).forward(
        torch.tensor(positions), edges, torch.tensor(carrier), torch.tensor(cell)
    )
    layers = [
        torch.cat([layer.node_features, layer.message_invariants.flatten(1)], 1).numpy() for layer in output.layers
    ]
    weight = (1 - (np.linalg.norm(edges.vectors, axis=1) / config.r_max) ** 2) ** 3
    centre = np.repeat(np.arange(len(carrier)), np.diff(edges.offsets))
    means = []
    for alike in (carrier[centre] == carrier[edges.neighbour], np.ones(len(centre), dtype=bool)):
        total, norm = layers[0].copy(), np.ones(len(carrier))
        np.add.at(total, centre[alike], (weight[:, None] * layers[0][edges.neighbour])[alike])
        np.add.at(norm, centre[alike], weight[alike])
        means.append(total / norm[:, None])
    return np.stack([*layers, *means], axis=1)


@pytest.mark.parametrize("n_species", [1, 2, 6])
@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, False, False)])
def test_equals_the_reference(weights, network, rng, n_species, pbc):
    positions, cell, carrier = random_structure(rng, n_species)
    wanted = reference_features(weights, positions, cell, np.array(pbc), carrier)
    edges = neighbour_list(positions, cell, np.array(pbc), network.config.r_max)
    found = network.features(edges, carrier).reshape(wanted.shape)
    for block in range(4):
        scale = np.abs(wanted[:, block]).max()
        assert np.abs(found[:, block] - wanted[:, block]).max() < TOLERANCE * scale


def test_rotation_translation_permutation(network, rng):
    positions, cell, carrier = random_structure(rng, 3)
    plain = network.features(neighbour_list(positions, cell, np.ones(3, bool), 6.0), carrier)
    turn = Rotation.random(rng=rng).as_matrix()
    order = rng.permutation(len(carrier))
    moved = (positions @ turn.T + rng.normal(0, 50, 3))[order]
    turned = network.features(neighbour_list(moved, cell @ turn.T, np.ones(3, bool), 6.0), carrier[order])
    np.testing.assert_allclose(turned, plain[order], atol=2e-4 * np.abs(plain).max())


def test_block_size_and_choice_of_centres_change_nothing(network, rng, monkeypatch):
    crystal = bulk("Cu", a=3.7, cubic=True) * (5, 5, 5)
    positions = crystal.positions + rng.normal(0, 0.1, crystal.positions.shape)
    carrier = rng.integers(0, 2, len(positions))
    edges = neighbour_list(positions, crystal.cell[:], np.ones(3, bool), 6.0)
    whole = network.features(edges, carrier)
    some = np.sort(rng.choice(len(positions), 37, replace=False))
    np.testing.assert_allclose(network.features(edges, carrier, centres=some), whole[some], atol=1e-6)
    monkeypatch.setattr(fused, "_BLOCK", 61)
    np.testing.assert_allclose(network.features(edges, carrier), whole, atol=1e-6)


def test_progress_and_cancel(network, rng, monkeypatch):
    monkeypatch.setattr(fused, "_BLOCK", 16)
    positions, cell, carrier = random_structure(rng, 2)
    edges = neighbour_list(positions, cell, np.ones(3, bool), 6.0)
    seen: list[float] = []
    network.features(edges, carrier, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    calls = []
    with pytest.raises(CancelledError):
        network.features(edges, carrier, cancelled=lambda: calls.append(1) or len(calls) > 1)
    assert len(calls) == 2


def test_isolated_atom(network):
    edges = neighbour_list(np.zeros((1, 3)), np.zeros((3, 3)), np.zeros(3, bool), 6.0)
    assert np.isfinite(network.features(edges, np.zeros(1, dtype=np.int64))).all()
