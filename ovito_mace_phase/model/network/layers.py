"""The layers of the network on a block of atoms, built from `operations/`.

    A_lm = W_l sum_b R_l(r_ab) Y_lm(r_ab) (W_up h[b])         convolve and one matrix product per degree l
    B    = polynomial(A; z_a),    h' = W_product B + W_skip[z_a] h
    first layer: W_up h is one row per species, looked up; with one or two species present the sums are taken over 64
                 radial functions per species and expanded to channels together with W_l (`radial_tables.factored`)

`fold` turns the tensors of a model file into what the layers multiply with. It is made of torch operations, so
gradients flow through it to every tensor. Tables of the radial MLP are made before: as numbers, which stay as they are,
or differentiable by its weights (`lab.training.radial`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .model_file import NetworkConfig
from .operations.memory import Memory, NewMemory
from .operations.protocol import BlockGraph, Operations, Polynomial, Spline
from .radial_tables import HermiteTable, factored, hermite_table, radial_functions


@dataclass(frozen=True, kw_only=True)
class RadialTables:
    """Splines of every layer, those of the first in factored form too, and V as (rank, l_max + 1, C).

    Without the factored form, in training, the first layer goes through `convolve` whatever the species.
    """

    layers: tuple[Spline, ...]
    first: Spline | None = None
    expansion: Tensor | None = None

    def by_species(self, n_species: int, n_channels: int) -> bool:
        """Tell whether the first layer costs less as sums over the neighbours of each species."""
        return self.expansion is not None and n_species * self.expansion.shape[0] <= n_channels

    @classmethod
    def of(
        cls, tensors: Mapping[str, np.ndarray], config: NetworkConfig, device: torch.device | str, dtype: torch.dtype
    ) -> RadialTables:
        """Tabulate the radial functions of a model."""

        def spline(table: HermiteTable) -> Spline:
            return Spline(
                values=torch.from_numpy(table.values).to(device, dtype),
                scale=table.scale,
                stretch=table.stretch,
                r_max=table.r_max,
            )

        radial = [radial_functions(tensors, config, t) for t in range(config.n_layers)]
        phi, expansion = factored(radial[0], config.r_max)
        shape = (-1, config.l_max + 1, config.n_channels)
        return cls(
            layers=tuple(spline(hermite_table(one, config.r_max)) for one in radial),
            first=spline(hermite_table(phi, config.r_max)),
            expansion=torch.from_numpy(expansion.reshape(shape)).to(device, dtype),
        )


@dataclass(frozen=True, kw_only=True)
class LayerWeights:
    """What one layer multiplies with; `up` takes the previous node features to what neighbours send."""

    up: Tensor  # (C, C)
    linear: tuple[Tensor, ...]  # per degree (C, C)
    polynomial: Polynomial
    product: Tensor  # (C, C)
    skip: Tensor  # (n_slots, C, C)


@dataclass(frozen=True, kw_only=True)
class NetworkWeights:
    """All layers, and the rows of the first one by species slot."""

    config: NetworkConfig
    tables: RadialTables
    layers: tuple[LayerWeights, ...]
    embedding: Tensor  # (n_slots, C)
    sent: Tensor  # (n_slots, C): what atoms of a slot send to the first layer
    expand: tuple[Tensor, ...]  # per degree (n_slots, rank, C): sums of phi_q Y_lm -> messages of the first layer


def fold(tensors: Mapping[str, Tensor], config: NetworkConfig, tables: RadialTables) -> NetworkWeights:
    """Return the weights of the layers as functions of the tensors of a model file."""
    layers = []
    for t in range(config.n_layers):
        name = f"layers.{t}"
        coefficients = [
            torch.matmul(tensors[f"basis.{nu}.coefficients"], tensors[f"{name}.product.{nu}"])
            if nu <= config.correlation
            else tensors["embedding"].new_zeros(len(config.elements), 0, config.n_channels)
            for nu in (1, 2, 3)
        ]
        index = [
            tensors[f"basis.{nu}.monomials"].long()
            if nu <= config.correlation
            else torch.zeros(0, nu, dtype=torch.int64, device=coefficients[0].device)
            for nu in (2, 3)
        ]
        layers.append(
            LayerWeights(
                up=tensors[f"{name}.linear_up"],
                linear=tuple(tensors[f"{name}.linear.{degree}"] for degree in range(config.l_max + 1)),
                polynomial=Polynomial(
                    pairs=index[0],
                    triples=index[1],
                    linear=coefficients[0],
                    quadratic=coefficients[1],
                    cubic=coefficients[2],
                ),
                product=tensors[f"{name}.product_linear"],
                skip=tensors[f"{name}.skip"],
            )
        )
    sent = tensors["embedding"] @ layers[0].up
    expand: tuple[Tensor, ...] = ()
    if tables.expansion is not None:
        expand = tuple(
            (tables.expansion[:, degree] * sent.unsqueeze(1)) @ layers[0].linear[degree]
            for degree in range(config.l_max + 1)
        )
    return NetworkWeights(
        config=config,
        tables=tables,
        layers=tuple(layers),
        embedding=tensors["embedding"],
        sent=sent,
        expand=expand,
    )


def leaves(weights: NetworkWeights) -> list[Tensor]:
    """Return the tensors that depend on the parameters, in a fixed order."""
    found = [weights.embedding, weights.sent, *weights.expand, *_trained(weights.tables)]
    for layer in weights.layers:
        p = layer.polynomial
        found += [layer.up, *layer.linear, p.linear, p.quadratic, p.cubic, layer.product, layer.skip]
    return found


def with_leaves(weights: NetworkWeights, tensors: Sequence[Tensor]) -> NetworkWeights:
    """Return the weights with other tensors in the order of `leaves`."""
    given = iter(tensors)
    embedding, sent = next(given), next(given)
    expand = tuple(next(given) for _ in weights.expand)
    tables, n_trained = weights.tables, len(_trained(weights.tables))
    if n_trained:
        tables = replace(tables, layers=tuple(replace(one, values=next(given)) for one in tables.layers))
    layers = []
    for layer in weights.layers:
        up, linear = next(given), tuple(next(given) for _ in layer.linear)
        names = ("linear", "quadratic", "cubic")
        polynomial = replace(layer.polynomial, **{name: next(given) for name in names})
        layers.append(
            replace(layer, up=up, linear=linear, polynomial=polynomial, product=next(given), skip=next(given))
        )
    return replace(weights, tables=tables, embedding=embedding, sent=sent, expand=expand, layers=tuple(layers))


def _trained(tables: RadialTables) -> list[Tensor]:
    """Return the values of the splines where they depend on parameters; all do, or none."""
    values = [spline.values for spline in tables.layers]
    return values if all(one.requires_grad for one in values) else []


def first_layer(
    ops: Operations,
    weights: NetworkWeights,
    graph: BlockGraph,
    neighbours: Tensor,
    mine: Tensor,
    present: Sequence[int],
) -> Tensor:
    """Return node features and message invariants of layer 1, (n_centres, l_max + 2, C).

    Parameters
    ----------
    neighbours : (n_edges,) int64
        Slots of the neighbours.
    mine : (n_centres,) int64
        Slots of the centres.
    present : sequence of int
        Slots that occur in the frame.
    """
    config, tables = weights.config, weights.tables
    if tables.first is not None and tables.by_species(len(present), config.n_channels):
        kinds = neighbours.new_zeros(1).expand(len(neighbours))
        if len(present) > 1:
            place = torch.zeros(len(weights.embedding), dtype=torch.int64, device=mine.device)
            place[list(present)] = torch.arange(len(present), device=mine.device)
            kinds = place[neighbours]
        sums = ops.species_sums(graph, kinds, len(present), tables.first, config.n_components)
        matrices = [expand[list(present)].flatten(0, 1) for expand in weights.expand]
    else:
        sums = ops.convolve(graph, neighbours, weights.sent, tables.layers[0])
        matrices = list(weights.layers[0].linear)
    skipped = (weights.embedding.unsqueeze(1) @ weights.layers[0].skip).squeeze(1)[mine]
    return _rest(ops, weights.layers[0], linear_messages(sums, matrices, ops.memory), mine, skipped)


def later_layer(
    ops: Operations, weights: NetworkWeights, t: int, graph: BlockGraph, source: Tensor, node: Tensor, mine: Tensor
) -> Tensor:
    """Return the same for layer t + 1.

    Parameters
    ----------
    source : (n_rows, C)
        Node features of all rows times `layers[t].up`.
    node : (n_centres, C)
        Node features of the centres.
    mine : (n_centres,) int64
        Slots of the centres.
    """
    layer = weights.layers[t]
    sums = ops.convolve(graph, graph.index, source, weights.tables.layers[t])
    message = linear_messages(sums, layer.linear, ops.memory)
    return _rest(ops, layer, message, mine, _by_slot(node, layer.skip, mine))


def linear_messages(sums: Tensor, matrices: Sequence[Tensor], memory: Memory | None = None) -> Tensor:
    """Linear layer of each degree, (n_lm, n_centres, C)."""
    n_lm, n_centres, _ = sums.shape
    ranges = [slice(d * d, (d + 1) ** 2) for d in range(len(matrices))]
    if torch.is_grad_enabled():
        parts = [sums[lm].flatten(0, 1) @ matrix for lm, matrix in zip(ranges, matrices, strict=True)]
        return torch.cat(parts).reshape(n_lm, n_centres, -1)
    memory = NewMemory() if memory is None else memory
    message = memory.take("message", (n_lm, n_centres, matrices[0].shape[1]), sums)
    for lm, matrix in zip(ranges, matrices, strict=True):
        torch.mm(sums[lm].flatten(0, 1), matrix, out=message[lm].flatten(0, 1))
    return message


def _rest(ops: Operations, layer: LayerWeights, message: Tensor, mine: Tensor, skipped: Tensor) -> Tensor:
    products, invariants = ops.contract_with_invariants(message, mine, layer.polynomial)
    if torch.is_grad_enabled():
        node = products @ layer.product + skipped
        return torch.cat([node.unsqueeze(1), invariants], dim=1)
    out = ops.memory.take("layer", (len(products), 1 + invariants.shape[1], products.shape[1]), message)
    torch.addmm(skipped, products, layer.product, out=out[:, 0])
    out[:, 1:] = invariants
    return out


def _by_slot(node: Tensor, matrices: Tensor, slots: Tensor) -> Tensor:
    """Return node[a] @ matrices[slots[a]]."""
    present = torch.bincount(slots).nonzero().squeeze(1).tolist() if len(slots) else [0]
    if len(present) == 1:
        return node @ matrices[present[0]]
    out = torch.zeros_like(node)
    for z in present:
        mine = torch.nonzero(slots == z).squeeze(1)
        out = out.index_copy(0, mine, node[mine] @ matrices[z])
    return out


def as_torch(tensors: Mapping[str, np.ndarray], device: torch.device | str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the network's tensors (not those of a head) on a device; index arrays stay whole numbers."""
    out: dict[str, Any] = {}
    for name, array in tensors.items():
        if not name.startswith("head."):
            kind = torch.int64 if name.endswith("monomials") else dtype
            out[name] = torch.as_tensor(array).to(device, kind)
    return out
