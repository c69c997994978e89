"""Distance from the ideal crystal of a phase, out of its order parameter.

    l = b_c - d^2 / (2 s_c^2)    <=>    d = s_c sqrt(2 max(0, b_c - l))

d is the root mean square displacement (all three directions) from the sites of phase c of the atom and those around it.
b_c and s_c were fitted to crystals with graded noise when the model was trained (`lab/calibration/distances.py`); its
card holds them with R^2 of the fit, as "distances". Far from a phase d says "far", not how far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.runtime.errors import InputError, ModelFileError

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class DistanceFit:
    """b, s (network units) and R^2 of the fit of one phase."""

    best: float
    scale: float
    r_squared: float

    def distance(self, logit: Float32) -> Float32:
        """Return d, network units, of order parameters."""
        return (self.scale * np.sqrt(2.0 * np.maximum(0.0, self.best - logit))).astype(np.float32)


def fits(card: Mapping[str, Any], keys: Sequence[str]) -> dict[str, DistanceFit]:
    """Return the fits of some phases, from a model card.

    Raises
    ------
    InputError
        When the model has none.
    ModelFileError
        When an entry cannot be used.
    """
    stored = card.get("distances")
    if not isinstance(stored, Mapping):
        raise InputError(
            f"the model {card.get('name', 'unnamed')!r} was not calibrated for distances (its card has no such entry); "
            "use the shipped model, or leave distances off"
        )
    out = {}
    for key in keys:
        if key in stored:
            try:
                best, scale, r_squared = (float(value) for value in stored[key])
            except (TypeError, ValueError):
                raise ModelFileError(
                    f"the entry 'distances' of the model card holds {stored[key]!r} for {key}, not three numbers: "
                    "the card was edited; copy both files of the model again"
                ) from None
            out[key] = DistanceFit(best=best, scale=scale, r_squared=r_squared)
    return out


def distances(order_parameters: Mapping[str, Float32], card: Mapping[str, Any], factor: float) -> dict[str, Float32]:
    """Return the distance (n_atoms,) in the unit of the file for every order parameter whose phase has a fit.

    Parameters
    ----------
    order_parameters : mapping
        Key -> logits of a phase.
    card : mapping
        The model card.
    factor : float
        Network units per unit of the file.
    """
    found = fits(card, list(order_parameters))
    return {key: fit.distance(order_parameters[key]) / np.float32(factor) for key, fit in found.items()}
