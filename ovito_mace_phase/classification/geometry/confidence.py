"""Confidence of a phase that a template fits: how often such labels are right.

    p    confidence of the network in its label,    logit p = log(p / (1 - p))
    P  = sigmoid(a + b logit p)

a and b (`FitTrust`) belong to the model: one pair where the fitted phase is that label, one where it is another, and
of both one for the phases that simulations are full of: lattices that PTM knows, the common ones of the table, ices;
and of all other phases one where the matched atoms around are not of one mind, accord < DIVIDED (see `agreement`): a
crystal that is what its template says agrees (mean support 1.00 in 95 % of 479 held-out crystals that were right, noise
up to 0.15 A, above 0.96 in 99 %), one of another stacking does not.
A network is too sure of crystals that are not in the table, which it takes for ordered or complex phases; b < 0 where
the template says another phase, since a network that is sure of its own label is then right more often.

mace-phase-6: logistic regression on the validation part of the split, which is not measured, 377 phases and 76
prototypes that are not in the table, one crystal of each with white noise up to 0.15 A, crystals weighing alike but
those of no phase half, gave 0.29, 0.76 and -0.01, -0.50. Its numbers are steeper, since hot crystals, which are all
right, are surer than that: ECE of held-out crystals 0.016 (0.017 with the fit), sure of a crystal outside the table
9.5 % (8.7). Later models carry numbers of their own (`lab.calibration.fit_trust`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
DIVIDED = 0.95
_NEAREST = 1e-5  # to 0 and 1, of p


@dataclass(frozen=True, kw_only=True)
class FitTrust:
    """a and b in each case; a model without numbers of its own has those of mace-phase-6.

    Attributes
    ----------
    same, same_familiar : (float, float)
        Where the template says what the network says; of lattices that PTM knows, other common phases and ices.
    other, other_familiar : (float, float)
        The same where the template says another phase.
    same_divided, other_divided : (float, float), optional
        Of all but those phases, where the atoms around are not of one mind; `same` and `other` where there are none.
    """

    same: tuple[float, float] = (0.35, 0.85)
    same_familiar: tuple[float, float] = (0.0, 1.0)
    other: tuple[float, float] = (-0.05, -0.45)
    other_familiar: tuple[float, float] = (-0.05, -0.45)
    same_divided: tuple[float, float] | None = None
    other_divided: tuple[float, float] | None = None


def logit(confidence: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return log(p / (1 - p)), finite."""
    p = np.clip(np.asarray(confidence, dtype=np.float64), _NEAREST, 1.0 - _NEAREST)
    return np.log(p / (1.0 - p))


def case_of(same: Bool, familiar: Bool, accord: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return which field of `FitTrust` counts for each atom, (n_atoms,); parameters as in `of_fitted`."""
    divided = ~familiar & (accord < DIVIDED)
    return np.where(divided, 5 - same.astype(np.int64), 2 * (1 - same.astype(np.int64)) + familiar)


def of_fitted(
    confidence: Float32, same: Bool, familiar: Bool, accord: npt.NDArray[np.float64], trust: FitTrust
) -> Float32:
    """Return the probability that a fitted phase is right.

    Parameters
    ----------
    confidence : (n_atoms,) float32
        Of the network in its label, 0 to 1.
    same : (n_atoms,) bool
        Whether the fitted phase is that label.
    familiar : (n_atoms,) bool
        Whether it is a lattice that PTM knows, another common phase, or an ice.
    accord : (n_atoms,) float64
        How far the matched atoms around agree, 0 to 1.
    trust : FitTrust
    """
    pairs = [trust.same, trust.same_familiar, trust.other, trust.other_familiar]
    pairs += [trust.same_divided or trust.same, trust.other_divided or trust.other]
    a, b = np.array(pairs)[case_of(same, familiar, accord)].T
    return (1.0 / (1.0 + np.exp(-(a + b * logit(confidence))))).astype(np.float32)
