"""Temperature and density threshold of a trained head.

T = argmin of the cross-entropy of l / T on held-out samples (and hot crystals);     Guo et al., ICML 2017
threshold = lowest quantile of logsumexp l over the sources of crystals, so that none loses more of its atoms to Other
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ovito_mace_phase.model.calibration import Calibration

Rows = tuple[npt.NDArray[np.float32], npt.NDArray[np.integer]]


def calibrate(validation: Rows, hot: Sequence[Rows], rejected: float, *, hot_weight: float = 0.0) -> Calibration:
    """Fit the temperature on held-out samples and the density threshold on them and on hot crystals.

    Parameters
    ----------
    validation, hot
        Logits (n, n_phases) and labels (n,) of each source.
    rejected : float
        Share of the crystal atoms of a source that may fall below the threshold.
    hot_weight : float
        Weight of the hot crystals, all together, in the fit of the temperature against the held-out samples.
    """
    log_temperature = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=50)
    sources = [(1.0, *validation), *((hot_weight / max(1, len(hot)), *rows) for rows in hot)]
    terms = [
        (weight, torch.from_numpy(logits), torch.from_numpy(label.astype(np.int64)))
        for weight, logits, label in sources
        if weight
    ]

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.zeros(())
        for weight, logits, label in terms:
            loss = loss + weight * nn.functional.cross_entropy(logits / log_temperature.exp(), label)
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    densities = []
    for logits, label in (validation, *hot):
        crystal = torch.from_numpy(logits[label != 0])
        densities.append(torch.quantile(torch.logsumexp(crystal, 1)[:1_000_000], rejected))
    return Calibration(temperature=float(log_temperature.detach().exp()), log_density=float(min(densities)))
