"""Features of chosen atoms, as the first layer of a head reads them: for training a head on a frozen network."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ovito_mace_phase.atoms.listed_edges import ListedEdges
from ovito_mace_phase.atoms.neighbour_list import Edges
from ovito_mace_phase.model.engine.evaluator import Evaluator
from ovito_mace_phase.model.engine.forward import threads
from ovito_mace_phase.model.engine.sweep import Slabs, Sweep
from ovito_mace_phase.model.network.head import amplitudes
from ovito_mace_phase.model.network.operations.memory import Memory


def features_of(
    evaluator: Evaluator, edges: Edges, slots: npt.NDArray[np.int64], centres: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.float32]:
    """Return g(f) of `head.py`, (n_centres, n_features) float32, with the floor of the evaluator's head if it has one.

    Parameters
    ----------
    evaluator : Evaluator
    edges : Edges
        All edges shorter than r_max, network units.
    slots : (n_atoms,) int64
    centres : (n_centres,) int64, optional
        Distinct atoms; default all.
    """
    wanted = np.arange(len(slots)) if centres is None else centres
    listed = ListedEdges(edges, wanted)
    n_plain = evaluator.weights.config.n_plain
    width = evaluator.n_values
    head = evaluator.head
    out = np.empty((len(wanted), evaluator.n_features), dtype=np.float32)

    def consume(first: int, last: int, parts: list[Tensor], _count: npt.NDArray[np.int64], _scratch: Memory) -> None:
        found = (_without_floor(parts, n_plain) if head is None else head.roots(parts)).float().cpu().numpy()
        out[first:last, : found.shape[1]] = found
        if found.shape[1] < out.shape[1]:  # one species: the means over neighbours alike and over all are the same
            out[first:last, found.shape[1] :] = found[:, -width:]

    with threads(evaluator, None) as pool:
        Sweep(listed, slots[listed.order], evaluator, Slabs(listed, len(listed)), pool, n_wanted=len(wanted)).run(
            consume
        )
    return out


def _without_floor(parts: list[Tensor], n_plain: int) -> Tensor:
    return torch.cat([amplitudes(part, n_plain) for part in parts], dim=1)
