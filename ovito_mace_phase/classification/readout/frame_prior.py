"""Empirical prior of a frame: phase fractions estimated from its own atoms, without evaluating the network again.

With p the posterior under weights w, expectation-maximisation repeats

    w_c <- sum_a p[a, c] / n_atoms,        p[a, c] ~ w_c exp(l[a, c] / T)

A phase without support in any region of the frame loses its stray atoms; a small nucleus of confident atoms remains.
Source: Saerens, Latinne, Decaestecker, Neural Computation 14 (2002) 21.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.runtime.threads import over_rows

from .kernels import posterior_sums
from .posterior import posterior

N_STEPS = 30
"""At most."""
SETTLED = 1e-6  # sum of the changes of the weights in a step
_ROWS = 4096
FLOOR = 1e-6  # atoms; no phase is ruled out


def frame_prior(logits: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.float64]:
    """Return phase weights (n_phases,) that sum to 1, of atoms that stand for the frame (`KeptLogits.sample`)."""
    n_phases = logits.shape[1]
    weights = np.full(n_phases, 1.0 / n_phases)
    if len(logits) == 0:
        return weights
    parts = over_rows(lambda a, b: posterior(logits[a:b], temperature), len(logits), _ROWS)
    for _ in range(N_STEPS):
        known = weights.astype(np.float32)
        sums = over_rows(lambda k, _: posterior_sums(parts[k], known), len(parts), 1)  # noqa: B023 - used up at once
        before, weights = weights, (np.sum(sums, axis=0) * weights + FLOOR) / (len(logits) + FLOOR * n_phases)
        if np.abs(weights - before).sum() < SETTLED:
            break
    return weights
