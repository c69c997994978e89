"""What becomes of the clusters ``label@mp-id``: same space group and Wyckoff sites as a label, other geometry.

Free parameters and axial ratios make several structure types of one AFLOW label (AlB2 and UHg2, LiBC and ZrBeSi).
A cluster near the reference cell belongs to the phase; a distant and large one is a phase of its own; the rest is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ovito_mace_phase.phases.record import ReferenceCell

from .groups import MEDIUM, same_structure
from .radial_distances import best_order, partial_distributions
from .sources import Proposal, Sources

NEAR = 0.7
MIN_MEMBERS = 40


def sort_clusters(
    sources: Sources, proposals: Sequence[Proposal], cells: Mapping[str, ReferenceCell]
) -> tuple[dict[str, list[str]], list[Proposal]]:
    """Divide the clusters of the proposed labels.

    Returns
    -------
    near
        Labels of the clusters that belong to each proposal, by the label of the proposal.
    own
        Proposals for clusters that are phases of their own, the largest first.
    """
    owners: dict[str, Proposal] = {}
    for candidate in proposals:
        for label in (candidate.label, *candidate.merged):
            owners.setdefault(label, candidate)
    used = {label for candidate in proposals for label in (candidate.anchor, candidate.label)}
    near: dict[str, list[str]] = {}
    own = []
    for label, n_members in sorted(sources.mp_counts.items(), key=lambda item: (-item[1], item[0])):
        base, _, anchor = label.partition("@")
        proposal = owners.get(base)
        if not anchor or label in used or proposal is None or proposal.label not in cells:
            continue
        reference, cell = cells[proposal.label], sources.exemplars(label, 1)[0][1]
        distance, _ = best_order(cell, partial_distributions(reference), np.bincount(reference.species))
        if distance < NEAR or same_structure(reference, cell, MEDIUM):
            near.setdefault(proposal.label, []).append(label)
        elif n_members >= MIN_MEMBERS and base == proposal.label:
            own.append(sources.cluster(label, f"{proposal.title}, other geometry ({anchor})"))
    return near, own
