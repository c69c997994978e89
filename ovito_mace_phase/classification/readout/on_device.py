"""Priors on logits that are still on a GPU: what `frame_prior` and `labels.label` do, in plain torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .frame_prior import FLOOR, N_STEPS, SETTLED

_ROWS = 16384  # of logits at a time


def frame_prior_on_device(logits: Tensor, temperature: float) -> npt.NDArray[np.float64]:
    """Return what `frame_prior` gives for logits (n_atoms, n_phases)."""
    n_atoms, n_phases = logits.shape
    weights = torch.full((n_phases,), 1.0 / n_phases, dtype=torch.float64, device=logits.device)
    if n_atoms:
        likelihood = torch.softmax(logits / temperature, 1)
        settled = torch.zeros((), dtype=torch.bool, device=logits.device)
        for _ in range(N_STEPS):
            share = 1.0 / (likelihood @ weights.float())
            found = (share @ likelihood).double() * weights
            following = (found + FLOOR) / (n_atoms + FLOOR * n_phases)
            change = (following - weights).abs().sum()
            weights = torch.where(settled, weights, following)
            settled = settled | (change < SETTLED)
    return weights.cpu().numpy()


def weighted_best_on_device(
    logits: Tensor, temperature: float, log_weights: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return the column of the largest posterior of each row of `logits` (n_atoms, n_phases), and this posterior."""
    added = torch.from_numpy(log_weights).to(logits.device)
    columns, sure = [], []
    for piece in logits.split(_ROWS):
        joint = piece / temperature + added
        top = joint.amax(1, keepdim=True)
        columns.append((joint == top).int().argmax(1))  # the first of equals
        sure.append(1.0 / (joint - top).exp().sum(1))
    return torch.cat(columns).cpu().numpy(), torch.cat(sure).cpu().numpy()
