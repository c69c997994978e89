"""Logits and score of a small frame by plain torch: what the engine is measured against.

    features: layers of `network`, and means of the first over neighbours;   score = d logP / dr by autograd

Memory grows with edges x channels x components: some hundred atoms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.model.network.head import PhaseHead
from ovito_mace_phase.model.network.model_file import NetworkConfig

from .network import ReferenceNetwork, edge_indices, edge_vectors


@dataclass(frozen=True, kw_only=True)
class ReferenceScores:
    """`logits` (n_atoms, n_phases), `log_density` (n_atoms,), `gradient` (n_atoms, 3), all float64, network units."""

    logits: npt.NDArray[np.float64]
    log_density: npt.NDArray[np.float64]
    gradient: npt.NDArray[np.float64]


def reference_scores(
    tensors: Mapping[str, npt.NDArray[Any]],
    config: NetworkConfig,
    head: PhaseHead,
    positions: npt.NDArray[np.float64],
    cell: npt.NDArray[np.float64],
    pbc: npt.NDArray[np.bool_],
    slots: npt.NDArray[np.int64],
) -> ReferenceScores:
    """Evaluate a frame in network units, `slots` (n_atoms,) being rows of the element tables."""
    network = ReferenceNetwork({k: v for k, v in tensors.items() if not k.startswith("head.")}, config)
    exact = PhaseHead(head.config).double()
    exact.load_state_dict(head.state_dict())
    exact.eval().requires_grad_(False)
    r = torch.tensor(positions, dtype=torch.float64, requires_grad=True)
    edges = neighbour_list(positions, cell, pbc, config.r_max)
    kinds = torch.from_numpy(slots)
    output = network.forward(r, edges, kinds, torch.tensor(cell, dtype=torch.float64))
    layers = [torch.cat([one.node_features, one.message_invariants.flatten(1)], dim=1) for one in output.layers]
    vectors = edge_vectors(r, edges, torch.tensor(cell, dtype=torch.float64))
    centre, neighbour = edge_indices(edges, r.device)
    weight = (1.0 - vectors.square().sum(1) / config.r_max**2).clamp_min(0.0).pow(3)
    means = []
    for mask in (kinds[centre] == kinds[neighbour], torch.ones(len(centre), dtype=torch.bool)):
        part = (weight * mask).unsqueeze(1)
        total = layers[0].index_add(0, centre, part * layers[0][neighbour])
        means.append(total / torch.ones(len(positions), 1, dtype=torch.float64).index_add(0, centre, part))
    logits = exact(exact.roots([*layers, *means], config.n_plain))
    density = torch.logsumexp(logits, 1)
    (gradient,) = torch.autograd.grad(density.sum(), r)
    return ReferenceScores(
        logits=logits.detach().numpy(), log_density=density.detach().numpy(), gradient=gradient.numpy()
    )
