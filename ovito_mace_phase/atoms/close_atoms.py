"""Atoms that lie at the same place as another: which of them is the site of a crystal, and what becomes of the rest.

    close       r <= the lesser `overlap_limit` of the two atoms: 0.08 of the local spacing
    satellites  atoms of different types where at least half of the atoms of one type are close to another type: shells
                on cores, massless charges; up to WIDE times that distance, as the shells of hot atoms move
    duplicates  atoms of one type that coincide: closer than COINCIDE of that distance
    neither     atoms of one type that are close but do not coincide (molecules of a dilute gas, collisions), and more
                than MOST_AT_ONE_PLACE at one place, or all atoms of a frame (positions that were never set): no
                crystal, Other

One atom of each set of satellites and duplicates stays, the others have its answer. Of two types that are all close to
each other the one stays whose atoms alone are spaced more evenly: in ice the oxygens, not the massless charges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .cell_grid import make_grid
from .frame import FloatArray, Frame, IntArray, part_of
from .length_scale import local_spacing, overlap_limit

WIDE = 2.0
COINCIDE = 0.1
MOST_AT_ONE_PLACE = 4
NO_SITE = -1
"""Stands for the site of an atom that is Other."""
_MOST = 0.5  # of the atoms of a type
_DIGITS = 6  # of the spread of the spacings; what differs less is as even
_DIRECTION = np.array([0.7390851332151607, 1.3247179572447460, 0.5671432904097838])  # positions rarely share a height


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Atoms that stay.

    Attributes
    ----------
    atoms : (n_kept,) int64
        Their numbers in the frame, ascending.
    site : (n_atoms,) int64
        Place of every atom of the frame among them: its own, that of the atom it lies upon, or NO_SITE.
    """

    atoms: IntArray
    site: IntArray


def any_pile(frame: Frame) -> bool:
    """Whether more than MOST_AT_ONE_PLACE atoms have the same position; a small part of the time of sorting them."""
    height = np.sort(frame.positions @ _DIRECTION)
    return bool((height[MOST_AT_ONE_PLACE:] == height[: max(0, len(height) - MOST_AT_ONE_PLACE)]).any())


def without_piles(frame: Frame) -> Kept:
    """Take out atoms with the same position as MOST_AT_ONE_PLACE others, before their pairs are looked at."""
    _, group, size = np.unique(frame.positions, axis=0, return_inverse=True, return_counts=True)
    stays = size[group.reshape(-1)] <= MOST_AT_ONE_PLACE
    return _kept(np.where(stays, np.arange(len(frame)), NO_SITE))


def without_close(frame: Frame) -> Kept:
    """Take out satellites, duplicates and atoms that cannot be labelled; see the head of this module."""
    limit = overlap_limit(local_spacing(frame, overlap=True))
    one, other, distance = pairs_within(frame, WIDE * limit.max())
    reach = np.minimum(limit[one], limit[other])
    close = distance <= reach
    alike = frame.species[one] == frame.species[other]
    rank = _ranks(frame, one[close & ~alike])
    satellites = ~alike & (rank[frame.species[one]] + rank[frame.species[other]] > 0) & (distance <= WIDE * reach)
    joined = satellites | (alike & (distance <= COINCIDE * reach))
    group = groups_of(len(frame), one[joined], other[joined])
    order = np.lexsort((*frame.positions.T[::-1], rank[frame.species], group))
    first = np.ones(len(order), dtype=bool)
    first[1:] = np.diff(group[order]) != 0
    owner = np.empty(len(frame), dtype=np.int64)
    owner[order] = order[first][np.cumsum(first) - 1]
    owner[np.bincount(group)[group] > MOST_AT_ONE_PLACE] = NO_SITE
    owner[one[close & ~joined]] = NO_SITE
    if len(frame) > 1 and (group == group[0]).all():
        owner[:] = NO_SITE
    return _kept(np.where((owner >= 0) & (owner[owner] == owner), owner, NO_SITE))


def _kept(owner: IntArray) -> Kept:
    """Return what stays from the atom that stays in the place of each, NO_SITE for none."""
    atoms = np.flatnonzero(owner == np.arange(len(owner)))
    place = np.full(len(owner) + 1, NO_SITE, dtype=np.int64)
    place[atoms] = np.arange(len(atoms))
    return Kept(atoms=atoms, site=place[owner])


def pairs_within(frame: Frame, reach: float) -> tuple[IntArray, IntArray, FloatArray]:
    """Return the atoms of all pairs up to `reach`, from both sides, and their distance."""
    least = 1e-12 * max(1e-300, float(np.abs(frame.positions).max()), float(np.abs(frame.cell).max()))
    grid = make_grid(frame.positions, frame.cell, frame.pbc, max(reach * (1.0 + 1e-9), least))
    offsets, neighbour, vectors = grid.pairs(0, len(grid))
    centre = np.repeat(grid.order, np.diff(offsets))
    other = grid.order[neighbour]
    two = centre != other  # not an image of the atom itself
    return centre[two], other[two], np.linalg.norm(vectors, axis=1)[two]


def _ranks(frame: Frame, close: IntArray) -> npt.NDArray[np.int64]:
    """Return 0 for types that have no satellites or are none, (n_species,), and 1, 2, ... for the others.

    `close` are the atoms close to one of another type; of two the one of lower rank stays.
    """
    count = np.bincount(frame.species, minlength=frame.n_species)
    share = np.bincount(frame.species[np.unique(close)], minlength=frame.n_species) / np.maximum(count, 1)
    rank = np.zeros(frame.n_species, dtype=np.int64)
    found = np.flatnonzero(share >= _MOST).tolist()
    found.sort(key=lambda code: (_spread(frame, code), code))
    rank[found] = np.arange(1, len(found) + 1)
    return rank


def _spread(frame: Frame, code: int) -> float:
    """Return how unevenly the atoms of a type are spaced among themselves."""
    spacing = local_spacing(part_of(frame, np.flatnonzero(frame.species == code)), overlap=True)
    spacing = spacing[np.isfinite(spacing) & (spacing > 0)]
    return round(float(np.log(spacing).std()), _DIGITS) if len(spacing) else 0.0


def groups_of(n_atoms: int, one: IntArray, other: IntArray) -> IntArray:
    """Return a number for each atom that those joined share, (n_atoms,)."""
    group = np.arange(n_atoms)
    while True:
        least = np.minimum(group[one], group[other])
        following = group.copy()
        np.minimum.at(following, one, least)
        np.minimum.at(following, other, least)
        if (following == group).all():
            return group
        group = following
