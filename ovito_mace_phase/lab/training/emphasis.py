"""Phases that a model gets wrong are drawn more often when its classes are trained once more.

    w_c = 1 + k max(e_c, e_b of the phases b most often taken for c)

e: share of the atoms of the validation part labelled wrong. A phase and the one it is taken for get the same weight at
least, so that neither becomes the likelier answer by being drawn more often.

    z_c <- z_c - a_c

A layer of a fault in fcc or hcp has the surroundings of DHCP as far as they can be told when it is hot, and faults are
met far more often than DHCP: a is the log of how much, chosen so that faults keep their layers.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ovito_mace_phase.model.network.head import PhaseHead
from ovito_mace_phase.phases import Phase

RARER = {"DHCP": 2.0}
"""a_c by key."""


def emphasis(card: Mapping[str, Any], phases: Sequence[Phase], strength: float) -> dict[int, float]:
    """Return w by column, of the phases that the card of a model has validation scores of.

    Parameters
    ----------
    card : mapping
        With `scores` as `scores.part_scores` makes them; without them all phases are drawn alike.
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


def as_rare_as_met(head: PhaseHead, phases: Sequence[Phase]) -> PhaseHead:
    """Return a copy whose logits z are lower by a; `phases` are its columns."""
    lower = torch.tensor([RARER.get(phase.key, 0.0) for phase in phases])
    changed = copy.deepcopy(head)
    with torch.no_grad():
        changed.last.bias.sub_(lower)
    return changed
