"""Build ``further.npz``: ``python -m ovito_mace_phase.lab.phase_table.further DATA -o further.npz``.

    covered   rmsd < COVERED, of one of the templates of the phase, at ENOUGH of the atoms of a member without noise
    further   the member whose template covers most of those left (LEAST_KIN at least), up to MOST for a phase

A member is a kind of the phase, and no other crystal, where its cell has as many atoms and sites as the reference cell,
whose template fits at least one of its atoms (rmsd < 0.3). Members of the training part of the split alone are looked
at. A cell is written turned by the rotation of that fit; sites and species are numbered as those of the reference cell
whose surroundings they fit best, sites of one number of atoms in exchange for one another.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from scipy.optimize import linear_sum_assignment

from ovito_mace_phase.atoms.network_frame import network_frame
from ovito_mace_phase.classification.geometry.kernels import NO_FIT, polar, search
from ovito_mace_phase.classification.geometry.library import make_library
from ovito_mace_phase.classification.geometry.surroundings import find_surroundings
from ovito_mace_phase.lab.crystals import repeated
from ovito_mace_phase.lab.data.structures import CrystalStructure, load_labelled, reference_structures, split
from ovito_mace_phase.phases.record import ReferenceCell
from ovito_mace_phase.phases.table import phase_table
from ovito_mace_phase.phases.templates import Template, pack_symmetry, template, template_of

from .templates import site_record, write_arrays

log = logging.getLogger(__name__)
COVERED, ENOUGH = 0.10, 0.9
LEAST_KIN, MOST = 2, 2
SYMPREC = 0.05  # A, of relaxed members
_LOOKED_AT = 16  # members of a phase, drawn at random
_WIDTH = 8.0
_NEVER = 1e3


class Fit(NamedTuple):
    """Best fit of a template to each atom of a member: rmsd (n_atoms,), template atom, F (n_atoms, 3, 3)."""

    rmsd: np.ndarray
    atom: np.ndarray
    gradient: np.ndarray

    @property
    def covered(self) -> bool:
        """Whether the template stands for the member."""
        return bool((self.rmsd < COVERED).mean() >= ENOUGH)


def fit_member(member: CrystalStructure, own: Template) -> Fit:
    """Fit a template to every atom of a member, which has no noise."""
    library = make_library([own])
    frame = network_frame(repeated(member.cell, member.fractional, member.species, _WIDTH), r_max=6.0, n_slots=8)
    near = find_surroundings(frame, library)
    place, n_atoms = np.argsort(near.order), len(member)
    out = Fit(np.full(n_atoms, NO_FIT), np.full(n_atoms, -1), np.zeros((n_atoms, 3, 3)))
    codes, gradient = np.zeros(int(library.n_codes.max()), dtype=np.int64), np.zeros((3, 3))
    slot, used, values = np.zeros(64, dtype=np.int16), np.zeros(near.vectors.shape[1], dtype=bool), np.zeros(5)
    for atom in range(n_atoms):
        a = place[atom]
        around = near.species[near.neighbour[a]]
        for t in np.flatnonzero(own.seed):
            score = search(
                library, t, near.count[a], near.vectors[a], around, near.species[a], int(member.species.max()) + 1,
                codes, gradient, slot, used, values,
            )  # fmt: skip
            if score < NO_FIT and values[0] < out.rmsd[atom]:
                out.rmsd[atom], out.atom[atom], out.gradient[atom] = values[0], t, gradient
    return out


def numbered_as(
    own: Template, record: dict[str, Any], species: np.ndarray, fit: Fit
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the sites (n_atoms,) and species (n_atoms,) of a member, numbered as those of a template; None: no way.

    The cost of a pair of sites is the mean of min(rmsd, 1) where an atom of the one fits the other, else 1; pairs of
    another share of the atoms, or another species, are out of the question.
    """
    n_sites, share = own.n_sites, own.multiplicity / len(own.site)
    least, best = _NEVER, None
    for order in itertools.permutations(range(int(own.species.max()) + 1)):
        renamed = np.array(order)[species]
        cost = np.full((n_sites, n_sites), _NEVER)
        for site in range(n_sites):
            mine = record["site"] == site
            for other in range(n_sites):
                code = own.species[own.site == other][0]
                if code != renamed[mine][0] or abs(share[other] - mine.mean()) > 1e-6:
                    continue
                here = mine & (own.site[np.maximum(fit.atom, 0)] == other)
                cost[site, other] = (np.minimum(fit.rmsd[here], 1.0).sum() + (mine & ~here).sum()) / mine.sum()
        rows, columns = linear_sum_assignment(cost)
        total = float(cost[rows, columns].sum())
        if total < least:
            least, best = total, (columns[record["site"]], renamed)
    return best


def further(members: list[CrystalStructure], own: Template, cell: ReferenceCell) -> list[tuple[CrystalStructure, dict]]:
    """Return the members of a phase whose templates it needs, turned and numbered, with their records."""
    left = [(member, fit) for member in members if not (fit := fit_member(member, own)).covered]
    found = []
    for _ in range(MOST):
        chosen = None
        for member, fit in left:
            record = site_record(_cell(member), symprec=SYMPREC)
            theirs = template_of(own.key, _cell(member), record)
            covers = [fit_member(other, theirs).covered for other, _ in left]
            same = len(member) == cell.n_atoms and int(record["site"].max()) + 1 == own.n_sites
            numbers = numbered_as(own, record, member.species, fit) if same and fit.rmsd.min() < NO_FIT else None
            if numbers is not None and sum(covers) >= max(LEAST_KIN, 1 + (sum(chosen[4]) if chosen else 0)):
                chosen = (member, fit, record, numbers, covers)
        if chosen is None:
            break
        member, fit, record, (site, species), covers = chosen
        turn = np.empty((3, 3))
        polar(fit.gradient[fit.rmsd.argmin()], turn)
        found.append((replace(member, cell=member.cell @ turn, species=species), record | {"site": site}))
        left = [one for one, covered in zip(left, covers, strict=True) if not covered]
    return found


def _cell(member: CrystalStructure) -> ReferenceCell:
    return ReferenceCell(cell=member.cell, species=member.species, fractional=member.fractional)


def build(data: Path, seed: int) -> dict[str, np.ndarray]:
    """Return the arrays of the file; `seed` is that of the split of the model that is trained with the same data."""
    phases = list(phase_table())
    labelled = load_labelled(data, phases)
    parts = split(labelled, reference_structures(phases, labelled), len(phases), seed)
    members: dict[int, list[CrystalStructure]] = {}
    for structure in parts["train"]:
        members.setdefault(structure.phase, []).append(structure)
    rng = np.random.default_rng(seed)
    records: dict[str, dict[str, Any]] = {}
    cells: list[CrystalStructure] = []
    for column, phase in enumerate(phases):
        own, group = template(phase), members.get(column, [])
        if own is None or phase.reference is None or own.net or own.planar or not group:
            continue
        looked_at = [group[k] for k in rng.permutation(len(group))[:_LOOKED_AT]]
        for number, (member, record) in enumerate(further(looked_at, own, phase.reference)):
            log.info("%s: %s", phase.key, member.source)
            records[f"{phase.key} {number}"] = record
            cells.append(member)
    return pack_symmetry(records) | {
        "source": np.array([one.source for one in cells]),
        "cell": np.array([one.cell for one in cells], dtype=np.float32),
        "fractional": np.concatenate([one.fractional for one in cells]).astype(np.float32),
        "species": np.concatenate([one.species for one in cells]).astype(np.int8),
    }


@click.command()
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--seed", default=0, show_default=True, help="Seed of the split, as in the card of the model.")
def main(data: Path, output: Path, seed: int) -> None:
    """Find the phases whose members differ from their reference cell, and write cells of them."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    arrays = build(data, seed)
    write_arrays(output, arrays)
    click.echo(f"{len(arrays['key'])} cells, {output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
