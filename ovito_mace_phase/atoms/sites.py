"""From the atoms of a frame to the sites that the network sees: alike types merged, one atom where several lie.

    site[a]  place of atom a, or of the atom it lies upon, among the sites; NO_SITE for an atom that is Other

See `interchangeable`, `fewer_species` and `close_atoms` for the rules. Atoms are looked at again once those at one
place are out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.runtime.errors import OverlapError, TooManySpeciesError

from .close_atoms import NO_SITE, any_pile, without_close, without_piles
from .fewer_species import at_most
from .frame import Frame, IntArray, part_of
from .interchangeable import interchangeable
from .species import merge_groups

Value = TypeVar("Value", bound=np.generic)
Made = TypeVar("Made")
_MOST_NAMED = 6  # types in a note


@dataclass(frozen=True, kw_only=True)
class Sites:
    """Sites of a frame, and which atom belongs to which.

    Attributes
    ----------
    given : Frame
        All atoms.
    frame : Frame
        The sites, species merged.
    site : (n_atoms,) int64 or None
        See the head of this module; None where every atom is a site.
    most : int or None
        Species that the network tells apart, where there were more and some had to be merged.
    """

    given: Frame
    frame: Frame
    site: IntArray | None
    most: int | None = None

    @property
    def species(self) -> str:
        """Which types count as one species: "1,2 | 3"."""
        return " | ".join(self.frame.species_names)

    @property
    def merged(self) -> bool:
        """Whether types were found to be alike."""
        return self.frame.n_species < self.given.n_species

    @property
    def on_others(self) -> npt.NDArray[np.bool_]:
        """Atoms that lie at the place of another and have its answer, (n_atoms,)."""
        out = np.zeros(len(self.given), dtype=bool)
        if self.site is not None:
            out[:] = self.site >= 0
            out[np.unique(self.site, return_index=True)[1]] = False
        return out

    @property
    def lost(self) -> npt.NDArray[np.bool_]:
        """Atoms too close to others to belong to a crystal, (n_atoms,)."""
        return np.zeros(len(self.given), dtype=bool) if self.site is None else self.site == NO_SITE

    @property
    def close(self) -> str:
        """How many atoms of which types lie on others or too close to them, as part of a sentence; "" for none."""
        parts = []
        if self.on_others.any():
            parts.append(f"{_told(self.given, self.on_others)} at the place of another atom, whose answer is taken")
        if self.lost.any():
            parts.append(f"{_told(self.given, self.lost)} too close to others to belong to a crystal and are Other")
        return " and ".join(parts)

    @property
    def crammed(self) -> str:
        """Which types count as one because there are too many, as a sentence; "" where there are not."""
        if self.most is None:
            return ""
        n_species = int(np.count_nonzero(np.bincount(self.given.species)))
        return (
            f"{n_species} species, of which the network tells {self.most} apart: those whose surroundings are most "
            f"alike count as one, {self.species}"
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know: atoms that lie on others, species that are too many, and what to do about it."""
        close = f"{self.close}: delete doubled atoms, or leave out what is no atom of the crystal" if self.close else ""
        crammed = f"{self.crammed}; group them with species otherwise" if self.crammed else ""
        return tuple(filter(None, (close, crammed)))

    def spread(self, values: npt.NDArray[Value], rest: float) -> npt.NDArray[Value]:
        """Return values of the sites (n_sites, ...) for all atoms, `rest` for those that have none."""
        if self.site is None:
            return values
        found = np.full((len(self.site), *values.shape[1:]), rest, dtype=values.dtype)
        has = self.site >= 0
        found[has] = values[self.site[has]]
        return found


def find_sites(frame: Frame, normalise: Callable[[Frame], Made], *, automatic: bool) -> tuple[Sites, Made]:
    """Return the sites of a frame and what `normalise` makes of their frame.

    Parameters
    ----------
    frame : Frame
        Types by name, or merged as the user asked.
    normalise : callable
        Raises `OverlapError` while atoms lie at the same place, `TooManySpeciesError` while there are too many.
    automatic : bool
        Merge types that are interchangeable, and further ones while there are too many.
    """
    sites: IntArray | None = None
    most: int | None = None
    left = frame
    if any_pile(frame):
        kept = without_piles(frame)
        sites, left = kept.site, part_of(frame, kept.atoms)
    while True:
        merged = left
        if automatic:
            merged = merge_groups(left, interchangeable(left) if most is None else at_most(left, most))
        try:
            made = normalise(merged)
        except OverlapError:
            kept = without_close(left)
            if len(kept.atoms) == len(left):
                raise
            sites = kept.site if sites is None else np.append(kept.site, NO_SITE)[sites]
            left = part_of(left, kept.atoms)
        except TooManySpeciesError as error:
            if not automatic or most is not None:
                raise
            most = error.most
        else:
            return Sites(given=frame, frame=merged, site=sites, most=most), made


def _told(frame: Frame, atoms: npt.NDArray[np.bool_]) -> str:
    """Return "7 of 90 atoms (4 of type Cu, 3 of type O) lie", the most frequent types first."""
    codes, counts = np.unique(frame.species[atoms], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    parts = [f"{counts[k]} of type {frame.species_names[codes[k]]}" for k in order[:_MOST_NAMED]]
    if len(order) > _MOST_NAMED:
        parts.append(f"{counts[order[_MOST_NAMED:]].sum()} of {len(order) - _MOST_NAMED} more types")
    types = ", ".join(parts)
    return f"{int(atoms.sum())} of {len(frame)} atoms ({types}) lie" if atoms.sum() != 1 else f"1 atom ({types}) lies"
