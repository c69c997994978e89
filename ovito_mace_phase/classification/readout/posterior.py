"""Probabilities of the phases of an atom:  p[a, c] = softmax_c(l[a, c] / T + log w_c),   T temperature, w prior."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


def posterior(logits: Float32, temperature: float, weights: npt.NDArray[np.float64] | None = None) -> Float32:
    """Return p, (n_atoms, n_phases); `weights` (n_phases,), None: uniform."""
    scaled = logits / np.float32(temperature)
    if weights is not None:
        with np.errstate(divide="ignore"):
            scaled = scaled + np.log(weights).astype(np.float32)
    scaled -= scaled.max(axis=1, keepdims=True)
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(axis=1, keepdims=True)
    return scaled
