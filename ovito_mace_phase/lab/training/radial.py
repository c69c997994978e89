"""The radial functions of a network in training: the MLP on the knots of a spline, differentiable by its weights.

    v_k = R(r_k),   d_k = R'(r_k) dr/dx,      R(r) = silu(silu(b(r) W_0) W_1) W_2,   b Bessel functions times the cutoff

Values and slopes of the spline are linear in nothing but the last matrix, so the MLP is evaluated at every step: a few
hundred rows. The derivative R' is carried along as in `model.network.radial_tables`, which makes the same numbers
for a finished model, on as many knots as its tolerance asks for.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ovito_mace_phase.model.network.layers import RadialTables
from ovito_mace_phase.model.network.model_file import NetworkConfig
from ovito_mace_phase.model.network.operations.protocol import Spline
from ovito_mace_phase.model.network.radial_tables import STRETCH, bessel

N_KNOTS = 192
"""Spline error 1e-5 of the largest value for eight Bessel functions."""


def trained_tables(tensors: Mapping[str, Tensor], config: NetworkConfig, n_knots: int = N_KNOTS) -> RadialTables:
    """Return the splines of all layers, with gradients to `layers.{t}.radial.{k}`; none in factored form."""
    stretch = STRETCH * config.r_max
    scale = (n_knots - 1) * (config.r_max + stretch) / config.r_max
    like = tensors["layers.0.radial.0"]
    position = torch.arange(n_knots, dtype=torch.float64)
    knots = stretch * position / (scale - position)
    knots[0] = 1e-6 * config.r_max
    knots[-1] = config.r_max
    per_position = ((knots + stretch) ** 2 / (scale * stretch)).to(like)[:, None]
    basis, slopes = (torch.from_numpy(one).to(like) for one in bessel(knots.numpy(), config))
    splines = []
    for t in range(config.n_layers):
        value, slope = basis, slopes
        weights = [tensors[f"layers.{t}.radial.{k}"] for k in range(len(config.radial_hidden) + 1)]
        for k, weight in enumerate(weights):
            value, slope = value @ weight, slope @ weight
            if k + 1 < len(weights):
                gate = torch.sigmoid(value)
                value, slope = value * gate, slope * gate * (1.0 + value * (1.0 - gate))
        values = torch.stack([value, slope * per_position], dim=1)
        splines.append(Spline(values=values, scale=scale, stretch=stretch, r_max=config.r_max))
    return RadialTables(layers=tuple(splines))
