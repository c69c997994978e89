"""The network in plain torch: every kernel is tested against it, and it is tested against mace-torch.

    h_0[a] = embedding[z_a]
    M_t[a, c, lm] = sum_b R_t[ab, l, c] Y_lm(r_ab) (h_t U_t)[b, c]                 messages from all neighbours b
    A_t[a, :, lm] = M_t[a, :, lm] L_t,l                                            linear for each l
    h_{t+1}[a] = contraction(A_t[a], z_a) P_t + h_t[a] S_t[z_a]                    products, skip connection

r_ab points from the centre a to the neighbour b. mace takes the opposite; products with even parity do not notice.
Any precision and device; gradients flow to the positions and to the tensors. Memory grows with n_edges x n_channels
x n_components: meant for small systems.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ovito_mace_phase.atoms.neighbour_list import Edges
from ovito_mace_phase.model.network.harmonics import spherical_harmonics
from ovito_mace_phase.model.network.model_file import NetworkConfig
from ovito_mace_phase.runtime.errors import InputError

from .contraction import symmetric_contraction
from .radial import bessel_basis, radial_mlp


@dataclass(frozen=True, kw_only=True)
class LayerOutput:
    """What one layer says about each atom; all invariant under rotation and inversion."""

    node_features: Tensor  # (n_atoms, n_channels)
    message_invariants: Tensor  # (n_atoms, l_max + 1, n_channels): A for l = 0, sum_m A^2 / (2l + 1) above


@dataclass(frozen=True, kw_only=True)
class NetworkOutput:
    """Outputs of all layers, first layer first."""

    layers: list[LayerOutput]


class ReferenceNetwork:
    """The MACE network with tensors of `network/model_file.py`.

    `tensors` holds them as torch tensors of one dtype; set `requires_grad_()` on any to train it.
    """

    def __init__(
        self,
        tensors: Mapping[str, np.ndarray],
        config: NetworkConfig,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config = config
        self.dtype = dtype
        self.tensors = {
            name: torch.as_tensor(array).to(device, torch.int64 if name.endswith("monomials") else dtype)
            for name, array in tensors.items()
        }

    def forward(
        self, positions: Tensor, edges: Edges, element_index: Tensor, cell: Tensor | np.ndarray | None = None
    ) -> NetworkOutput:
        """Evaluate the network, differentiable in `positions`.

        Parameters
        ----------
        positions
            (n_atoms, 3), best in float64: differences are taken before the cast to the dtype of the network.
        edges
            Neighbour list within `r_max`; its indices and shifts are used, not its vectors.
        element_index
            (n_atoms,) int64 rows of the element tables (`element_rows`), not atomic numbers.
        cell
            (3, 3) rows are lattice vectors; needed when an edge has a shift.
        """
        return self.forward_vectors(edge_vectors(positions, edges, cell), edges, element_index)

    def forward_vectors(self, vectors: Tensor, edges: Edges, element_index: Tensor) -> NetworkOutput:
        """Evaluate the network from edge vectors (n_edges, 3), neighbour minus centre."""
        centre, neighbour = edge_indices(edges, vectors.device)
        vectors = vectors.to(self.dtype)
        distance = torch.linalg.vector_norm(vectors, dim=-1)
        harmonics = spherical_harmonics(vectors / distance[:, None], self.config.l_max)
        basis = bessel_basis(distance, self.config.r_max, self.config.n_bessel, self.config.cutoff_p)
        features = self.tensors["embedding"][element_index]
        layers = []
        for t in range(self.config.n_layers):
            message = self._message(t, features, centre, neighbour, basis, harmonics)
            features = self._product(t, features, message, element_index)
            layers.append(LayerOutput(node_features=features, message_invariants=self._invariants(message)))
        return NetworkOutput(layers=layers)

    __call__ = forward

    def _message(
        self, t: int, features: Tensor, centre: Tensor, neighbour: Tensor, basis: Tensor, harmonics: Tensor
    ) -> Tensor:
        """Return A_t, (n_atoms, n_channels, n_components)."""
        n_atoms, c = features.shape
        n_matrices = len(self.config.radial_hidden) + 1
        mlp = [self.tensors[f"layers.{t}.radial.{k}"] for k in range(n_matrices)]
        radial = radial_mlp(basis, mlp, c)
        sent = (features @ self.tensors[f"layers.{t}.linear_up"])[neighbour]
        blocks = []
        for degree, part in enumerate(_split_by_l(harmonics, self.config.l_max)):
            edge_message = (radial[:, degree] * sent)[:, None, :] * part[:, :, None]
            total = edge_message.new_zeros(n_atoms, 2 * degree + 1, c).index_add(0, centre, edge_message)
            blocks.append(total @ self.tensors[f"layers.{t}.linear.{degree}"])
        return torch.cat(blocks, dim=1).transpose(1, 2)

    def _product(self, t: int, features: Tensor, message: Tensor, element_index: Tensor) -> Tensor:
        """Return h_{t+1}, (n_atoms, n_channels)."""
        orders = range(1, self.config.correlation + 1)
        invariants = symmetric_contraction(
            message,
            [self.tensors[f"basis.{nu}.monomials"] for nu in orders],
            [self.tensors[f"basis.{nu}.coefficients"] for nu in orders],
            [self.tensors[f"layers.{t}.product.{nu}"][element_index] for nu in orders],
        )
        skipped = torch.empty_like(features)
        for e in torch.unique(element_index).tolist():  # a (C, C) matrix per atom would be large
            atoms = torch.nonzero(element_index == e).squeeze(1)
            skipped = skipped.index_copy(0, atoms, features[atoms] @ self.tensors[f"layers.{t}.skip"][e])
        return invariants @ self.tensors[f"layers.{t}.product_linear"] + skipped

    def _invariants(self, message: Tensor) -> Tensor:
        """Return the power spectrum of each channel, (n_atoms, l_max + 1, n_channels)."""
        parts = _split_by_l(message, self.config.l_max)
        return torch.stack([parts[0][..., 0], *[part.square().mean(-1) for part in parts[1:]]], dim=1)


def edge_vectors(positions: Tensor, edges: Edges, cell: Tensor | np.ndarray | None = None) -> Tensor:
    """Return neighbour minus centre, (n_edges, 3), as a function of the positions and of the cell."""
    centre, neighbour = edge_indices(edges, positions.device)
    vectors = positions[neighbour] - positions[centre]
    if edges.shifts is None or not edges.shifts.any():
        return vectors
    if cell is None:
        raise InputError("edges cross periodic boundaries: pass the cell that the neighbour list was made with")
    shifts = torch.as_tensor(edges.shifts).to(positions)
    return vectors + shifts @ torch.as_tensor(cell).to(positions)


def edge_indices(edges: Edges, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the centre and the neighbour of each edge, (n_edges,) int64 each."""
    centre = np.repeat(np.arange(len(edges.offsets) - 1), np.diff(edges.offsets))
    return torch.as_tensor(centre, device=device), torch.as_tensor(edges.neighbour, device=device)


def _split_by_l(values: Tensor, l_max: int) -> tuple[Tensor, ...]:
    return values.split([2 * degree + 1 for degree in range(l_max + 1)], dim=-1)
