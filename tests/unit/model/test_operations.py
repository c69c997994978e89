"""Kernels for CPU and GPU and padded torch operations against sums written out, with gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from device_tools import missing, triton_operations

from ovito_mace_phase.model.network.harmonics import spherical_harmonics
from ovito_mace_phase.model.network.operations.numba_operations import NumbaOperations
from ovito_mace_phase.model.network.operations.protocol import BlockGraph, Polynomial, Spline
from ovito_mace_phase.model.network.operations.torch_operations import TorchOperations

R_MAX = 6.0
CHANNELS = 8
COUNTS = (0, 1, 3, 5, 72, 300, 4)  # neighbours of the centres
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-11}
IMPLEMENTATIONS = [NumbaOperations(), TorchOperations()]
CASES = [
    pytest.param(ops, dtype, id=f"{type(ops).__name__}-{str(dtype)[6:]}")
    for ops in IMPLEMENTATIONS
    for dtype in TOLERANCE
]
CASES += [
    pytest.param(
        triton_operations(),
        dtype,
        id=f"TritonOperations-{str(dtype)[6:]}",
        marks=pytest.mark.skipif(bool(missing()), reason=missing() or "runs"),
    )
    for dtype in TOLERANCE
]


def cases(test):
    return pytest.mark.parametrize(("ops", "dtype"), CASES)(test)


def random_graph(rng, n_rows=20):
    count = np.array(COUNTS)
    offsets = np.concatenate([[0], np.cumsum(count)])
    direction = rng.normal(size=(offsets[-1], 3))
    distance = rng.uniform(1.0, R_MAX * 1.02, offsets[-1])  # some a little beyond the cutoff
    vectors = direction / np.linalg.norm(direction, axis=1)[:, None] * distance[:, None]
    return BlockGraph(
        offsets=torch.from_numpy(offsets),
        index=torch.from_numpy(rng.integers(0, n_rows, offsets[-1])),
        vectors=torch.from_numpy(vectors).requires_grad_(),
        own=torch.from_numpy(rng.permutation(n_rows)[: len(count)]),
    )


def random_spline(rng, width, dtype):
    """A smooth function that vanishes at the cutoff with its slope, as all radial functions do."""
    values = torch.from_numpy(rng.normal(size=(9, 2, width)))
    values[-1] = 0.0
    return Spline(values=values.to(dtype), scale=8 * (R_MAX + 2) / R_MAX, stretch=2.0, r_max=R_MAX)


def radial(spline, distance):
    """The spline in float64, knot by knot."""
    table = spline.values.double()
    position = spline.scale * distance / (distance + spline.stretch)
    knot = position.detach().floor().long().clamp(max=len(table) - 2)
    t = (position - knot)[:, None]
    value = (2 * t**3 - 3 * t**2 + 1) * table[knot, 0] + (t**3 - 2 * t**2 + t) * table[knot, 1]
    value = value + (3 * t**2 - 2 * t**3) * table[knot + 1, 0] + (t**3 - t**2) * table[knot + 1, 1]
    return value * (distance < R_MAX)[:, None]


def edge_functions(graph, spline, l_max):
    distance = graph.vectors.norm(dim=1)
    return radial(spline, distance), spherical_harmonics(graph.vectors / distance[:, None], l_max)


def sum_over_neighbours(graph, values):
    centre = torch.repeat_interleave(torch.arange(len(COUNTS)), graph.offsets.diff())
    return values.new_zeros(len(COUNTS), *values.shape[1:]).index_add(0, centre, values)


def compare(found, wanted, inputs, dtype, rng):
    """Values, and gradients of a random combination by all inputs, relative to the largest."""
    tolerance = TOLERANCE[dtype]
    assert found.dtype == dtype
    scale = wanted.abs().max()
    assert (found.double() - wanted).abs().max() < tolerance * scale
    mix = torch.from_numpy(rng.normal(size=tuple(wanted.shape)))
    mine = torch.autograd.grad((found * mix.to(dtype)).sum(), inputs, retain_graph=True)
    exact = torch.autograd.grad((wanted * mix).sum(), inputs)
    for a, b in zip(mine, exact, strict=True):
        assert (a.double() - b.double()).abs().max() < 20 * tolerance * b.abs().max()


@cases
@pytest.mark.parametrize("l_max", [0, 1, 2, 3])
def test_convolve(ops, dtype, l_max, rng):
    graph, spline = random_graph(rng), random_spline(rng, (l_max + 1) * CHANNELS, dtype)
    source = torch.from_numpy(rng.normal(size=(20, CHANNELS))).to(dtype).requires_grad_()
    found = ops.convolve(graph, graph.index, source, spline)
    functions, harmonics = edge_functions(graph, spline, l_max)
    functions = functions.reshape(len(graph.index), l_max + 1, CHANNELS)
    degree = torch.tensor([d for d in range(l_max + 1) for _ in range(2 * d + 1)])
    message = functions[:, degree] * source.double()[graph.index][:, None] * harmonics[:, :, None]
    wanted = sum_over_neighbours(graph, message).transpose(0, 1)
    compare(found, wanted, [graph.vectors, source], dtype, rng)


@pytest.mark.skipif(bool(missing()), reason=missing() or "runs")
def test_convolve_with_few_sources(monkeypatch, rng):
    """Rows of species, each with very many edges, are differentiated in pieces."""
    monkeypatch.setattr("ovito_mace_phase.model.network.operations.triton_operations._MANY_EDGES", 1)
    test_convolve(triton_operations(), torch.float64, 1, rng)


@cases
@pytest.mark.parametrize("n_species", [1, 2])
@pytest.mark.parametrize("l_max", [0, 1, 2, 3])
def test_species_sums(ops, dtype, n_species, l_max, rng):
    graph, spline = random_graph(rng), random_spline(rng, 12, dtype)
    species = torch.from_numpy(rng.integers(0, n_species, len(graph.index)))
    found = ops.species_sums(graph, species, n_species, spline, (l_max + 1) ** 2)
    functions, harmonics = edge_functions(graph, spline, l_max)
    parts = [
        sum_over_neighbours(graph, (functions * (species == z)[:, None])[:, None] * harmonics[:, :, None])
        for z in range(n_species)
    ]
    compare(found, torch.cat(parts, dim=2).transpose(0, 1), [graph.vectors], dtype, rng)


@cases
def test_contract(ops, dtype, rng):
    pairs, triples = (
        np.array([[0, 0], [1, 3], [2, 2]]),
        np.array([[0, 0, 0], [0, 1, 1], [1, 2, 3], [3, 3, 3], [0, 2, 2]]),
    )

    def coefficients(count):
        return torch.from_numpy(rng.normal(size=(3, count, CHANNELS))).to(dtype).requires_grad_()

    polynomial = Polynomial(
        pairs=torch.from_numpy(pairs),
        triples=torch.from_numpy(triples),
        linear=coefficients(1),
        quadratic=coefficients(len(pairs)),
        cubic=coefficients(len(triples)),
    )
    message = torch.from_numpy(rng.normal(size=(4, 11, CHANNELS))).to(dtype).requires_grad_()
    slots = torch.from_numpy(rng.integers(0, 3, 11))
    a = message.double()
    wanted = polynomial.linear.double()[slots, 0] * a[0]
    for m, (i, j) in enumerate(pairs):
        wanted = wanted + polynomial.quadratic.double()[slots, m] * a[i] * a[j]
    for m, (i, j, k) in enumerate(triples):
        wanted = wanted + polynomial.cubic.double()[slots, m] * a[i] * a[j] * a[k]
    inputs = [message, polynomial.linear, polynomial.quadratic, polynomial.cubic]
    compare(ops.contract(message, slots, polynomial), wanted, inputs, dtype, rng)


@cases
def test_invariants(ops, dtype, rng):
    message = torch.from_numpy(rng.normal(size=(9, 6, CHANNELS))).to(dtype).requires_grad_()
    a = message.double()
    wanted = torch.stack([a[0], a[1:4].square().mean(0), a[4:9].square().mean(0)], dim=1)
    compare(ops.invariants(message), wanted, [message], dtype, rng)


@cases
@pytest.mark.parametrize("n_means", [1, 2])
def test_means(ops, dtype, n_means, rng):
    graph = random_graph(rng)
    kinds = torch.from_numpy(rng.integers(0, 3, 20))
    values = torch.from_numpy(rng.normal(size=(20, 7))).to(dtype).requires_grad_()
    found = ops.means(graph, kinds[graph.index], kinds[graph.own], values, R_MAX, n_means)
    weight = (1 - graph.vectors.square().sum(1) / R_MAX**2).clamp_min(0) ** 3
    alike = kinds[graph.index] == torch.repeat_interleave(kinds[graph.own], graph.offsets.diff())
    wanted = []
    for mask in [alike, torch.ones_like(alike)][2 - n_means :]:
        part = (weight * mask)[:, None]
        total = values.double()[graph.own] + sum_over_neighbours(graph, part * values.double()[graph.index])
        wanted.append(total / (1 + sum_over_neighbours(graph, part)))
    compare(found, torch.stack(wanted, dim=1), [graph.vectors, values], dtype, rng)


def test_second_derivatives_are_refused(rng):
    """First order only, and it says so: a silent zero would be a wrong gradient."""
    graph, spline = random_graph(rng), random_spline(rng, CHANNELS, torch.float64)
    source = torch.ones(20, CHANNELS, dtype=torch.float64, requires_grad=True)
    out = NumbaOperations().convolve(graph, graph.index, source, spline)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(out.sum(), graph.vectors, create_graph=True)


@pytest.mark.parametrize("channels", [5, 48, 128])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_any_number_of_channels(channels, dtype, rng, monkeypatch):
    """Vectors of one, some and all numbers of a register; a few of them at a time."""
    monkeypatch.setattr(f"{__name__}.CHANNELS", channels)
    test_convolve(NumbaOperations(), dtype, 3, rng)
    test_contract(NumbaOperations(), dtype, rng)


@cases
def test_operations_of_a_thread(ops, dtype, rng):
    """Memory is used again, for larger and smaller blocks, and results are the same."""
    mine = ops.of_thread()
    for n_centres in (5, 11, 3):
        message = torch.from_numpy(rng.normal(size=(4, n_centres, CHANNELS))).to(dtype)
        slots = torch.zeros(n_centres, dtype=torch.int64)
        one = torch.ones(1, 1, CHANNELS, dtype=dtype)
        polynomial = Polynomial(
            pairs=torch.tensor([[0, 3]]), triples=torch.tensor([[1, 2, 3]]), linear=one, quadratic=2 * one, cubic=one
        )
        with torch.inference_mode():
            products, powers = mine.contract_with_invariants(message, slots, polynomial)
            assert products.shape == (n_centres, CHANNELS)
            torch.testing.assert_close(products, ops.contract(message, slots, polynomial))
            torch.testing.assert_close(powers, ops.invariants(message))
