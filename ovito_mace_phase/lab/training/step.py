"""One training step of the whole model, score matching and cross-entropy, from first derivatives only.

    loss = mean_a s^2 |score_a - target_a|^2 / 3 + weight * mean_a -log softmax(l_a)_label,     target = -dr / s^2

The gradient of the first term by the parameters p needs the mixed derivative of logP. With v = d loss / d score held
fixed,

    d/dp (v . d logP / dr) = [d logP(r + h u) / dp - d logP(r - h u) / dp] c / (2 h),      v = c u,  u of rms length 1

for each sample, to order h^2. So a step is three evaluations: one with its gradient by the positions, two with their
gradients by the parameters; the cross-entropy of every other atom is taken from the one, of the rest from the other.
Without the first term it is one evaluation.
Samples are shared out among threads; each differentiates by the folded weights, and their sum goes through
`layers.fold` once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ovito_mace_phase.atoms.neighbour_list import Edges
from ovito_mace_phase.model.network.head import PhaseHead
from ovito_mace_phase.model.network.layers import (
    NetworkWeights,
    RadialTables,
    as_torch,
    first_layer,
    fold,
    later_layer,
    leaves,
    with_leaves,
)
from ovito_mace_phase.model.network.model_file import NetworkConfig
from ovito_mace_phase.model.network.operations.choose import operations
from ovito_mace_phase.model.network.operations.protocol import BlockGraph, Operations
from ovito_mace_phase.runtime.threads import BlockPool

from .radial import trained_tables

_GIVEN = ("basis",)
_RADIAL = ("radial",)
Rows = tuple[Tensor, Tensor]
"""Features (n, n_features) that the class branch has read, and the columns of their labels (n,)."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples side by side.

    Attributes
    ----------
    edges : Edges
        Of all samples, none between them; cut at r_max plus twice the longest step of `h`.
    slots : (n_atoms,) int64
    label : (n_atoms,) int64
        Column of the phase; -1 for atoms without a label.
    displacement : (n_atoms, 3) float64
        dr, noisy minus clean position; NaN for atoms without a clean position, which the score loss leaves out.
    sample : (n_atoms,) int64
        Ascending from 0.
    weight : (n_atoms,) float64 or None
        Of each atom in the score loss; None: 1.
    """

    edges: Edges
    slots: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    displacement: npt.NDArray[np.float64]
    sample: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Losses of a step, per atom; gradients are left in `.grad` of the parameters.

    `features` (n_labelled, n_features) and `label` (n_labelled,) are what the class branch has read.
    """

    score_loss: float
    label_loss: float
    features: Tensor
    label: Tensor


class TrainableModel(nn.Module):
    """Network and head with parameters.

    Parameters
    ----------
    tensors, config
        Of a model file.
    head : PhaseHead
        Reads all features (`lab.features`); trained along.
    radial : bool
        Train the radial functions too; otherwise they are tables that stay as they are.
    """

    def __init__(
        self,
        tensors: Mapping[str, npt.NDArray[Any]],
        config: NetworkConfig,
        head: PhaseHead,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        radial: bool = False,
    ) -> None:
        super().__init__()
        self.config, self.device, self.dtype = config, torch.device(device), dtype
        self.tables = None if radial else RadialTables.of(tensors, config, device, dtype)
        self.operations: Operations = operations(device)
        self._tensors = as_torch(tensors, device, dtype)
        self.network = nn.ParameterDict(
            {
                name.replace(".", "_"): nn.Parameter(tensor)
                for name, tensor in self._tensors.items()
                if not any(part in name for part in (_GIVEN if radial else _GIVEN + _RADIAL))
            }
        )
        self.head = head.to(device, dtype)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the network under their names in a model file."""
        return {
            name: self.network[key] if (key := name.replace(".", "_")) in self.network else tensor
            for name, tensor in self._tensors.items()
        }

    def fold(self) -> NetworkWeights:
        """Return the weights of the layers, differentiable by the parameters."""
        tensors = self.tensors()
        tables = trained_tables(tensors, self.config) if self.tables is None else self.tables
        return fold(tensors, self.config, tables)

    def log_density(self, features: Tensor) -> Tensor:
        """Return logsumexp of the logits, (n_atoms,)."""
        return self.head.log_density_of(features)

    def features(self, weights: NetworkWeights, graph: BlockGraph, slots: Tensor, present: list[int]) -> Tensor:
        """Return what the head reads, (n_atoms, n_features); two means whatever the species."""
        ops, channels = self.operations, self.config.n_channels
        species = slots[graph.index]
        layers = [first_layer(ops, weights, graph, species, slots, present)]
        for t in range(1, self.config.n_layers):
            node = layers[-1][:, 0]
            source = node @ weights.layers[t].up
            layers.append(later_layer(ops, weights, t, graph, source, node, slots))
        flat = [layer.flatten(1) for layer in layers]
        averaged = ops.means(graph, species, slots, flat[0], self.config.r_max, 2).unbind(1)
        return self.head.roots([*flat, *averaged], 2 * channels)


def training_step(
    model: TrainableModel,
    batch: Batch,
    *,
    noise_scale: float,
    label_weight: float = 1.0,
    score_weight: float = 1.0,
    largest_error: float = np.inf,
    h: float = 2e-3,
    pool: BlockPool,
) -> StepResult:
    """Add the gradient of the loss to `.grad` of the parameters of `model`.

    Parameters
    ----------
    model : TrainableModel
    batch : Batch
    noise_scale : float
        s, network units.
    label_weight : float
        Of the cross-entropy.
    score_weight : float
        Of the score loss; 0 leaves its evaluation out.
    largest_error : float
        Atoms whose score is farther off than this add linearly to the loss, not quadratically (Huber): of a step's
        atoms a few may sit where the density is cut off sharply.
    h : float
        Step of the central difference, rms over the atoms of a sample, network units.
    pool : BlockPool
    """
    folded = model.fold()
    own = [leaf.detach().requires_grad_() for leaf in leaves(folded)]
    weights = with_leaves(folded, own)
    head = [parameter for parameter in model.head.parameters() if parameter.requires_grad]
    n_moved = max(1, int(np.isfinite(batch.displacement[:, 0]).sum()))
    n_labelled = max(1, int(np.count_nonzero(batch.label >= 0)))
    total: list[Tensor] = [torch.zeros_like(tensor) for tensor in (*own, *head)]
    losses = np.zeros(2)
    read: list[Rows] = []

    def work(part: Batch) -> tuple[list[Tensor], npt.NDArray[np.float64], list[Rows]]:
        given = Part(part, model)
        gradient, score_loss = None, 0.0
        if score_weight:
            gradient, score_loss = given.score_gradient(weights, noise_scale, n_moved, largest_error)
            gradient *= score_weight
        found, label_loss, rows = given.parameter_gradient(
            weights, [*own, *head], gradient, h, label_weight / n_labelled
        )
        return found, np.array([score_loss, label_loss]), rows

    for found, loss, rows in pool.map(work, share_out(batch, pool.count)):
        losses += loss
        read += rows
        for target, amount in zip(total, found, strict=True):
            target += amount
    outputs = [leaf for leaf in leaves(folded) if leaf.requires_grad]
    wanted = [amount for leaf, amount in zip(leaves(folded), total, strict=False) if leaf.requires_grad]
    torch.autograd.backward(outputs, wanted)
    for parameter, amount in zip(head, total[len(own) :], strict=True):
        parameter.grad = amount if parameter.grad is None else parameter.grad + amount
    return StepResult(
        score_loss=float(losses[0]),
        label_loss=float(losses[1]) / max(label_weight, 1e-300),
        features=torch.cat([rows[0] for rows in read]),
        label=torch.cat([rows[1] for rows in read]),
    )


def scores(model: TrainableModel, batch: Batch, pool: BlockPool) -> npt.NDArray[np.float64]:
    """Return d logP / dr, (n_atoms, 3), network units."""
    with torch.no_grad():
        weights = model.fold()
    found = pool.map(lambda part: Part(part, model).score(weights).cpu().numpy(), share_out(batch, pool.count))
    return np.concatenate(list(found))


class Part:
    """Some samples of a batch as tensors."""

    def __init__(self, batch: Batch, model: TrainableModel) -> None:
        self.model, self.batch = model, batch
        device = model.device
        self.graph = BlockGraph(
            offsets=torch.from_numpy(batch.edges.offsets).to(device),
            index=torch.from_numpy(batch.edges.neighbour).to(device),
            vectors=torch.from_numpy(batch.edges.vectors).to(device),
            own=torch.arange(len(batch.slots), device=device),
        )
        self.slots = torch.from_numpy(batch.slots).to(device)
        self.present = np.unique(batch.slots).tolist()
        self.centre = torch.from_numpy(batch.edges.centre).to(device)

    def score(self, weights: NetworkWeights) -> Tensor:
        """Return d logP / dr, (n_atoms of the part, 3)."""
        fixed = with_leaves(weights, [leaf.detach() for leaf in leaves(weights)])
        with torch.enable_grad():
            vectors = self.graph.vectors.detach().clone().requires_grad_()
            graph = dataclasses.replace(self.graph, vectors=vectors)
            density = self.model.log_density(self.model.features(fixed, graph, self.slots, self.present)).sum()
            (d_vectors,) = torch.autograd.grad(density, vectors)
        score = torch.zeros(len(self.slots), 3, dtype=torch.float64, device=vectors.device)
        score.index_add_(0, self.graph.index, d_vectors)
        score.index_add_(0, self.centre, -d_vectors)
        return score

    def score_gradient(
        self, weights: NetworkWeights, noise_scale: float, n_moved: int, largest: float
    ) -> tuple[npt.NDArray[np.float64], float]:
        """Return v = d loss / d score, (n_atoms of the part, 3), and the score loss."""
        score = self.score(weights)
        target = -torch.from_numpy(self.batch.displacement).to(score) / noise_scale**2
        error = torch.where(torch.isfinite(target), score - target, 0.0)
        scale: float | Tensor = noise_scale**2 / (3.0 * n_moved)
        if self.batch.weight is not None:
            scale = scale * torch.from_numpy(self.batch.weight).to(score)[:, None]
        length = error.norm(dim=1, keepdim=True)
        near = length.clamp_max(largest)
        loss = float((scale * near * (2.0 * length - near)).sum())
        return (2.0 * scale * error * near / length.clamp_min(1e-30)).cpu().numpy(), loss

    def parameter_gradient(
        self,
        weights: NetworkWeights,
        by: list[Tensor],
        v: npt.NDArray[np.float64] | None,
        h: float,
        label_weight: float,
    ) -> tuple[list[Tensor], float, list[Rows]]:
        """Return the gradient of the loss by the tensors `by`, the label loss times `label_weight`, and its rows.

        Without `v` there is one evaluation.
        """
        label = torch.from_numpy(self.batch.label).to(self.model.device)
        graphs = [(self.graph, None)] if v is None else self._either_side(v, h)
        sample = self.batch.sample - self.batch.sample[0]
        labelled = (label >= 0).nonzero().flatten()
        # by the place in the sample, so that it does not depend on how samples are shared out
        place = torch.from_numpy(np.arange(len(sample)) - np.searchsorted(sample, sample)).to(label)[labelled]
        total: list[Tensor] = []
        read: list[Rows] = []
        label_loss = 0.0
        for turn, (graph, along) in enumerate(graphs):
            with torch.enable_grad():
                features = self.model.features(weights, graph, self.slots, self.present)
                loss = features.new_zeros(()) if along is None else (along * self.model.log_density(features)).sum()
                rows = labelled[place % len(graphs) == turn]
                read.append((features[rows].detach(), label[rows]))
                if len(rows):
                    logits = self.model.head(features[rows])
                    entropy = label_weight * nn.functional.cross_entropy(logits, label[rows], reduction="sum")
                    loss = loss + entropy
                    label_loss += float(entropy.detach())
                found = torch.autograd.grad(loss, by, allow_unused=True) if loss.requires_grad else [None] * len(by)
            for k, (amount, tensor) in enumerate(zip(found, by, strict=True)):
                amount = torch.zeros_like(tensor) if amount is None else amount
                if k == len(total):
                    total.append(amount)
                else:
                    total[k] = total[k] + amount
        return total, label_loss, read

    def _either_side(self, v: npt.NDArray[np.float64], h: float) -> list[tuple[BlockGraph, Tensor | None]]:
        """Return the graphs at r + h u and r - h u, each with c / (2 h) of every atom and its sign."""
        sample = self.batch.sample - self.batch.sample[0]
        length = np.sqrt(np.bincount(sample, weights=(v**2).sum(1)) / np.bincount(sample))[sample]
        step = torch.from_numpy(h * v / np.maximum(length, 1e-300)[:, None]).to(self.model.device)
        along = torch.from_numpy(length / (2.0 * h)).to(self.model.device, self.model.dtype)
        shift = step[self.graph.index] - step[self.centre]
        return [
            (dataclasses.replace(self.graph, vectors=self.graph.vectors + sign * shift), sign * along)
            for sign in (1.0, -1.0)
        ]


def share_out(batch: Batch, n_parts: int) -> list[Batch]:
    """Cut a batch into at most `n_parts` of whole samples, with about as many edges each."""
    n_samples = int(batch.sample[-1]) + 1
    first = np.searchsorted(batch.sample, np.arange(n_samples + 1))
    edges = batch.edges.offsets[first]
    cuts = np.unique(np.searchsorted(edges, np.linspace(0, edges[-1], n_parts + 1)))
    cuts[0], cuts[-1] = 0, n_samples
    parts = []
    for low, high in pairwise(cuts.tolist()):
        a, b = int(first[low]), int(first[high])
        if a == b:
            continue
        start, stop = int(batch.edges.offsets[a]), int(batch.edges.offsets[b])
        parts.append(
            Batch(
                edges=Edges(
                    offsets=batch.edges.offsets[a : b + 1] - start,
                    neighbour=batch.edges.neighbour[start:stop] - a,
                    vectors=batch.edges.vectors[start:stop],
                    shifts=None,
                ),
                slots=batch.slots[a:b],
                label=batch.label[a:b],
                displacement=batch.displacement[a:b],
                sample=batch.sample[a:b],
                weight=None if batch.weight is None else batch.weight[a:b],
            )
        )
    return parts
