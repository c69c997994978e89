"""Whitening of the features that a head is trained on: all directions of feature space get the same scale.

    x = ((f - mean) / scale) M,      M = Q (L + e)^(-1/2),      Q L Q^T: covariance of the standardised features

The features of fcc, hcp and dhcp differ in directions whose variance is a millionth of the largest, which belongs to
the species. A gradient method started on f learns these last. The map is linear, so that training it away costs
nothing at use: the first layer is trained as W = C M^T (`refit`, `end_to_end`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .rows import Shard

_PINNING = 1e-4


@dataclass(frozen=True, kw_only=True)
class Whitening:
    """`mean` and `scale` (n_features,), `matrix` M (n_features, n_directions), all float32."""

    mean: Tensor
    scale: Tensor
    matrix: Tensor

    def apply(self, shard: Shard) -> Shard:
        """Return the shard with whitened features, float16."""
        features = torch.from_numpy(shard.features.astype(np.float32, copy=False))
        white = ((features - self.mean) / self.scale) @ self.matrix
        return dataclasses.replace(shard, features=white.numpy().astype(np.float16))

    def to_white(self, weight: Tensor) -> Tensor:
        """Return C of W = C M^T, for weights (n_out, n_features) of standardised features."""
        return torch.linalg.lstsq(self.matrix.double(), weight.detach().double().T).solution.T.to(weight)

    def to_plain(self, weight: Tensor) -> Tensor:
        """Return W = C M^T."""
        return (weight.detach().double() @ self.matrix.double().T).to(weight)


def whiten(rows: Tensor, mean: Tensor, scale: Tensor, n_directions: int | None = None) -> Whitening:
    """Return the whitening of rows (n, n_features) that are standardised by `mean` and `scale`.

    Of all directions, or of those `n_directions` with the largest variance. There must be many more rows of different
    samples than directions: the variance of the smallest is underestimated otherwise, and new samples are blown up.
    """
    standard = (rows - mean) / scale
    values, vectors = torch.linalg.eigh((standard.T @ standard / len(rows)).double())
    values, vectors = values.flip(0)[:n_directions].clamp_min(0.0), vectors.flip(1)[:, :n_directions]
    matrix = vectors / torch.sqrt(values + _PINNING)
    return Whitening(mean=mean, scale=scale, matrix=matrix.float())
