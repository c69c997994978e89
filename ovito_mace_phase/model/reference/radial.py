"""Distance -> one weight per (l, channel): Bessel functions, cutoff, MLP.

    b_n(r) = sqrt(2 / r_max) sin(n pi r / r_max) / r * f(r / r_max),   n = 1 .. n_bessel
    f(x)   = 1 - (p + 1)(p + 2)/2 x^p + p (p + 2) x^(p + 1) - p (p + 1)/2 x^(p + 2)   for x < 1, else 0
    R(r)   = silu(silu(silu(b W_0) W_1) W_2) W_3, reshaped to [l, channel]

Source: Gasteiger et al., ICLR 2020 (basis and cutoff); Batatia et al., NeurIPS 2022.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def bessel_basis(distance: Tensor, r_max: float, n_bessel: int, cutoff_p: int) -> Tensor:
    """Return the radial functions times the cutoff, (n_edges, n_bessel), of distances (n_edges,) greater than 0."""
    n = torch.arange(1, n_bessel + 1, dtype=distance.dtype, device=distance.device)
    waves = torch.sin(n * (math.pi / r_max) * distance[:, None]) / distance[:, None]
    return math.sqrt(2.0 / r_max) * waves * polynomial_cutoff(distance / r_max, cutoff_p)[:, None]


def polynomial_cutoff(x: Tensor, p: int) -> Tensor:
    """Return f(x), which falls from 1 at 0 to 0 at 1 with two vanishing derivatives there; same shape as `x`."""
    inner = 1.0 - x**p * ((p + 1.0) * (p + 2.0) / 2.0 - p * (p + 2.0) * x + p * (p + 1.0) / 2.0 * x * x)
    return torch.where(x < 1.0, inner, torch.zeros_like(x))


def radial_mlp(basis: Tensor, weights: Sequence[Tensor], n_channels: int) -> Tensor:
    """Return the weights of the messages, (n_edges, l_max + 1, n_channels)."""
    hidden = basis
    for weight in weights[:-1]:
        hidden = torch.nn.functional.silu(hidden @ weight)
    last = weights[-1]
    return (hidden @ last).reshape(len(basis), last.shape[1] // n_channels, n_channels)
