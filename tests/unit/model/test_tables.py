"""Radial functions as splines: against the MLP, and consistent with their slopes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from engine_tools import shipped

from ovito_mace_phase.model.network import radial_tables as tables
from ovito_mace_phase.runtime.errors import ModelFileError


def spline(table, r):
    position = table.scale * r / (r + table.stretch)
    knot = np.minimum(position.astype(int), len(table.values) - 2)
    t = (position - knot)[:, None]
    (v0, d0), (v1, d1) = table.values[knot].transpose(1, 0, 2), table.values[knot + 1].transpose(1, 0, 2)
    value = (2 * t**3 - 3 * t**2 + 1) * v0 + (t**3 - 2 * t**2 + t) * d0
    return value + (3 * t**2 - 2 * t**3) * v1 + (t**3 - t**2) * d1


@pytest.mark.parametrize("layer", [0, 1])
def test_splines_follow_the_mlp(layer, rng):
    tensors, config, _ = shipped()
    radial = tables.radial_functions(tensors, config, layer)
    table = tables.hermite_table(radial, config.r_max)
    r = rng.uniform(tables.NEAREST * config.r_max, config.r_max, 3000)
    exact, slope = radial(r)
    assert np.abs(spline(table, r) - exact).max() < 2 * tables.TOLERANCE * np.abs(exact).max()
    h = 1e-5
    found = (spline(table, r + h) - spline(table, r - h)) / (2 * h)
    inside = r < config.r_max - h
    assert np.abs(found - slope)[inside].max() < 1e-3 * np.abs(slope).max()
    assert np.abs(table.values[-1]).max() < 1e-12  # nothing at the cutoff


def test_factored_functions_are_the_functions(rng):
    tensors, config, _ = shipped()
    radial = tables.radial_functions(tensors, config, 0)
    phi, expansion = tables.factored(radial, config.r_max)
    r = rng.uniform(0.9, 6.0, 500)
    exact, slope = radial(r)
    value, steep = phi(r)
    assert len(expansion) <= config.radial_hidden[-1]
    assert np.abs(value @ expansion - exact).max() < 1e-9 * np.abs(exact).max()
    assert np.abs(steep @ expansion - slope).max() < 1e-9 * np.abs(slope).max()


def test_rough_functions_are_refused(rng):
    def rough(r):
        return np.sin(1e5 * r)[:, None], 1e5 * np.cos(1e5 * r)[:, None]

    with pytest.raises(ModelFileError, match="cannot be tabulated"):
        tables.hermite_table(rough, 6.0)


@pytest.mark.parametrize("layer", [0, 1])
def test_radial_functions_equal_those_of_the_reference(layer, rng):
    from ovito_mace_phase.model.reference.radial import bessel_basis, radial_mlp

    tensors, config, _ = shipped()
    r = torch.from_numpy(rng.uniform(0.5, 6.3, 200)).requires_grad_()
    weights = [torch.as_tensor(tensors[f"layers.{layer}.radial.{k}"]).double() for k in range(4)]
    wanted = radial_mlp(bessel_basis(r, config.r_max, config.n_bessel, config.cutoff_p), weights, config.n_channels)
    value, slope = tables.radial_functions(tensors, config, layer)(r.detach().numpy())
    assert np.abs(value - wanted.flatten(1).detach().numpy()).max() < 1e-11 * np.abs(value).max()
    mix = rng.normal(size=value.shape[1])
    (exact,) = torch.autograd.grad((wanted.flatten(1) @ torch.from_numpy(mix)).sum(), r)
    np.testing.assert_allclose(slope @ mix, exact.numpy(), atol=1e-10 * np.abs(slope @ mix).max())
