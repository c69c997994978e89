"""The reference network against mace-torch, and the symmetries it must have."""

from __future__ import annotations

import dataclasses

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk
from mace_oracle import mace_features, small_mace, structures

from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.model.network.elements import element_rows
from ovito_mace_phase.model.network.harmonics import spherical_harmonics
from ovito_mace_phase.model.network.model_file import NetworkConfig, load_model
from ovito_mace_phase.model.reference.mace.convert import convert, convert_module, find_original
from ovito_mace_phase.model.reference.network import NetworkOutput, ReferenceNetwork
from ovito_mace_phase.model.reference.radial import bessel_basis, radial_mlp
from ovito_mace_phase.runtime.errors import InputError, ModelFileError

EXACT = 1e-10  # float64, relative to the largest value
SINGLE = 1e-5  # float32
SMALL_ELEMENTS = [1, 6, 13, 29, 83, 89, 92, 94]


@pytest.fixture(scope="module")
def seed() -> int:
    seed = int(np.random.SeedSequence().generate_state(1)[0] % 10**6)
    print(f"seed {seed}")
    return seed


@pytest.fixture(scope="module")
def small(seed: int) -> tuple[torch.nn.Module, ReferenceNetwork]:
    model = small_mace(seed, elements=SMALL_ELEMENTS)
    return model, ReferenceNetwork(*convert_module(model))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, ReferenceNetwork]:
    try:
        path = find_original()
    except InputError as error:
        pytest.skip(str(error))
    out = tmp_path_factory.mktemp("weights") / "mace_mp_0_small"
    convert(path, out)
    tensors, card = load_model(out)
    return torch.load(path, weights_only=False, map_location="cpu"), ReferenceNetwork(
        tensors, NetworkConfig.from_card(card)
    )


def evaluate(
    network: ReferenceNetwork, atoms: ase.Atoms, *, requires_grad: bool = False
) -> tuple[NetworkOutput, torch.Tensor]:
    positions = torch.tensor(atoms.positions, requires_grad=requires_grad)
    cell = np.array(atoms.cell)
    edges = neighbour_list(atoms.positions, cell, atoms.pbc, network.config.r_max)
    rows = torch.as_tensor(element_rows(atoms.numbers, network.config.elements))
    return network(positions, edges, rows, cell), positions


def all_outputs(network: ReferenceNetwork, atoms: ase.Atoms) -> np.ndarray:
    """Everything the network says about each atom in one row, (n_atoms, n_layers * (L + 1) * C)."""
    output, _ = evaluate(network, atoms)
    parts = [part for layer in output.layers for part in (layer.node_features, layer.message_invariants.flatten(1))]
    return torch.cat(parts, dim=1).double().numpy()


def assert_equals_mace(model: torch.nn.Module, network: ReferenceNetwork, atoms: ase.Atoms, rng) -> None:
    direction = rng.normal(size=(len(atoms), 2 * network.config.n_channels))
    features, gradient = mace_features(model, atoms, direction)
    output, positions = evaluate(network, atoms, requires_grad=True)
    ours = torch.cat([layer.node_features for layer in output.layers], dim=1)
    (our_gradient,) = torch.autograd.grad((ours * torch.as_tensor(direction)).sum(), positions)
    assert_close(ours.detach().numpy(), features, EXACT)
    # the gradient of one atom per cell is zero: compare on the scale of the features there
    assert_close(our_gradient.numpy(), gradient, EXACT, scale=1e-3 * np.abs(features).max())


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float, scale: float = 0.0) -> None:
    scale = max(scale, np.abs(expected).max())
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


NAMES = list(structures(np.random.default_rng(0), SMALL_ELEMENTS))


@pytest.mark.parametrize("name", NAMES)
def test_equals_mace_random_weights(small, seed: int, name: str) -> None:
    model, network = small
    rng = np.random.default_rng(seed)
    assert_equals_mace(model, network, structures(rng, SMALL_ELEMENTS)[name], rng)


@pytest.mark.parametrize("name", NAMES)
def test_equals_mace_original_weights(original, seed: int, name: str) -> None:
    model, network = original
    rng = np.random.default_rng(seed)
    assert_equals_mace(model, network, structures(rng, list(network.config.elements))[name], rng)


def test_equals_mace_every_element(original, seed: int) -> None:
    model, network = original
    assert network.config.elements == (*range(1, 84), *range(89, 95))
    rng = np.random.default_rng(seed)
    atoms = ase.Atoms(numbers=rng.permutation(network.config.elements), pbc=True, cell=[13.0, 14.5, 14.0])
    atoms.set_scaled_positions(rng.uniform(size=(89, 3)))
    assert_equals_mace(model, network, atoms, rng)


@pytest.mark.parametrize("changes", [{"max_ell": 2}, {"correlation": 2}, {"num_interactions": 3, "num_bessel": 8}])
def test_equals_mace_other_sizes(seed: int, changes: dict[str, int]) -> None:
    model = small_mace(seed, elements=[1, 29], n_channels=4, **changes)
    network = ReferenceNetwork(*convert_module(model))
    atoms = bulk("Cu", "hcp", a=2.6) * (2, 1, 1)
    atoms.rattle(0.1, seed=seed)
    output, _ = evaluate(network, atoms)
    ours = torch.cat([layer.node_features for layer in output.layers], dim=1)
    assert_close(ours.numpy(), mace_features(model, atoms, np.zeros_like(ours))[0], EXACT)


def test_single_precision(small, seed: int) -> None:
    _, network = small
    single = ReferenceNetwork(
        {name: tensor.numpy() for name, tensor in network.tensors.items()}, network.config, torch.float32
    )
    atoms = structures(np.random.default_rng(seed), SMALL_ELEMENTS)["triclinic"]
    found, expected = all_outputs(single, atoms), all_outputs(network, atoms)
    assert np.abs(found - expected).max() > 0
    assert_close(found, expected, SINGLE)


def test_message_invariants(small, seed: int) -> None:
    """Definition: l = 0 is the message itself, higher l its mean square; none depends on the products."""
    _, network = small
    atoms = ase.Atoms("CuC", positions=[[0, 0, 0], [0.4, 1.9, 0.7]])
    output, positions = evaluate(network, atoms, requires_grad=True)
    first = output.layers[0].message_invariants
    assert first.shape == (2, 4, network.config.n_channels)
    # one neighbour: A_lm = w_l Y_lm, so that the mean square over m is w_l^2, and l = 0 is w_0
    tensors, config = network.tensors, network.config
    rows = element_rows([29, 6], config.elements)
    distance = torch.tensor([np.linalg.norm(atoms.positions[1])])
    mlp = [tensors[f"layers.0.radial.{k}"] for k in range(4)]
    radial = radial_mlp(bessel_basis(distance, config.r_max, config.n_bessel, config.cutoff_p), mlp, 8)[0]
    sent = tensors["embedding"][rows[1]] @ tensors["layers.0.linear_up"]
    for degree in range(4):
        weight = (radial[degree] * sent) @ tensors[f"layers.0.linear.{degree}"]
        expected = weight if degree == 0 else weight**2
        torch.testing.assert_close(first[0, degree].detach(), expected)
    (gradient,) = torch.autograd.grad(first.sum(), positions)
    assert gradient.abs().max() > 0
    torch.testing.assert_close(gradient[0], -gradient[1])


@pytest.mark.parametrize("name", ["triclinic", "slab", "cluster"])
def test_rotation_inversion_translation(small, seed: int, name: str) -> None:
    _, network = small
    rng = np.random.default_rng(seed)
    atoms = structures(rng, SMALL_ELEMENTS)[name]
    moved = atoms.copy()
    moved.positions += rng.uniform(-30, 30, 3)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]  # proper or not
    moved.positions = moved.positions @ rotation
    moved.cell = np.array(moved.cell) @ rotation
    assert_close(all_outputs(network, moved), all_outputs(network, atoms), EXACT)


def test_permutation_and_supercell(small, seed: int) -> None:
    _, network = small
    rng = np.random.default_rng(seed)
    atoms = structures(rng, SMALL_ELEMENTS)["triclinic"]
    expected = all_outputs(network, atoms)
    order = rng.permutation(len(atoms))
    assert_close(all_outputs(network, atoms[order]), expected[order], EXACT)
    assert_close(all_outputs(network, atoms * (2, 1, 2)), np.tile(expected, (4, 1)), EXACT)


def test_features_vanish_smoothly_at_cutoff(small) -> None:
    _, network = small
    pair = ase.Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 6.0 - 1e-4]])
    alone = ase.Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 7.0]])
    assert_close(all_outputs(network, pair), all_outputs(network, alone), EXACT)


def test_gradient_reaches_the_weights(small) -> None:
    _, network = small
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    trained = ReferenceNetwork({name: t.numpy().copy() for name, t in network.tensors.items()}, network.config)
    names = [name for name in trained.tensors if not name.startswith("basis")]
    for name in names:
        trained.tensors[name].requires_grad_(True)
    output, _ = evaluate(trained, atoms)
    output.layers[1].node_features.square().sum().backward()
    assert all(trained.tensors[name].grad.abs().max() > 0 for name in names)


def test_harmonics_equal_e3nn(seed: int) -> None:
    import mace  # noqa: F401  (before e3nn, whose tables torch 2.6 and later refuse to load otherwise)
    from e3nn import o3

    vectors = torch.as_tensor(np.random.default_rng(seed).normal(size=(100, 3)))
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    for l_max in range(4):
        expected = o3.spherical_harmonics(list(range(l_max + 1)), vectors, normalize=True, normalization="component")
        torch.testing.assert_close(spherical_harmonics(unit, l_max), expected, rtol=1e-13, atol=1e-13)
    with pytest.raises(ModelFileError, match="l_max is 4"):
        spherical_harmonics(unit, 4)


def test_element_rows() -> None:
    elements = (*range(1, 84), *range(89, 95))
    np.testing.assert_array_equal(element_rows([1, 83, 89, 94], elements), [0, 82, 83, 88])
    np.testing.assert_array_equal(element_rows([29, 3, 29], (29, 3)), [0, 1, 0])
    with pytest.raises(InputError, match=r"atomic number\(s\) 0, 84, 95.*1-83, 89-94"):
        element_rows([84, 6, 95, 0], elements)


def test_missing_cell_is_said(small) -> None:
    _, network = small
    atoms = bulk("Cu")
    edges = neighbour_list(atoms.positions, np.array(atoms.cell), atoms.pbc, 6.0)
    with pytest.raises(InputError, match="cell"):
        network(torch.tensor(atoms.positions), edges, torch.tensor([0]))
    other = dataclasses.replace(edges, shifts=None)  # vectors given directly need neither
    assert network.forward_vectors(torch.tensor(edges.vectors), other, torch.tensor([0])).layers
