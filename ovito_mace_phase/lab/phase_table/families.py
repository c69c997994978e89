"""Measure families and rivals of phases: ``python -m ovito_mace_phase.lab.phase_table.families FOLDER``.

Each template p is fitted to every site of each crystal q with as many species:

    p is the parent of q    residual < EXACT at all sites of q, as many atoms of each species in the cell, more
                            rotations than q has, strain D < FARTHEST: q is a homogeneous deformation of p, and is
                            called p up to a strain of min(LIMIT, SHARE D) from p. A sheet is no parent
    q is a rival of p       rmsd < ALIKE at all sites of q: a crystal of q could be taken for p, atom by atom; or both
                            are stackings of the same layers (`measured.POLYTYPES`)

Crystals of up to SMALL atoms in the cell are looked at: parents are simple, and so are those that a strain takes them
to. Families go into the table (`Phase.family`), rivals into ``templates.npz``, beside those found before: a search does
not try every rotation.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from ovito_mace_phase.atoms.network_frame import network_frame
from ovito_mace_phase.classification.geometry.kernels_matrix import NO_FIT
from ovito_mace_phase.classification.geometry.kernels_nearest import lay_out, memory_for
from ovito_mace_phase.classification.geometry.kernels_search import search
from ovito_mace_phase.classification.geometry.library import Library, make_library
from ovito_mace_phase.classification.geometry.surroundings import find_surroundings
from ovito_mace_phase.lab.crystals import repeated
from ovito_mace_phase.phases.record import Phase
from ovito_mace_phase.phases.table import phase_table, write_table
from ovito_mace_phase.phases.templates import Template, template

from .measured import POLYTYPES
from .sheets import SHEETS
from .templates import write_arrays

log = logging.getLogger(__name__)
EXACT, ALIKE = 0.01, 0.10
FARTHEST, LIMIT, SHARE = 0.25, 0.15, 0.75
SMALL = 6
_WIDTH = 8.0


def fitted(crystal: Phase, templates: list[Template], library: Library) -> np.ndarray:
    """Return rmsd, residual and strain of each template at each site of a crystal, (n_sites, n_templates, 3)."""
    cell, own = crystal.reference, template(crystal)
    if cell is None or own is None:
        raise ValueError(f"{crystal.key} has no template")
    frame = network_frame(repeated(cell.cell, cell.fractional, cell.species, _WIDTH), r_max=6.0, n_slots=8)
    near = find_surroundings(frame, library)
    place = np.argsort(near.order)
    n_half = cell.n_atoms
    sites = {int(s): int(a) for a, s in reversed(list(enumerate(own.site[:n_half])))}
    out = np.full((len(sites), len(templates), 3), NO_FIT)
    n_species = int(cell.species.max()) + 1
    codes, gradient = np.zeros(int(library.n_codes.max()), dtype=np.int64), np.zeros((3, 3))
    slot, around, values = np.zeros(64, dtype=np.int16), memory_for(near.vectors.shape[1]), np.zeros(5)
    for row, atom in sites.items():
        a = place[atom]
        lay_out(around, near.count[a], near.vectors[a], near.neighbour[a], near.species)
        for t in library.seeds:
            phase = library.phase[t]
            score = search(
                library, t, near.count[a], near.vectors[a], around, near.species[a], n_species, codes, gradient, slot,
                NO_FIT, values,
            )  # fmt: skip
            pattern = abs(score - values[0]) < 1e-9  # no atom of the wrong species
            if score < NO_FIT and pattern and values[4] == 0 and values[0] < out[row, phase, 0]:
                out[row, phase] = values[:3]
    return out


def _composition(found: Template) -> list[int]:
    return sorted(np.bincount(found.species[: len(found.wyckoff)]).tolist())


def relations(phases: list[Phase]) -> tuple[dict[str, tuple[str, float]], dict[str, list[str]]]:
    """Return key -> parent and strain up to which it stands for the phase, and key -> keys of the rivals."""
    parents: dict[str, tuple[str, float]] = {}
    rivals: dict[str, list[str]] = {}
    known = [(p, t) for p in phases if (t := template(p)) is not None and not t.net and not t.planar]
    for n_species in sorted({p.n_species for p, _ in known}):
        group = [(p, t) for p, t in known if p.n_species == n_species and len(t.site) <= SMALL]
        if not group:
            continue
        templates = [t for _, t in group]
        library = make_library(templates)
        turns = np.array([len(t.rotations) for t in templates])
        solid = np.array([p.key not in SHEETS for p, _ in group])
        log.info("%d phases of %d species", len(group), n_species)
        for place, (crystal, own) in enumerate(group):
            found = fitted(crystal, templates, library).max(axis=0)
            alike = np.array([_composition(t) == _composition(own) for t in templates])
            above = alike & solid & (found[:, 1] < EXACT) & (found[:, 2] < FARTHEST) & (turns > turns[place])
            if above.any():
                best = min(np.flatnonzero(above), key=lambda k: (-turns[k], found[k, 2]))
                parents[own.key] = (templates[best].key, round(min(LIMIT, SHARE * float(found[best, 2])), 4))
            for other in np.flatnonzero(found[:, 0] < ALIKE):
                if other != place:
                    rivals.setdefault(templates[other].key, []).append(crystal.key)
    return parents, rivals


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Measure families and rivals, and write them to table.json and templates.npz in FOLDER."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    phases = list(phase_table())
    parents, rivals = relations(phases)
    for polytypes in POLYTYPES:
        for key in polytypes:
            rivals[key] = sorted({*rivals.get(key, []), *polytypes} - {key})
    named = {p.key: parents.get(p.key, ("", 0.0)) for p in phases}
    write_table(
        folder / "table.json",
        [replace(p, family=named[p.key][0], family_strain=named[p.key][1]) for p in phases],
    )
    with np.load(folder / "templates.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files if name != "format"}
    keys = arrays["key"].tolist()
    before = arrays.get("rivals", np.full(len(keys), ""))
    for key, found in zip(keys, before.tolist(), strict=True):
        rivals[key] = sorted({*rivals.get(key, []), *found.split()})
    arrays["rivals"] = np.array([" ".join(rivals[key]) for key in keys])
    write_arrays(folder / "templates.npz", arrays)
    click.echo(json.dumps({"parents": parents, "rivals": {k: len(v) for k, v in rivals.items()}}))


if __name__ == "__main__":
    main()
