"""A network drawn at random: its shape, its tensors, and their scale.

    layers.{t}.linear.{l} so that messages of degree l have mean square 1, product_linear so that node features have

on a batch of samples, layer by layer. Everything else is normal with the variance of its fan-in. Without this the
products of three messages run away or vanish.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ovito_mace_phase.model.network.head import HeadConfig, PhaseHead
from ovito_mace_phase.model.network.layers import leaves, with_leaves
from ovito_mace_phase.model.network.model_file import NetworkConfig

from .step import Batch, Part, TrainableModel

Tensors = dict[str, npt.NDArray[Any]]
_ORDER = (1.0, 0.3, 0.1)  # rms of the weights of products of one, two and three messages
FLOOR = 0.1


@dataclass(frozen=True, kw_only=True)
class NewShape:
    """What is chosen of a network: lengths in network units, widths of the hidden layers of radial MLP and head."""

    n_channels: int = 64
    l_max: int = 2
    r_max: float = 6.0
    n_layers: int = 2
    n_bessel: int = 8
    radial_hidden: tuple[int, ...] = (32, 32)
    n_hidden: int = 256
    n_density: int = 64


def new_network(
    shape: NewShape, like: Mapping[str, npt.NDArray[Any]], config: NetworkConfig, rng: np.random.Generator
) -> tuple[Tensors, NetworkConfig]:
    """Return tensors drawn at random, and their configuration.

    `like`, of a network of at least as high a degree with configuration `config`, gives the basis of the products
    and the species.
    """
    c, n_lm = shape.n_channels, (shape.l_max + 1) ** 2
    n_slots = len(config.elements)

    def normal(*size: int, fan: int) -> npt.NDArray[np.float32]:
        return (rng.normal(size=size) / np.sqrt(fan)).astype(np.float32)

    out: Tensors = {"embedding": normal(n_slots, c, fan=1)}
    n_paths = {}
    for nu in (1, 2, 3):
        monomials, coefficients = like[f"basis.{nu}.monomials"], like[f"basis.{nu}.coefficients"]
        kept = (monomials < n_lm).all(axis=1)
        within = (np.abs(coefficients[kept]) > 0).any(axis=0)  # a path has one set of degrees
        out[f"basis.{nu}.monomials"] = monomials[kept]
        out[f"basis.{nu}.coefficients"] = np.ascontiguousarray(coefficients[kept][:, within]).astype(np.float32)
        n_paths[nu] = int(within.sum())
    widths = (shape.n_bessel, *shape.radial_hidden, (shape.l_max + 1) * c)
    for t in range(shape.n_layers):
        name = f"layers.{t}"
        out[f"{name}.linear_up"] = normal(c, c, fan=c)
        for k in range(len(widths) - 1):
            out[f"{name}.radial.{k}"] = 1.5 * normal(widths[k], widths[k + 1], fan=widths[k])
        for degree in range(shape.l_max + 1):
            out[f"{name}.linear.{degree}"] = normal(c, c, fan=c)
        out[f"{name}.skip"] = 0.5 * normal(n_slots, c, c, fan=c)
        for nu, size in zip((1, 2, 3), _ORDER, strict=True):
            out[f"{name}.product.{nu}"] = size * normal(n_slots, n_paths[nu], c, fan=n_paths[nu])
        out[f"{name}.product_linear"] = normal(c, c, fan=c)
    return out, NetworkConfig(
        r_max=shape.r_max,
        n_bessel=shape.n_bessel,
        cutoff_p=config.cutoff_p,
        n_channels=c,
        l_max=shape.l_max,
        correlation=3,
        n_layers=shape.n_layers,
        avg_num_neighbors=1.0,
        elements=config.elements,
        radial_hidden=shape.radial_hidden,
    )


def new_model(
    tensors: Tensors, config: NetworkConfig, shape: NewShape, n_phases: int, batch: Batch, device: str = "cpu"
) -> TrainableModel:
    """Return the network, its tensors rescaled in place on a batch, and a new head on standardised features."""
    n_values = (config.l_max + 2) * config.n_channels
    head = PhaseHead(
        HeadConfig(
            n_features=(config.n_layers + 2) * n_values,
            n_phases=n_phases,
            n_hidden=shape.n_hidden,
            n_density=shape.n_density,
        )
    )
    for t in range(config.n_layers):
        blocks = _layer(tensors, config, head, batch, t)
        for degree in range(config.l_max + 1):
            square = blocks[1].square() if degree == 0 else blocks[1 + degree]
            tensors[f"layers.{t}.linear.{degree}"] /= np.float32(square.mean().sqrt())
        node = _layer(tensors, config, head, batch, t)[0]
        tensors[f"layers.{t}.product_linear"] /= np.float32(node.square().mean().sqrt())
    model = TrainableModel(tensors, config, head, device, radial=True)
    standardise(model, batch, new=True)
    return model


@torch.no_grad()
def standardise(model: TrainableModel, batch: Batch, *, new: bool = False) -> None:
    """Set mean and scale of the features that the head reads to those of a batch, without changing what it says.

    A `new` head gets the floor of the roots, and its weights stay as drawn; so do those of a density branch as long as
    it says nothing, E = 0.
    """
    head = model.head
    if new:
        plain = features_of(model, batch)
        power = torch.ones_like(head.floor).unflatten(0, (-1, (model.config.l_max + 2) * model.config.n_channels))
        power[:, : 2 * model.config.n_channels] = 0.0
        floor = (power.flatten() * (FLOOR * plain.std(0)).square()).unflatten(0, power.shape)
        floor[-2:] = floor[-2:].mean(0)
        head.floor.copy_(floor.flatten())
    features = features_of(model, batch, roots=True)
    mean, scale = features.mean(0), features.std(0).clamp_min(1e-3)
    for name, layer in () if new else head.entry_layers().items():
        if name == "density" and not head.density_last.weight.any():
            continue
        layer.bias.add_(layer.weight @ ((mean - head.mean) / head.scale))
        layer.weight.mul_(scale / head.scale)
    head.mean.copy_(mean)
    head.scale.copy_(scale)


@torch.no_grad()
def equalise_floors(model: TrainableModel, batch: Batch) -> None:
    """Give both blocks of means one floor, so that frames of one species need them once (`FoldedHead`).

    Mean and scale follow: on the batch every standardised feature keeps its mean and its standard deviation.
    """
    head, n_values = model.head, (model.config.l_max + 2) * model.config.n_channels
    floor = head.floor.unflatten(0, (-1, n_values))
    if torch.equal(floor[-2], floor[-1]):
        return
    before = (features_of(model, batch, roots=True) - head.mean) / head.scale
    floor[-2:] = floor[-2:].mean(0)
    after, means = features_of(model, batch, roots=True), slice(-2 * n_values, None)
    scale = after.std(0) / before.std(0).clamp_min(1e-6)
    head.mean[means] = (after.mean(0) - before.mean(0) * scale)[means]
    head.scale[means] = scale[means]


def _layer(tensors: Tensors, config: NetworkConfig, head: PhaseHead, batch: Batch, t: int) -> torch.Tensor:
    """Return node features, messages of degree 0 and powers of the others of a layer, (l_max + 2, n, C)."""
    found = features_of(TrainableModel(tensors, config, head, radial=True), batch)
    return found.unflatten(1, (-1, config.l_max + 2, config.n_channels))[:, t].transpose(0, 1)


@torch.no_grad()
def features_of(model: TrainableModel, batch: Batch, *, roots: bool = False) -> torch.Tensor:
    """Return the features of a batch, with the roots of the powers or without."""
    folded = model.fold()
    weights = with_leaves(folded, [leaf.detach() for leaf in leaves(folded)])
    part = Part(batch, model)
    found = model.features(weights, part.graph, part.slots, part.present)
    if roots:
        return found
    n_values = (model.config.l_max + 2) * model.config.n_channels
    values = found.unflatten(1, (-1, n_values)).clone()
    floor = model.head.floor.unflatten(0, (-1, n_values))
    n_plain = 2 * model.config.n_channels
    values[..., n_plain:] = values[..., n_plain:].square() - floor[:, n_plain:]
    return values.flatten(1)
