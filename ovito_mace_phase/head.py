"""Phase head: features of an atom -> one logit per phase.

    x = (g(f) - mean) / scale,   g the identity on node features and sqrt on message powers
    mlp:     l = W_3 silu(W_2 silu(W_1 x))
    metric:  z = W_2 silu(W_1 x),   l_c = -min_k |z - m_ck|^2 / 2 + b_c        (k = 1 .. n_anchors)

In the metric head a logit is a squared distance to the nearest anchor of the phase, so that a phase can be added from
the embedding of its reference cell alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from .errors import ModelFileError

HeadKind = Literal["mlp", "metric"]


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """Shape of a head; stored in the model card."""

    kind: HeadKind
    n_features: int
    n_phases: int
    n_hidden: int = 512
    n_embedding: int = 128
    n_anchors: int = 4
    dropout: float = 0.0


class PhaseHead(nn.Module):
    """Logits (n, n_phases) of features (n, n_features)."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.mean = nn.Buffer(torch.zeros(config.n_features))
        self.scale = nn.Buffer(torch.ones(config.n_features))
        n_out = config.n_hidden if config.kind == "mlp" else config.n_embedding
        self.first = nn.Linear(config.n_features, config.n_hidden)
        self.second = nn.Linear(config.n_hidden, n_out)
        self.dropout = nn.Dropout(config.dropout)
        if config.kind == "mlp":
            self.last = nn.Linear(n_out, config.n_phases)
        else:
            self.anchors = nn.Parameter(torch.randn(config.n_phases, config.n_anchors, n_out))
            self.bias = nn.Parameter(torch.zeros(config.n_phases))

    def embed(self, features: Tensor) -> Tensor:
        """Return the last hidden layer, (n, n_hidden) for mlp, (n, n_embedding) for metric."""
        hidden = self.second(self.dropout(nn.functional.silu(self.first((features - self.mean) / self.scale))))
        return self.dropout(nn.functional.silu(hidden)) if self.config.kind == "mlp" else hidden

    def forward(self, features: Tensor) -> Tensor:
        """Return logits."""
        embedding = self.embed(features)
        if self.config.kind == "mlp":
            return self.last(embedding)
        anchors = self.anchors.flatten(0, 1)
        squared = (embedding**2).sum(1, keepdim=True) - 2.0 * embedding @ anchors.T + (anchors**2).sum(1)
        return self.bias - 0.5 * squared.reshape(len(features), self.config.n_phases, -1).amin(2)

    def to_tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return the numbers of the head under the names of a model file, `head.*`."""
        return {
            f"head.{name}": value.detach().cpu().numpy().astype(np.float32) for name, value in self.state_dict().items()
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[Any]], card: Mapping[str, Any]) -> PhaseHead:
        """Build the head a model file describes; raises ModelFileError when it holds none or another shape."""
        try:
            head = cls(HeadConfig(**card["head"]))
            state = {name: torch.as_tensor(tensors[f"head.{name}"]) for name in head.state_dict()}
            head.load_state_dict(state)
        except (KeyError, TypeError, RuntimeError) as error:
            raise ModelFileError(
                f"the model file holds no usable phase head ({error}); it may be a bare network made by `convert`: "
                "train a head with `ovito-mace-phase train`"
            ) from error
        return head.eval().requires_grad_(False)


def prepare(features: npt.NDArray[np.float32], n_channels: int) -> npt.NDArray[np.float32]:
    """Apply g in place: the root of the message powers of l > 0, so that all features scale like amplitudes.

    Each block of (2 + l_max) n_channels features is node features, A of l = 0, powers of l = 1 .. l_max.
    """
    blocks = features.reshape(len(features), -1, 5, n_channels)
    powers = blocks[:, :, 2:]
    np.sqrt(np.maximum(powers, 0.0, out=powers), out=powers)
    return features
