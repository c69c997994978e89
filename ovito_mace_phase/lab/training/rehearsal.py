"""Feature rows of the last steps, from which the class branch learns in every step.

    network: gradient of the mean over the atoms of the step of -log p(label)
    class branch: gradient of the mean over B rows of the last steps of -log p(label)

A step shows some eighty crystals of several hundred phases, and the atoms of a crystal say nearly the same: the head
would follow whatever phases came last. Rows of many steps show it all phases at once, and cost the head alone. They
are a few hundred steps old at most, over which the network hardly changes. (As the replay memory of Lin, Machine
Learning 8, 293 (1992).)
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ovito_mace_phase.model.network.head import PhaseHead


class Rehearsal:
    """The last rows, at most `capacity` of them.

    Parameters
    ----------
    capacity : int
    n_features : int
    device : torch.device
    """

    def __init__(self, capacity: int, n_features: int, device: torch.device) -> None:
        self._features = torch.empty(capacity, n_features, device=device)
        self._label = torch.empty(capacity, dtype=torch.int64, device=device)
        self._n_added = 0

    def __len__(self) -> int:
        return min(self._n_added, len(self._label))

    def add(self, features: Tensor, label: Tensor) -> None:
        """Keep rows (n, n_features) and their columns (n,) in the place of the oldest."""
        features, label = features[-len(self._label) :], label[-len(self._label) :]
        where = (self._n_added + torch.arange(len(label), device=label.device)) % len(self._label)
        self._features[where] = features.to(self._features)
        self._label[where] = label
        self._n_added += len(label)

    def learn(self, head: PhaseHead, n_rows: int, rng: np.random.Generator) -> float:
        """Add the gradient by `n_rows` rows, or all there are, to those of the head; returns their mean loss."""
        rows = torch.from_numpy(rng.choice(len(self), min(n_rows, len(self)), replace=False)).to(self._label.device)
        _, z = head.class_rows(self._features[rows])
        loss = nn.functional.cross_entropy(z, self._label[rows])
        loss.backward()
        return float(loss.detach())
