"""Radial functions of one layer as splines, and in a factored form for the first layer.

The radial MLP depends on the distance alone, so its L x C outputs R_lc(r) are tabulated once, on knots that are
equidistant in x = r / (r + stretch): dense at short distances, where the functions vary most, and few where the
neighbours are, so that the part of the table in use stays in the cache. With t in [0, 1] between two knots,

    R(r) = h00(t) v_k + h10(t) d_k + h01(t) v_{k+1} + h11(t) d_{k+1},      t = scale x - k

a cubic Hermite spline whose values v and slopes d (by t) are those of the MLP itself. The slope of the spline is used
as the slope of R, so that the score is the gradient of what is evaluated. There are as many knots as `TOLERANCE` asks
for.

The last hidden layer of the MLP has 64 units, so that all L x C functions are combinations of 64:

    R_lc(r) = sum_q phi_q(r) V_qlc            (orthonormal V from a singular value decomposition)

which lets the first layer, whose node features depend on the species alone, sum phi_q Y_lm over the neighbours of each
species and expand to channels afterwards with one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.runtime.errors import ModelFileError

from .model_file import NetworkConfig

TOLERANCE = 1e-6
"""Largest error of a spline over the largest value of its functions, between NEAREST and the cutoff."""
NEAREST = 0.15
"""In units of the cutoff: 0.9 A for MACE-MP-0, closer than any bond but that of hydrogen to itself."""
STRETCH = 1.0 / 3.0
"""In units of the cutoff."""
_KNOTS = (128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096)
_RANK_TOLERANCE = 1e-9  # full rank: at 1e-5, 49 functions of 64, logits are wrong by 5e-3

Radial = Callable[[npt.NDArray[np.float64]], tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]


def radial_functions(tensors: Mapping[str, np.ndarray], config: NetworkConfig, layer: int) -> Radial:
    """Return `radial(r) -> (values, derivatives)` of one layer, each (n, (l_max + 1) C) float64, from the exact MLP.

    The functions of `radial.py` with their derivatives written out: torch's forward derivatives are not safe when two
    threads load models at once.
    """
    weights = [
        np.asarray(tensors[f"layers.{layer}.radial.{k}"], dtype=np.float64)
        for k in range(len(config.radial_hidden) + 1)
    ]

    def radial(r: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        value, slope = bessel(r, config)
        for k, weight in enumerate(weights):
            value, slope = value @ weight, slope @ weight
            if k + 1 < len(weights):
                gate = 0.5 * (1.0 + np.tanh(0.5 * value))  # logistic function
                value, slope = value * gate, slope * gate * (1.0 + value * (1.0 - gate))
        return value, slope

    return radial


def bessel(
    r: npt.NDArray[np.float64], config: NetworkConfig
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the Bessel functions times the cutoff of `radial.py` and their derivatives, (n, n_bessel) each."""
    frequency = np.arange(1, config.n_bessel + 1) * np.pi / config.r_max
    r = r[:, None]
    wave = np.sin(frequency * r) / r
    d_wave = (frequency * np.cos(frequency * r) - wave) / r
    x, p = r / config.r_max, float(config.cutoff_p)
    inside = x < 1.0
    cutoff = 1.0 - x**p * ((p + 1) * (p + 2) / 2 - p * (p + 2) * x + p * (p + 1) / 2 * x * x)
    d_cutoff = -p * (p + 1) * (p + 2) / 2 * x ** (p - 1) * (1.0 - x) ** 2 / config.r_max
    cutoff, d_cutoff = np.where(inside, cutoff, 0.0), np.where(inside, d_cutoff, 0.0)
    scale = np.sqrt(2.0 / config.r_max)
    return scale * wave * cutoff, scale * (d_wave * cutoff + wave * d_cutoff)


@dataclass(frozen=True, kw_only=True)
class HermiteTable:
    """`values[k] = (v_k, d_k)`, (n_knots, 2, n_functions) float64; grid as above; `error` in the sense of TOLERANCE."""

    values: npt.NDArray[np.float64]
    scale: float
    stretch: float
    r_max: float
    error: float


def hermite_table(radial: Radial, r_max: float, tolerance: float = TOLERANCE) -> HermiteTable:
    """Tabulate `radial(r) -> (values, derivatives)`, each (n, n_functions), on as few knots as will do.

    Raises
    ------
    ModelFileError
        When 4096 knots do not reach `tolerance`: no radial function of a sane model is that rough.
    """
    for n_knots in _KNOTS:
        table = _tabulate(radial, r_max, n_knots)
        if table.error <= tolerance:
            return table
    raise ModelFileError(
        f"the radial functions of this model cannot be tabulated: the error on {n_knots} knots is {table.error:.1e} "
        f"of their largest value, wanted {tolerance:.0e}; the model file is damaged, or its radial MLP is broken"
    )


def _tabulate(radial: Radial, r_max: float, n_knots: int) -> HermiteTable:
    stretch = STRETCH * r_max
    scale = (n_knots - 1) * (r_max + stretch) / r_max

    def distance(position: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return stretch * position / (scale - position)

    position = np.arange(n_knots, dtype=np.float64)
    knots = distance(position)
    knots[0] = 1e-6 * r_max  # the functions have a limit at 0 but cannot be evaluated there
    value, slope = radial(knots)
    slope = slope * ((knots + stretch) ** 2 / (scale * stretch))[:, None]
    middle = distance(position[1:] - 0.5)
    seen = middle > NEAREST * r_max
    exact = radial(middle[seen])[0]
    between = (0.5 * (value[1:] + value[:-1]) + 0.125 * (slope[:-1] - slope[1:]))[seen]
    largest = float(np.abs(exact).max())
    return HermiteTable(
        values=np.stack([value, slope], axis=1),
        scale=scale,
        stretch=stretch,
        r_max=r_max,
        error=float(np.abs(between - exact).max()) / largest if largest > 0 else 0.0,
    )


def factored(radial: Radial, r_max: float) -> tuple[Radial, npt.NDArray[np.float64]]:
    """Factor the radial functions.

    Returns
    -------
    phi : callable
        `phi(r) -> (values, derivatives)`, each (n, rank).
    expansion : (rank, n_functions) float64
        V of the equation above.
    """
    grid = np.linspace(0.1 * r_max, r_max, 2000)
    value, _ = radial(grid)
    _, singular, basis = np.linalg.svd(value, full_matrices=False)
    rank = max(1, int(np.count_nonzero(singular > _RANK_TOLERANCE * singular[0])))
    expansion = basis[:rank]

    def phi(r: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        values, slopes = radial(r)
        return values @ expansion.T, slopes @ expansion.T

    return phi, expansion
