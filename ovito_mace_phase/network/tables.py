"""Radial functions of one layer as tables: cubic Hermite splines, and a low-rank form for the first layer.

The radial MLP depends on the distance alone, so its 4 x C outputs R_lc(r) are tabulated once on n_knots equidistant
knots. Between two knots, with t in [0, 1] and knot spacing h,

    R(r) = h00(t) v_k + h10(t) h d_k + h01(t) v_{k+1} + h11(t) h d_{k+1}

whose derivative is continuous and consistent with the value. All 4 x C functions together are numerically of low rank:

    R_lc(r) ~= sum_q phi_q(r) V_qlc            (singular value decomposition, relative error `tolerance`)

which lets the first layer, whose node features depend on the species alone, sum phi_q Y_lm over neighbours per species
and expand to channels afterwards with one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .weights import NetworkConfig

Radial = Callable[[npt.NDArray[np.float64]], tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]


def radial_functions(tensors: Mapping[str, np.ndarray], config: NetworkConfig, layer: int) -> Radial:
    """Return `radial(r) -> (values, derivatives)` of one layer, each (n, (l_max + 1) C) float64, from the exact MLP."""
    import torch

    from .radial import bessel_basis, radial_mlp

    weights = [
        torch.as_tensor(tensors[f"layers.{layer}.radial.{k}"], dtype=torch.float64)
        for k in range(len(config.radial_hidden) + 1)
    ]

    def exact(r: torch.Tensor) -> torch.Tensor:
        return radial_mlp(
            bessel_basis(r, config.r_max, config.n_bessel, config.cutoff_p), weights, config.n_channels
        ).flatten(1)

    def radial(r: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        distance = torch.as_tensor(r, dtype=torch.float64)
        value, slope = torch.func.jvp(exact, (distance,), (torch.ones_like(distance),))[:2]
        return value.numpy(), slope.numpy()

    return radial


@dataclass(frozen=True, kw_only=True)
class HermiteTable:
    """Knot values and scaled derivatives, float32, `values[k] = (v_k, h d_k)` of shape (n_knots, 2, n_functions)."""

    values: npt.NDArray[np.float32]
    inverse_spacing: float
    r_max: float


def hermite_table(radial: Radial, r_max: float, n_knots: int) -> HermiteTable:
    """Tabulate `radial(r) -> (values, derivatives)`, each (n, n_functions), on `n_knots` knots in [0, r_max]."""
    knots = np.linspace(0.0, r_max, n_knots)
    knots[0] = 1e-6 * r_max
    value, slope = radial(knots)
    spacing = r_max / (n_knots - 1)
    return HermiteTable(
        values=np.stack([value, slope * spacing], axis=1).astype(np.float32), inverse_spacing=1.0 / spacing, r_max=r_max
    )


def low_rank(
    radial: Radial, r_max: float, tolerance: float, r_min: float = 0.6
) -> tuple[Radial, npt.NDArray[np.float64]]:
    """Factor the radial functions.

    Returns
    -------
    phi : callable
        `phi(r) -> (values, derivatives)`, each (n, rank).
    expansion : (rank, n_functions) float64
        V of the equation above.
    """
    grid = np.linspace(r_min, r_max, 2000)
    value, _ = radial(grid)
    _, singular, basis = np.linalg.svd(value, full_matrices=False)
    rank = int(np.count_nonzero(singular > tolerance * singular[0]))
    expansion = basis[:rank]

    def phi(r: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        values, slopes = radial(r)
        return values @ expansion.T, slopes @ expansion.T

    return phi, expansion
