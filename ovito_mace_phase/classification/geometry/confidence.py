"""Confidence of a phase that a template fits: how often such labels are right.

    p    confidence of the network in its label,    logit p = log(p / (1 - p))
    the same phase     P = sigmoid(SAME + SURE logit p)
    another phase      P = sigmoid(OTHER - SURE_OTHER logit p):  the surer the network is of its own label, the less

The network alone is too sure of crystals that are not in the table, and a template that says another phase than a
network that is sure of its own is wrong more often than not.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
SAME, SURE = 1.06, 0.48
OTHER, SURE_OTHER = 0.85, 0.52
_NEAREST = 1e-5  # to 0 and 1, of p


def of_fitted(confidence: Float32, same: npt.NDArray[np.bool_]) -> Float32:
    """Return the probability that a fitted phase is right.

    Parameters
    ----------
    confidence : (n_atoms,) float32
        Of the network in its label, 0 to 1.
    same : (n_atoms,) bool
        Whether the fitted phase is that label.
    """
    p = np.clip(confidence.astype(np.float64), _NEAREST, 1.0 - _NEAREST)
    logit = np.log(p / (1.0 - p))
    found = np.where(same, SAME + SURE * logit, OTHER - SURE_OTHER * logit)
    return (1.0 / (1.0 + np.exp(-found))).astype(np.float32)
