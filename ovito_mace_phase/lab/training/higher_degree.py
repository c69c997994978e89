"""A trained network and head -> the same with messages of higher degree, which goes on to be trained.

    R_lc       new columns drawn as for a new network
    W_l        drawn, then scaled so that messages of the new degree have mean square 1
    products   weights of paths with the new degrees are SMALL times those of a new network
    head       zero weights for the powers of the new degree, standardised on a batch

What the network says changes by no more than SMALL lets it; all new weights have a gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ovito_mace_phase.model.network.head import PhaseHead
from ovito_mace_phase.model.network.model_file import NetworkConfig
from ovito_mace_phase.runtime.errors import InputError

from .new_network import FLOOR, Tensors, features_of
from .step import Batch, TrainableModel

SMALL = 0.02
Trained = tuple[Mapping[str, np.ndarray], NetworkConfig, PhaseHead]


def with_degree(
    drawn: tuple[Tensors, NetworkConfig],
    tensors: Mapping[str, np.ndarray],
    config: NetworkConfig,
    head: PhaseHead,
    batch: Batch,
    device: str = "cpu",
) -> TrainableModel:
    """Return a model of the shape of a new network that says what a trained one of lower degree says.

    Parameters
    ----------
    drawn : tensors and configuration
        A new network (`new_network`) of the same channels, layers and radial MLP, and of higher degree.
    tensors, config, head
        The trained one.
    batch : Batch
        What messages and features are scaled on.
    device : str

    Raises
    ------
    InputError
        When the two differ in more than their degree.
    """
    new, own = drawn
    channels, low, high = own.n_channels, config.l_max, own.l_max
    if replace(config, l_max=high, avg_num_neighbors=own.avg_num_neighbors) != own or low > high:
        raise InputError(
            f"a network can only grow in degree: from {config} to {own} is more than that; "
            "give channels, layers and cutoff of the start"
        )
    out: Tensors = {}
    for name, fresh in new.items():
        old = tensors.get(name)
        if name.startswith("basis.") or old is None:
            out[name] = fresh.copy()
        elif old.shape == fresh.shape:
            out[name] = old.copy()
        elif ".radial." in name:
            wide = fresh.reshape(-1, high + 1, channels).copy()
            wide[:, : low + 1] = old.reshape(-1, low + 1, channels)
            out[name] = wide.reshape(fresh.shape)
        else:  # weights of products, one for each path
            wide = np.float32(SMALL) * fresh
            wide[:, _paths_within(new, int(name[-1]), (low + 1) ** 2)] = old
            out[name] = wide
    n_values = (high + 2) * channels
    wider = PhaseHead(replace(head.config, n_features=(own.n_layers + 2) * n_values))
    state = wider.state_dict()
    for name, value in head.state_dict().items():
        if state[name].shape == value.shape:
            state[name] = value.clone()
            continue
        wide_value = torch.zeros(*value.shape[:-1], own.n_layers + 2, high + 2, channels)
        wide_value[..., : low + 2, :] = value.unflatten(-1, (-1, low + 2, channels))
        state[name] = wide_value.flatten(-3)
    wider.load_state_dict(state)
    _scale_messages(out, own, wider, batch, low)
    model = TrainableModel(out, own, wider, device, radial=True)
    _standardise(model, batch, low)
    return model


def _paths_within(tensors: Tensors, order: int, n_lm: int) -> np.ndarray:
    """Tell which paths of the products have messages of the first n_lm components alone."""
    monomials, coefficients = tensors[f"basis.{order}.monomials"], tensors[f"basis.{order}.coefficients"]
    kept = (monomials < n_lm).all(axis=1)
    return np.asarray((np.abs(coefficients[kept]) > 0).any(axis=0))


def _blocks(model: TrainableModel, batch: Batch, *, roots: bool = False) -> Tensor:
    """Return the features of a batch as (n_atoms, n_layers + 2, l_max + 2, C)."""
    return features_of(model, batch, roots=roots).unflatten(1, (-1, model.config.l_max + 2, model.config.n_channels))


def _scale_messages(out: Tensors, config: NetworkConfig, head: PhaseHead, batch: Batch, low: int) -> None:
    for t in range(config.n_layers):
        powers = _blocks(TrainableModel(out, config, head, radial=True), batch)[:, t]
        for degree in range(low + 1, config.l_max + 1):
            out[f"layers.{t}.linear.{degree}"] /= np.float32(powers[:, 1 + degree].mean().sqrt())


@torch.no_grad()
def _standardise(model: TrainableModel, batch: Batch, low: int) -> None:
    """Set floor, mean and scale of the powers of the new degrees; what the head says does not depend on them yet."""
    if low == model.config.l_max:
        return
    head, shape = model.head, (-1, model.config.l_max + 2, model.config.n_channels)

    def part(values: Tensor) -> Tensor:
        return values.unflatten(-1, shape)[..., low + 2 :, :]

    part(head.scale).fill_(1.0)
    part(head.floor).copy_((FLOOR * _blocks(model, batch)[:, :, low + 2 :].std(0)).square())
    rooted = _blocks(model, batch, roots=True)[:, :, low + 2 :]
    part(head.mean).copy_(rooted.mean(0))
    part(head.scale).copy_(rooted.std(0).clamp_min(1e-3))
