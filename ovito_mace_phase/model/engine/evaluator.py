"""A network prepared for a device: weights, operations, head, block sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ovito_mace_phase.model.network.folded_head import FoldedHead
from ovito_mace_phase.model.network.head import Head, PhaseHead
from ovito_mace_phase.model.network.layers import NetworkWeights, RadialTables, as_torch, fold
from ovito_mace_phase.model.network.model_file import NetworkConfig
from ovito_mace_phase.model.network.operations.choose import operations
from ovito_mace_phase.model.network.operations.protocol import Operations

CPU_BLOCK = 512
"""Atoms for 128 channels; a block's messages stay in the cache, and calls into numba and torch weigh little."""
_MOST_CPU_BLOCK = 2048
GPU_BLOCK = 8192


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """A network ready to evaluate frames.

    Attributes
    ----------
    weights : NetworkWeights
    operations : Operations
    head : Head or None
        None for a network without a head.
    device, dtype
        Where and in which precision features are.
    block_size : int
        Atoms of a block.
    """

    weights: NetworkWeights
    operations: Operations
    head: Head | None
    device: torch.device
    dtype: torch.dtype
    block_size: int

    @property
    def n_slots(self) -> int:
        """Species the network can tell apart."""
        return len(self.weights.config.elements)

    @property
    def n_features(self) -> int:
        """What the head reads of an atom: `n_values` of each layer and of two means."""
        return (self.weights.config.n_layers + 2) * self.n_values

    @property
    def n_values(self) -> int:
        """Columns of the features of one layer."""
        return (self.weights.config.l_max + 2) * self.weights.config.n_channels

    def bytes_per_atom(self, *, backward: bool) -> int:
        """Bytes held for each atom of a slab."""
        itemsize = torch.finfo(self.dtype).bits // 8
        layers = self.weights.config.n_layers - 1
        return layers * (self.n_values + self.weights.config.n_channels) * itemsize * (2 if backward else 1)


def make_evaluator(
    tensors: Mapping[str, np.ndarray],
    config: NetworkConfig,
    head: PhaseHead | None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    ops: Operations | None = None,
) -> Evaluator:
    """Return an evaluator.

    Parameters
    ----------
    tensors, config
        Of a model file.
    head : PhaseHead, optional
        Is copied to device and precision.
    ops : Operations, optional
        Default those of the device.
    """
    device = torch.device(device)
    weights = fold(as_torch(tensors, device, dtype), config, RadialTables.of(tensors, config, device, dtype))
    folded = None
    if head is not None:
        copied = PhaseHead(head.config)
        copied.load_state_dict(head.state_dict())
        copied = copied.to(device, dtype).eval().requires_grad_(False)
        folded = FoldedHead(copied, (config.l_max + 2) * config.n_channels, config.n_plain)
    return Evaluator(
        weights=weights,
        operations=operations(device) if ops is None else ops,
        head=folded,
        device=device,
        dtype=dtype,
        block_size=_cpu_block(config.n_channels) if device.type == "cpu" else GPU_BLOCK,
    )


def _cpu_block(n_channels: int) -> int:
    """Return a block with about as many numbers for any number of channels."""
    return min(_MOST_CPU_BLOCK, CPU_BLOCK * max(1, 128 // n_channels))
