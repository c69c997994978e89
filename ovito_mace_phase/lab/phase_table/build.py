"""Build ``table.json``: ``python -m ovito_mace_phase.lab.phase_table.build --data DIR -o table.json``.

Order: PTM's nine, omega, the named phases, the ices, the well populated classes, isopointal clusters, crystals by hand,
oxygen nets, sheets. Keys, ids and cells of an existing table are kept, new phases get the next free ids. Needs spglib,
pymatgen and genice2 (extras `phases` and `train`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from ovito_mace_phase.phases.colors import spread_color
from ovito_mace_phase.phases.record import Phase, ReferenceCell
from ovito_mace_phase.phases.table import read_table, write_table

from .by_hand import by_hand
from .cells import aflow_citation, label_pearson, label_space_group, reference_cell
from .groups import matching_pairs
from .ices import ICES, WATER_CITATION, WATER_SOURCE, ice_cell
from .isopointal import sort_clusters
from .measured import with_measured_ratio
from .names import choose_keys, clean_name, mineral_name, strukturbericht
from .nets import net_phases
from .sheets import SHEETS, sheet_phases
from .simple import PTM, PTM_PROPOSALS, omega_phase, ptm_phase
from .sources import Proposal, Sources

log = logging.getLogger(__name__)
ROUNDING = 1e-4  # A

Built = dict[str, tuple[ReferenceCell, str, str]]


def build_table(sources: Sources, *, max_atoms: int = 40) -> list[Phase]:
    """Build all phases, ids counted from 100 in the order of the module's docstring."""
    ptm_labels = {proposal.label for proposal in PTM_PROPOSALS.values()}
    proposals = [p for p in sources.proposals(max_atoms) if p.label not in ptm_labels]
    simple = list(PTM_PROPOSALS.values())
    built = _cells(sources, [*simple, *proposals])
    near, own = sort_clusters(sources, [*simple, *proposals], {label: entry[0] for label, entry in built.items()})
    built |= _cells(sources, own)
    proposals = [p for p in [*proposals, *own] if p.label in built]
    n_named = sum(proposal.key is not None and "@" not in proposal.label for proposal in proposals)
    crystals = _crystals(sources, proposals, built, near)
    ptm_cells = {key: built[proposal.label] for key, proposal in PTM_PROPOSALS.items()}
    phases = [ptm_phase(entry, ptm_cells.get(entry[1])) for entry in PTM]
    phases = [replace(p, merged=(*p.merged, *near.get(p.aflow or "", ()))) for p in phases]
    others = [omega_phase(), *crystals[:n_named], *_ices(), *crystals[n_named:]]
    others += [*by_hand(crystals), *net_phases(ICES), *sheet_phases(crystals)]
    phases += [replace(phase, id=100 + n) for n, phase in enumerate(others)]
    return _with_groups(phases)


def keep_keys(phases: Sequence[Phase], old: Sequence[Phase]) -> list[Phase]:
    """Give phases the keys that their labels have in an older table: a label may have got a namesake since."""
    known = {phase.aflow: phase.key for phase in old if phase.aflow}
    renamed = {phase.key: known.get(phase.aflow or "", phase.key) for phase in phases}
    return [replace(phase, key=renamed[phase.key], group=renamed[phase.group]) for phase in phases]


def keep_ids(phases: Sequence[Phase], old: dict[str, int]) -> list[Phase]:
    """Give phases the ids that their keys have in an older table; others come after the highest id."""
    following = max(old.values(), default=99) + 1
    result = []
    for phase in phases:
        number = phase.id if phase.id < 100 else old.get(phase.key)
        if number is None:
            number, following = following, following + 1
        result.append(replace(phase, id=number))
    return result


def keep_cells(phases: Sequence[Phase], old: dict[str, Phase]) -> list[Phase]:
    """Give phases the cells that they have in an older table, where both are one crystal.

    Which of two species alike is the first one may follow from the last digit, and the templates and the models made
    from a table go by its codes.
    """
    result = []
    for phase in phases:
        before = old[phase.key].reference if phase.key in old else None
        if before is not None and phase.reference is not None:
            if same_crystal(before, phase.reference):
                phase = replace(phase, reference=before)
            else:
                log.warning("the cell of %s is another one than before", phase.key)
        result.append(phase)
    return result


def same_crystal(first: ReferenceCell, second: ReferenceCell) -> bool:
    """Tell whether two cells have the same lattice vectors and places within rounding, species in any order."""
    if first.n_atoms != second.n_atoms or abs(first.cell - second.cell).max() > ROUNDING:
        return False
    apart = first.fractional[:, None] - second.fractional[None]
    distance = np.linalg.norm((apart - np.round(apart)) @ first.cell, axis=2)
    image = distance.argmin(axis=1)
    pairs = set(zip(first.species.tolist(), second.species[image].tolist(), strict=True))
    one_to_one = len(pairs) == len(set(first.species.tolist())) == len(set(second.species.tolist()))
    return bool(distance.min(axis=1).max() < ROUNDING) and len(set(image.tolist())) == len(image) and one_to_one


def with_colors(phases: Sequence[Phase]) -> list[Phase]:
    """Give the phases from id 100 on their colours."""
    return [replace(p, color=spread_color(p.id)) if p.id >= 100 else p for p in phases]


def _cells(sources: Sources, proposals: Sequence[Proposal]) -> Built:
    built: Built = {}
    for proposal in proposals:
        result = reference_cell(sources, proposal)
        if isinstance(result, str):
            log.warning("skipped %s (%s): %s", proposal.label, proposal.title, result)
        else:
            built[proposal.label] = result
    return built


def _crystals(sources: Sources, proposals: Sequence[Proposal], built: Built, near: dict[str, list[str]]) -> list[Phase]:
    rows = [sources.prototypes[proposal.label.partition("@")[0]] for proposal in proposals]
    designations = [
        None if "@" in proposal.label else strukturbericht(row["title"], row["strukturbericht"])
        for proposal, row in zip(proposals, rows, strict=True)
    ]
    minerals = [None if "@" in proposal.label else mineral_name(proposal) for proposal in proposals]
    keys = choose_keys(proposals, designations, minerals)
    phases = []
    for proposal, row, designation, mineral, key in zip(proposals, rows, designations, minerals, keys, strict=True):
        cell, source, citation = built[proposal.label]
        cell, source = with_measured_ratio(key, cell, source)
        credit = aflow_citation(row["part"])
        anchor = (proposal.anchor,) if proposal.anchor and "@" in proposal.anchor else ()
        phases.append(
            Phase(
                id=0,
                key=key,
                name=clean_name(proposal.title),
                aflow=proposal.label,
                strukturbericht=designation,
                pearson=label_pearson(proposal.label),
                space_group=label_space_group(proposal.label),
                mineral=mineral,
                group=key,
                color=(0.0, 0.0, 0.0),
                n_species=int(cell.species.max()) + 1,
                reference=cell,
                source=source,
                citation=citation if citation == credit else f"{citation}; {credit}",
                merged=(*anchor, *proposal.merged, *near.get(proposal.label, ())),
                **proposal.facts,
            )
        )
    return phases


def _ices() -> list[Phase]:
    return [
        Phase(
            id=0,
            key=ice.key,
            name=ice.name,
            aflow=None,
            strukturbericht=None,
            pearson=None,
            space_group=ice.space_group,
            mineral="Ice" if ice.key == "ICE_IH" else None,
            group=ice.key,
            color=(0.0, 0.0, 0.0),
            n_species=2,
            reference=ice_cell(ice),
            source=WATER_SOURCE.format(ice.lattice),
            citation=WATER_CITATION,
            merged=(),
            common=True,
            lattice=ice.oxygens,
        )
        for ice in ICES
    ]


def _with_groups(phases: Sequence[Phase]) -> list[Phase]:
    """Let phases whose reference cells match share the key of the first of them."""
    # As a crystal the cell of a sheet in vacuum means nothing.
    crystals = [(i, p.reference) for i, p in enumerate(phases) if p.reference is not None and p.key not in SHEETS]
    lead = list(range(len(phases)))
    for a, b in matching_pairs([cell for _, cell in crystals]):
        first, second = crystals[a][0], crystals[b][0]
        log.warning("same group: %s and %s", phases[first].key, phases[second].key)
        low, high = sorted((lead[first], lead[second]))
        lead = [low if entry == high else entry for entry in lead]
    return [replace(phase, group=phases[lead[i]].key) for i, phase in enumerate(phases)]


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--renumber", is_flag=True, help="Forget the ids of an existing output file.")
def main(data: Path, output: Path, *, renumber: bool) -> None:
    """Build the phase table from the files in DATA."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    sources = Sources(data)
    phases = build_table(sources)
    if output.exists() and not renumber:
        old = {phase.key: phase for phase in read_table(json.loads(output.read_text(encoding="utf-8")))}
        phases = keep_keys(phases, list(old.values()))
        phases = keep_cells(keep_ids(phases, {key: phase.id for key, phase in old.items()}), old)
    phases = with_colors(phases)
    write_table(output, phases)
    covered = {label for phase in phases for label in (phase.aflow, *phase.merged)}
    n_covered = sum(count for label, count in sources.mp_counts.items() if label in covered)
    click.echo(f"{len(phases)} phases; {n_covered} of {sum(sources.mp_counts.values())} Materials Project structures")


if __name__ == "__main__":
    main()
