"""What a network learns about an atom besides its label: logits and log-density of an earlier network, the teacher.

    loss = weight T^2 KL(softmax(l' / T) || softmax(l / T)) over the best phases of the teacher,   l' its logits
         + density_weight huber((E - E') / density_scale),     E = logsumexp_c l

Where the teacher is wrong, that is, its best phase is not the label, its logits count nothing and the label decides.
Source: Hinton, Vinyals, Dean, arXiv:1503.02531 (2015).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ovito_mace_phase.lab.features.targets import Targets


@dataclass(frozen=True, kw_only=True)
class TargetWeights:
    """Numbers of the equation above; losses are means over atoms."""

    weight: float = 0.2
    temperature: float = 3.0
    density_weight: float = 0.1
    density_scale: float = 1.0


def target_loss(
    logits: Tensor, label: Tensor, targets: Targets, settings: TargetWeights
) -> tuple[Tensor, Tensor]:
    """Return the two sums over atoms, of the classes and of the density, without dividing by their number.

    Parameters
    ----------
    logits : (n, n_phases)
    label : (n,) int64
        -1 for atoms without a label: they count for the density alone.
    targets : Targets
        Of the same atoms.
    settings : TargetWeights
    """
    phase = torch.from_numpy(targets.phase.astype(np.int64)).to(label)
    wanted = torch.from_numpy(targets.logit).to(logits)
    right = (phase[:, 0] == label) & (label >= 0)
    t = settings.temperature
    own = torch.log_softmax(logits.gather(1, phase.clamp_min(0)) / t, 1)
    theirs = torch.log_softmax(wanted / t, 1)
    divergence = (theirs.exp() * (theirs - own)).sum(1)
    classes = settings.weight * t * t * torch.where(right, divergence, 0.0).sum()
    given = torch.from_numpy(targets.density).to(logits)
    there = torch.isfinite(given)
    error = (torch.logsumexp(logits, 1) - torch.where(there, given, 0.0)) / settings.density_scale
    far = nn.functional.huber_loss(error, torch.zeros_like(error), reduction="none")
    return classes, settings.density_weight * torch.where(there, far, 0.0).sum()
