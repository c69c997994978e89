"""Confidence of a phase that a template fits: how often such labels are right.

    p    confidence of the network in its label,    logit p = log(p / (1 - p))
    the same phase     P = sigmoid(SAME + SURE logit p);    P = p for lattices that PTM knows, and ices
    another phase      P = sigmoid(OTHER - SURE_OTHER logit p):  the surer the network is of its own label, the less

The network alone is too sure of crystals that are not in the table, which it takes for ordered or complex phases, and a
template that says another phase than a network that is sure of its own is wrong more often than not.

Logistic regression with mace-phase-6 on the validation part of the split, which is not measured: 377 phases and 76
prototypes that are not in the table, one crystal of each with white noise up to 0.15 A, crystals weighing alike but
those of no phase half, gives 0.29, 0.76 and -0.01, 0.50. The constants are steeper, since hot crystals, which are all
right, are surer than that: ECE of held-out crystals 0.016 (0.017 with the fit), sure of a crystal outside the table
9.5 % (8.7).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
SAME, SURE = 0.35, 0.85
OTHER, SURE_OTHER = -0.05, 0.45
_NEAREST = 1e-5  # to 0 and 1, of p


def of_fitted(confidence: Float32, same: Bool, familiar: Bool) -> Float32:
    """Return the probability that a fitted phase is right.

    Parameters
    ----------
    confidence : (n_atoms,) float32
        Of the network in its label, 0 to 1.
    same : (n_atoms,) bool
        Whether the fitted phase is that label.
    familiar : (n_atoms,) bool
        Whether it is a lattice that PTM knows, or an ice: the network is not too sure of these.
    """
    p = np.clip(confidence.astype(np.float64), _NEAREST, 1.0 - _NEAREST)
    logit = np.log(p / (1.0 - p))
    found = 1.0 / (1.0 + np.exp(-np.where(same, SAME + SURE * logit, OTHER - SURE_OTHER * logit)))
    return np.where(same & familiar, confidence, found).astype(np.float32)
