"""Weights of a mace-torch module -> tensors of `network/model_file.py`, with every normalisation folded in.

For C channels and E elements mace-torch 0.3 with e3nn 0.4 computes

    embedding / sqrt(E);  linear layers / sqrt(C);  skip / sqrt(C E);  messages / avg_num_neighbors
    radial MLP: W_k / sqrt(fan_in), each silu times a constant, which here moves into the matrix after it
    products: sum_ijk U[i, j, k, p] A_i A_j A_k, here one coefficient per monomial A_i A_j A_k with i <= j <= k

The path weights are read from the module; nothing depends on e3nn's rules for them. mace is not imported.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np

from ovito_mace_phase.model.network.model_file import NetworkConfig
from ovito_mace_phase.runtime.errors import ModelFileError

_LAYER = "RealAgnosticResidualInteractionBlock"


def convert_module(model: Any) -> tuple[dict[str, np.ndarray], NetworkConfig]:
    """Convert a mace-torch module (MACE or ScaleShiftMACE with scalar hidden features).

    Raises ModelFileError for another architecture.
    """
    config = _read_config(model)
    n_elements, c = len(config.elements), config.n_channels
    tensors = {"embedding": _linear_blocks(model.node_embedding.linear, (n_elements, c))[0]}
    for nu in range(1, config.correlation + 1):
        basis = [_array(getattr(_contraction(product), f"U_matrix_{nu}")) for product in model.products]
        if any(other.shape != basis[0].shape or np.abs(other - basis[0]).max() > 1e-12 for other in basis):
            raise ModelFileError(f"the layers of the model differ in their products of {nu} messages: not supported")
        tensors[f"basis.{nu}.monomials"], tensors[f"basis.{nu}.coefficients"] = symmetric_polynomial(basis[0])
    for t, (interaction, product) in enumerate(zip(model.interactions, model.products, strict=True)):
        tensors |= _convert_layer(f"layers.{t}", interaction, product, config)
    return tensors, config


def _convert_layer(name: str, interaction: Any, product: Any, config: NetworkConfig) -> dict[str, np.ndarray]:
    n_elements, c = len(config.elements), config.n_channels
    tensors = {f"{name}.linear_up": _linear_blocks(interaction.linear_up, (c, c))[0]}
    for k, weight in enumerate(_radial_weights(interaction.conv_tp_weights)):
        tensors[f"{name}.radial.{k}"] = weight
    for degree, weight in enumerate(_linear_blocks(interaction.linear, (c, c))):
        tensors[f"{name}.linear.{degree}"] = weight / float(interaction.avg_num_neighbors)
    skip = _linear_blocks(interaction.skip_tp, (c, n_elements, c))[0]
    tensors[f"{name}.skip"] = np.ascontiguousarray(skip.transpose(1, 0, 2))
    contraction = _contraction(product)
    # mace keeps the weights of the highest order apart, then those of the lower orders downwards
    path_weights = [contraction.weights_max, *contraction.weights]
    for nu, weight in zip(range(config.correlation, 0, -1), path_weights, strict=True):
        tensors[f"{name}.product.{nu}"] = _array(weight)
    tensors[f"{name}.product_linear"] = _linear_blocks(product.linear, (c, c))[0]
    return tensors


def _radial_weights(network: Any) -> list[np.ndarray]:
    """Return the matrices of the radial MLP such that it is `silu(... silu(x @ W0) ...) @ Wn`."""
    weights, constant = [], 1.0
    for layer in network.children():
        weights.append(_array(layer.weight) * constant / np.sqrt(layer.h_in * layer.var_in))
        constant = float(layer.act.cst) if layer.act is not None else 1.0
    return weights


def _linear_blocks(module: Any, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Return the weight of each path of an e3nn operation, times its path weight, reshaped to `shape`."""
    flat = _array(module.weight)
    # e3nn stores the path weight of a tensor product with sqrt(2 l_out + 1), which is 1 for scalars
    weights = [float(path.path_weight) for path in module.instructions]
    return [block.reshape(shape) * w for block, w in zip(np.split(flat, len(weights)), weights, strict=True)]


def _contraction(product: Any) -> Any:
    return product.symmetric_contractions.contractions[0]


def _array(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def symmetric_polynomial(basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Write `sum_ijk basis[i, j, k, p] A_i A_j A_k` as a sum over the monomials that do not vanish.

    Parameters
    ----------
    basis
        (n_components, ..., n_components, n_paths), of any order.

    Returns
    -------
    (n_monomials, order) uint8 ascending component indices, (n_monomials, n_paths) float64 coefficients.
    """
    order = basis.ndim - 1
    total = np.zeros_like(basis)
    for axes in permutations(range(order)):
        total += basis.transpose(*axes, order)
    indices = np.stack(np.meshgrid(*[np.arange(n) for n in basis.shape[:-1]], indexing="ij"), axis=-1)
    indices = indices.reshape(-1, order)
    indices = indices[(np.diff(indices, axis=1) >= 0).all(axis=1)]
    # every order of the indices occurs as often as equal indices can be exchanged
    repeats = np.array([len(list(permutations(row))) / len(set(permutations(row))) for row in indices.tolist()])
    coefficients = total[tuple(indices.T)] / repeats[:, None]
    kept = np.abs(coefficients).max(axis=1) > 1e-12 * np.abs(coefficients).max()
    return indices[kept].astype(np.uint8), coefficients[kept]


def _read_config(model: Any) -> NetworkConfig:
    _check_architecture(model)
    first, radial = model.interactions[0], model.radial_embedding
    return NetworkConfig(
        r_max=float(model.r_max),
        n_bessel=int(radial.bessel_fn.bessel_weights.numel()),
        cutoff_p=int(radial.cutoff_fn.p),
        n_channels=int(first.node_feats_irreps.dim),
        l_max=int(first.edge_attrs_irreps.lmax),
        correlation=int(_contraction(model.products[0]).correlation),
        n_layers=len(model.interactions),
        avg_num_neighbors=float(first.avg_num_neighbors),
        elements=tuple(int(z) for z in model.atomic_numbers),
        radial_hidden=tuple(int(layer.weight.shape[1]) for layer in list(first.conv_tp_weights.children())[:-1]),
    )


def _check_architecture(model: Any) -> None:
    """Raise ModelFileError unless the network is one this package computes."""
    kind = type(model).__name__
    _require(kind in {"MACE", "ScaleShiftMACE"}, "class", kind, "MACE or ScaleShiftMACE")
    _require(not hasattr(model, "joint_embedding"), "embedding", "joint (charge, spin, ...)", "elements only")
    radial = model.radial_embedding
    basis = type(radial.bessel_fn).__name__
    _require(basis == "BesselBasis", "radial basis", basis, "BesselBasis")
    _require(not hasattr(radial, "distance_transform"), "distance transform", "on", "none")
    _require(getattr(radial, "apply_cutoff", True), "apply_cutoff", False, True)
    n = np.arange(1, radial.bessel_fn.bessel_weights.numel() + 1)
    shift = np.abs(_array(radial.bessel_fn.bessel_weights) * float(model.r_max) / np.pi - n).max()
    _require(shift < 1e-12, "Bessel functions", "trained frequencies", "n pi / r_max")
    channels = model.interactions[0].node_feats_irreps.dim
    for interaction, product in zip(model.interactions, model.products, strict=True):
        layer = type(interaction).__name__
        _require(layer == _LAYER, "interaction", layer, _LAYER)
        for place in ("node_feats_irreps", "hidden_irreps"):
            irreps = str(getattr(interaction, place))
            _require(irreps == f"{channels}x0e", place, irreps, f"{channels}x0e: scalar features of one width")
        harmonics = interaction.edge_attrs_irreps
        standard = [(degree, (-1) ** degree) for degree in range(harmonics.lmax + 1)]
        _require([(i.l, i.p) for _, i in harmonics] == standard, "harmonics", str(harmonics), "0e + 1o + 2e + ...")
        _require(harmonics.lmax <= 3, "l_max", harmonics.lmax, "at most 3")
        targets = [(mul, ir.l, ir.p) for mul, ir in interaction.irreps_out]
        _require(targets == [(channels, *irrep) for irrep in standard], "messages", targets, f"{channels} of each l")
        activations = {
            getattr(layer.act.f, "__name__", "") for layer in list(interaction.conv_tp_weights.children())[:-1]
        }
        _require(activations == {"silu"}, "activation of the radial MLP", activations, "silu")
        _require(getattr(interaction, "cueq_config", None) is None, "kernels", "cuequivariance", "plain e3nn")
        _require(not getattr(product, "use_agnostic_product", False), "product", "without elements", "per element")
        _require(bool(product.use_sc), "skip connection", "absent", "present")


def _require(good: bool, what: str, found: object, wanted: object) -> None:
    if not good:
        raise ModelFileError(f"MACE model not supported: {what} is {found}, expected {wanted}")
