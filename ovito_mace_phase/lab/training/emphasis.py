"""Phases with a high validation error are oversampled when the class branch is retrained.

    w_c = 1 + k max(e_c, e_b of the phases b most often taken for c)

e is the share of validation atoms labelled wrong. A phase and the one it is taken for get at least the same weight, so
that neither becomes the likelier answer because it is drawn more often.

    z_c <- z_c - a_c

a is the logit offset of the phase table, 0 for most. A layer of a fault in hot fcc or hcp cannot be told from DHCP, and
faults are far more frequent than DHCP: its offset is chosen so that faults keep their layers.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ovito_mace_phase.model.network.head import PhaseHead
from ovito_mace_phase.phases import Phase


def phase_weights(card: Mapping[str, Any], phases: Sequence[Phase], strength: float) -> dict[int, float]:
    """Return w by column, of the phases that the model card has validation scores of.

    Parameters
    ----------
    card : mapping
        With `scores` as `calibration.accuracy.part_scores` makes them; without them all phases are drawn equally often.
    phases : sequence of Phase
        Columns.
    strength : float
        k.
    """
    column = {phase.key: number for number, phase in enumerate(phases)}
    scores = card.get("scores", {}).get("validation", {}).get("per_phase", {})
    error = {key: 1.0 - found["phase"] for key, found in scores.items() if key in column}
    shared = dict(error)
    for key, own in error.items():
        other = scores[key]["confused_with"]
        if column.get(other, 0):
            shared[other] = max(shared.get(other, 0.0), own)
    return {column[key]: 1.0 + strength * share for key, share in shared.items()}


def with_logit_offsets(head: PhaseHead, phases: Sequence[Phase]) -> PhaseHead:
    """Return a copy whose logits z are lower by a; `phases` are its columns."""
    lower = torch.tensor([phase.logit_offset for phase in phases])
    changed = copy.deepcopy(head)
    changed.lower_logits(lower)
    return changed
