"""Which members of a phase its reference cell does not stand for: what `lab.data.further` makes ``further.npz`` of.

    covered   rmsd < COVERED, of one of the templates of the phase, at ENOUGH of the atoms of a member without noise
    further   the member whose template covers most of those left (LEAST_KIN at least), up to MOST for a phase

A member is a kind of the phase, and no other crystal, where its cell has as many atoms and sites as the reference cell,
whose template fits at least one of its atoms (rmsd < 0.3). It is turned back by the rotation of that fit; sites and
species are numbered as those of the reference cell whose surroundings they fit best, sites of one number of atoms in
exchange for one another.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

from ovito_mace_phase.atoms.network_frame import network_frame
from ovito_mace_phase.classification.geometry.kernels_matrix import NO_FIT, polar
from ovito_mace_phase.classification.geometry.kernels_nearest import lay_out, memory_for
from ovito_mace_phase.classification.geometry.kernels_search import search
from ovito_mace_phase.classification.geometry.library import make_library
from ovito_mace_phase.classification.geometry.surroundings import find_surroundings
from ovito_mace_phase.lab.crystals import repeated
from ovito_mace_phase.phases.record import ReferenceCell
from ovito_mace_phase.phases.templates import Template, template_of

from .templates import site_record

COVERED, ENOUGH = 0.10, 0.9
LEAST_KIN, MOST = 2, 2
SYMPREC = 0.05  # A, of relaxed members
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


def fit_member(member: ReferenceCell, own: Template) -> Fit:
    """Fit a template to every atom of a member, which has no noise."""
    library = make_library([own])
    frame = network_frame(repeated(member.cell, member.fractional, member.species, _WIDTH), r_max=6.0, n_slots=8)
    near = find_surroundings(frame, library)
    place, n_atoms = np.argsort(near.order), member.n_atoms
    out = Fit(np.full(n_atoms, NO_FIT), np.full(n_atoms, -1), np.zeros((n_atoms, 3, 3)))
    codes, gradient = np.zeros(int(library.n_codes.max()), dtype=np.int64), np.zeros((3, 3))
    slot, around, values = np.zeros(64, dtype=np.int16), memory_for(near.vectors.shape[1]), np.zeros(5)
    for atom in range(n_atoms):
        a = place[atom]
        lay_out(around, near.count[a], near.vectors[a], near.neighbour[a], near.species)
        for t in np.flatnonzero(own.seed):
            score = search(
                library, t, near.count[a], near.vectors[a], around, near.species[a], int(member.species.max()) + 1,
                codes, gradient, slot, NO_FIT, values,
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
    from scipy.optimize import linear_sum_assignment

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


def further(
    members: list[ReferenceCell], own: Template, cell: ReferenceCell
) -> list[tuple[int, ReferenceCell, dict[str, Any]]]:
    """Return number, cell and record of the members of a phase whose templates it needs, turned and numbered."""
    fits = [fit_member(member, own) for member in members]
    left = [k for k, fit in enumerate(fits) if not fit.covered]
    found = []
    for _ in range(MOST):
        chosen = None
        for k in left:
            member, fit = members[k], fits[k]
            record = site_record(member, symprec=SYMPREC)
            theirs = template_of(own.key, member, record)
            covers = [fit_member(members[other], theirs).covered for other in left]
            same = member.n_atoms == cell.n_atoms and int(record["site"].max()) + 1 == own.n_sites
            numbers = numbered_as(own, record, member.species, fit) if same and fit.rmsd.min() < NO_FIT else None
            if numbers is not None and sum(covers) >= max(LEAST_KIN, 1 + (sum(chosen[3]) if chosen else 0)):
                chosen = (k, record, numbers, covers)
        if chosen is None:
            break
        k, record, (site, species), covers = chosen
        turn = np.empty((3, 3))
        polar(fits[k].gradient[fits[k].rmsd.argmin()], turn)
        turned = ReferenceCell(cell=members[k].cell @ turn, species=species, fractional=members[k].fractional)
        found.append((k, turned, record | {"site": site}))
        left = [one for one, covered in zip(left, covers, strict=True) if not covered]
    return found
