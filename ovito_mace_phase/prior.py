"""Empirical prior of a frame: phase fractions estimated from its own atoms, without evaluating the network again.

With p the posterior under weights w, expectation-maximisation repeats

    w_c <- sum_a p[a, c] / n_atoms,        p[a, c] ~ w_c exp(l[a, c] / T)

A phase that no region of the frame supports loses its stray atoms; a small nucleus that its atoms are sure of stays.
Source: Saerens, Latinne, Decaestecker, Neural Computation 14 (2002) 21.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .confidence import posterior

N_STEPS = 30


def frame_prior(logits: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.float64]:
    """Return phase weights (n_phases,) that sum to 1, of atoms that stand for the frame (`PhaseScores.sample`)."""
    n_phases = logits.shape[1]
    weights = np.full(n_phases, 1.0 / n_phases)
    if len(logits) == 0:
        return weights
    likelihood = posterior(logits, temperature).astype(np.float64)
    for _ in range(N_STEPS):
        joint = likelihood * weights
        joint /= joint.sum(axis=1, keepdims=True)
        weights = (joint.sum(axis=0) + 1e-6) / (len(logits) + 1e-6 * n_phases)
    return weights
