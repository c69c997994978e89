"""Whitening of features before the head is trained, and folding it into the head afterwards.

    x = ((f - mean) / scale) Q_R (L_R + e)^(-1/2)         Q L Q^T: covariance of the standardised features

The features of fcc, hcp and dhcp differ in directions whose variance is a millionth of the largest, which belongs to
the species. A gradient method started on f learns these last; on x all directions weigh alike. The map is linear, so
after training it becomes part of the first layer and costs nothing at use.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ovito_mace_phase.model.network.head import PhaseHead

from .feature_rows import Shard

N_DIRECTIONS = 1280
_PINNING = 1e-4
_ROWS = 60000
_BLOCK = 16384


@dataclass(frozen=True, kw_only=True)
class Whitening:
    """`mean` and `scale` (n_features,), `matrix` (n_features, n_directions), all float32."""

    mean: Tensor
    scale: Tensor
    matrix: Tensor

    def apply(self, shard: Shard) -> Shard:
        """Return the shard with whitened features."""
        out = np.empty((len(shard.label), self.matrix.shape[1]), dtype=np.float16)
        for start in range(0, len(out), _BLOCK):
            block = slice(start, start + _BLOCK)
            features = torch.from_numpy(shard.features[block].astype(np.float32))
            out[block] = (((features - self.mean) / self.scale) @ self.matrix).numpy()
        return dataclasses.replace(shard, features=out)


def fit_whitening(shards: Sequence[Path]) -> Whitening:
    """Return the whitening of a sample of the rows of the first shards."""
    loaded = [Shard.load(path).features for path in shards[:2]]
    stride = max(1, sum(map(len, loaded)) // _ROWS)
    rows = torch.from_numpy(np.concatenate([features[::stride] for features in loaded]).astype(np.float32))
    mean, scale = rows.mean(0), rows.std(0) + 1e-4
    return Whitening(mean=mean, scale=scale, matrix=whiten(rows, mean, scale, N_DIRECTIONS))


def whiten(rows: Tensor, mean: Tensor, scale: Tensor, n_directions: int) -> Tensor:
    """Return `matrix` of the whitening of rows (n, n_features), with the directions of the largest variance."""
    standard = (rows - mean) / scale
    covariance = (standard.T @ standard / len(rows)).double()
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values.flip(0)[:n_directions].clamp_min(0.0), vectors.flip(1)[:, :n_directions]
    return (vectors / torch.sqrt(values + _PINNING)).float()


def fold(head: PhaseHead, whitening: Whitening) -> PhaseHead:
    """Return the head that takes plain features and gives what `head` gives on whitened ones."""
    whole = PhaseHead(dataclasses.replace(head.config, n_features=len(whitening.mean)))
    state = head.state_dict()
    weight, bias = state["first.weight"].double(), state["first.bias"].double()
    weight = weight / state["scale"].double()
    bias = bias - weight @ state["mean"].double()
    state |= {"mean": whitening.mean, "scale": whitening.scale, "first.bias": bias.float()}
    state["floor"] = torch.zeros(len(whitening.mean))
    state["first.weight"] = (weight @ whitening.matrix.double().T).float()
    whole.load_state_dict(state)
    return whole.eval().requires_grad_(False)
