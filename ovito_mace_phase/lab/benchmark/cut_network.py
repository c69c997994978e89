"""Networks of other sizes, cut out of the weights of a model: their answers mean nothing, their speed is real."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from ovito_mace_phase.model.engine.evaluator import make_evaluator
from ovito_mace_phase.model.network.head import HeadConfig, PhaseHead
from ovito_mace_phase.model.network.model_file import NetworkConfig
from ovito_mace_phase.model.phase_model import PhaseModel

Tensors = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """What the cost of a network depends on; `r_max` in network units."""

    n_channels: int
    l_max: int
    r_max: float
    n_layers: int = 2
    n_hidden: int
    n_density: int


SMALLEST = Shape(n_channels=8, l_max=1, r_max=4.2, n_hidden=16, n_density=8)
"""A network of almost no size: what is left is the cost of everything around it."""


def cut_network(tensors: Tensors, config: NetworkConfig, shape: Shape) -> tuple[dict[str, np.ndarray], NetworkConfig]:
    """Return the first channels and degrees of the layers of a network, the second again for every later one."""
    c, n_l = shape.n_channels, shape.l_max + 1
    cut: dict[str, np.ndarray] = {"embedding": tensors["embedding"][:, :c]}
    for nu in (1, 2, 3):
        monomials = tensors[f"basis.{nu}.monomials"]
        kept = (monomials < n_l * n_l).all(axis=1)
        cut[f"basis.{nu}.monomials"] = monomials[kept]
        cut[f"basis.{nu}.coefficients"] = tensors[f"basis.{nu}.coefficients"][kept]
    last = len(config.radial_hidden)
    for t in range(shape.n_layers):
        old, new = f"layers.{min(t, config.n_layers - 1)}", f"layers.{t}"
        cut[f"{new}.linear_up"] = tensors[f"{old}.linear_up"][:c, :c]
        for k in range(last + 1):
            weight = tensors[f"{old}.radial.{k}"]
            if k == last:
                weight = weight.reshape(-1, config.l_max + 1, config.n_channels)[:, :n_l, :c].reshape(len(weight), -1)
            cut[f"{new}.radial.{k}"] = weight
        for degree in range(n_l):
            cut[f"{new}.linear.{degree}"] = tensors[f"{old}.linear.{degree}"][:c, :c]
        cut[f"{new}.skip"] = tensors[f"{old}.skip"][:, :c, :c]
        for nu in (1, 2, 3):
            cut[f"{new}.product.{nu}"] = tensors[f"{old}.product.{nu}"][..., :c]
        cut[f"{new}.product_linear"] = tensors[f"{old}.product_linear"][:c, :c]
    found = {name: np.ascontiguousarray(array) for name, array in cut.items()}
    return found, dataclasses.replace(
        config, r_max=shape.r_max, n_channels=c, l_max=shape.l_max, n_layers=shape.n_layers
    )


def cut_model(model: PhaseModel, tensors: Tensors, shape: Shape) -> PhaseModel:
    """Return a model of that shape with the phases and the card of another, on the CPU; its head is random."""
    cut, config = cut_network(tensors, model.evaluator.weights.config, shape)
    head = PhaseHead(
        HeadConfig(
            n_features=(shape.n_layers + 2) * (shape.l_max + 2) * shape.n_channels,
            n_phases=len(model.phases),
            n_hidden=shape.n_hidden,
            n_density=shape.n_density,
        )
    )
    return PhaseModel(make_evaluator(cut, config, head.eval().requires_grad_(False)), model.phases, model.card)
