"""Check that no two phases are one structure: ``python -m ovito_mace_phase.lab.phase_table.distinct [KEY ...]``.

Each crystal q without noise is held against the template of each phase p with as many species:

    own      rmsd < OWN at all sites of q for p = q
    same     residual < SAME at all sites of q, and q's template at all sites of p: after a homogeneous strain, one
             structure; their cells may differ in shape

Pairs that are the same must share a group, or one of them is the parent of the other (`families`). Templates see the
first shells alone: crystals that differ farther out (stackings of layers, cells with equal surroundings) are listed
where one template fits all sites of the other crystal and the reverse.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import click
import numpy as np

from ovito_mace_phase.classification.geometry.library import make_library
from ovito_mace_phase.phases.record import Phase
from ovito_mace_phase.phases.table import phase_table
from ovito_mace_phase.phases.templates import Template, template

from .families import fitted
from .radial_distances import match_orders, partial_distributions

log = logging.getLogger(__name__)
OWN, SAME = 1e-6, 0.01
FAR = 1.2
"""Distance of the partial radial distributions from which crystals are different without a fit."""


def distances_of(phases: Sequence[Phase], chosen: Iterable[str]) -> tuple[dict[str, float], list[tuple[str, str]]]:
    """Return the largest rmsd of the chosen crystals with their own templates, and the pairs that are the same."""
    known = [(p, t) for p in phases if (t := template(p)) is not None and not t.net and not t.planar]
    counts = {p.key: np.bincount(p.reference.species) for p, _ in known if p.reference is not None}
    radial = {p.key: partial_distributions(p.reference) for p, _ in known if p.reference is not None}
    found: dict[str, dict[str, np.ndarray]] = {}
    wanted = set(chosen)

    def likely(one: Phase, other: Phase) -> bool:
        if one.n_species != other.n_species:
            return False
        return match_orders(radial[one.key], counts[one.key], radial[other.key], counts[other.key])[0] < FAR

    own, pairs = {}, []
    for phase, mine in known:
        if phase.key not in wanted:
            continue
        near = [(p, t) for p, t in known if p is not phase and likely(phase, p)]
        rows = _fits(phase, [mine, *(t for _, t in near)])
        own[phase.key] = float(rows[:, 0, 0].max())
        log.info("%s: %.1e, %d others", phase.key, own[phase.key], len(near))
        found[phase.key] = {p.key: rows[:, k + 1] for k, (p, _) in enumerate(near)}
        for other, _ in near:
            if found[phase.key][other.key][:, 1].max() > SAME:
                continue
            if _fits(other, [mine])[:, 0, 1].max() < SAME:
                pairs.append((phase.key, other.key))
    return own, pairs


def _fits(crystal: Phase, templates: list[Template]) -> np.ndarray:
    return fitted(crystal, templates, make_library(templates))


@click.command()
@click.argument("keys", nargs=-1)
def main(keys: tuple[str, ...]) -> None:
    """Hold phases of the table against all others; all of them where no KEYS are named."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    phases = list(phase_table())
    own, pairs = distances_of(phases, keys or [phase.key for phase in phases])
    click.echo(f"{len(own)} crystals, {sum(value > OWN for value in own.values())} do not fit themselves")
    for one, other in pairs:
        click.echo(f"the same: {one} {other}")


if __name__ == "__main__":
    main()
