"""What a model reads from its card, checked: phases, scale of the density, errors of the score."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.phases import Phase
from ovito_mace_phase.phases.own import table_with
from ovito_mace_phase.runtime.errors import InputError, ModelFileError


def phases(card: dict[str, Any]) -> tuple[Phase, ...]:
    """Return the phases that a card lists, in the order of the logits; raises ModelFileError."""
    table = table_with(card)
    try:
        return tuple(table.by_key(key) for key in card["phases"])
    except (KeyError, TypeError, AttributeError):
        raise ModelFileError(
            "the model card has no list 'phases' of keys: the card was edited; copy both files of the model again"
        ) from None
    except InputError as error:
        raise ModelFileError(
            f"the model names phases that this version of the table does not have ({error}); "
            "upgrade ovito-mace-phase or choose another model"
        ) from None


def noise_scale(card: dict[str, Any]) -> float:
    """Return the scale of the density, network units; raises InputError for a model trained for labels alone."""
    scale = card.get("noise_scale")
    if not isinstance(scale, int | float) or not 0.0 < scale < 10.0:
        raise InputError(
            f"the model {card.get('name', 'unnamed')!r} was trained for labels alone (its card has no noise_scale), so "
            "it cannot denoise; use the shipped model, or train one end to end (docs/training.md)"
        )
    return float(scale)


def step_errors(card: dict[str, Any], of: tuple[Phase, ...]) -> npt.NDArray[np.float64]:
    """Return the error of a denoising step for each phase, (n_phases,), network units; raises ModelFileError."""
    entry = card.get("score_errors", {})
    if not isinstance(entry, dict) or not all(_is_length(error) for error in entry.values()):
        raise ModelFileError(
            f"the entry 'score_errors' of the model card must hold a length from 0 to 1 for each phase, not "
            f"{str(entry)[:200]}: the card was edited; copy both files of the model again"
        )
    typical = float(np.median(list(entry.values()))) if entry else 0.0
    known = {"OTHER": 0.0} | entry
    return np.array([known.get(phase.key, typical) for phase in of], dtype=np.float64)


def _is_length(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value < 1.0
