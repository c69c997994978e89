"""From the atoms of a frame to the sites that the network sees: alike types merged, one atom where several lie.

    site[a]  place of atom a, or of the atom it lies upon, among the sites; NO_SITE for an atom that is Other

See `interchangeable` and `close_atoms` for the rules. Atoms are looked at again once those at one place are out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.runtime.errors import OverlapError

from .close_atoms import NO_SITE, any_pile, without_close, without_piles
from .frame import Frame, IntArray, part_of
from .interchangeable import interchangeable
from .species import merge_groups

Value = TypeVar("Value", bound=np.generic)
Made = TypeVar("Made")


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
    """

    given: Frame
    frame: Frame
    site: IntArray | None

    @property
    def species(self) -> str:
        """Which types count as one species: "1,2 | 3"."""
        return " | ".join(self.frame.species_names)

    @property
    def merged(self) -> bool:
        """Whether types were found to be alike."""
        return self.frame.n_species < self.given.n_species

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know: how many atoms of which types lie on others, and what to do about it."""
        if self.site is None:
            return ()
        own = np.zeros(len(self.given), dtype=bool)
        own[np.unique(self.site, return_index=True)[1]] = True
        own &= self.site >= 0
        lost = self.site == NO_SITE
        parts = []
        if (~own & ~lost).any():
            parts.append(f"{_told(self.given, ~own & ~lost)} at the place of another atom, whose answer is taken")
        if lost.any():
            parts.append(f"{_told(self.given, lost)} too close to others to belong to a crystal and are Other")
        remedy = "delete doubled atoms, or leave out what is no atom of the crystal (only_selected, --select)"
        return (f"{' and '.join(parts)}: {remedy}",) if parts else ()

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
        Raises `OverlapError` while atoms lie at the same place.
    automatic : bool
        Merge types that are interchangeable.
    """
    sites: IntArray | None = None
    left = frame
    if any_pile(frame):
        kept = without_piles(frame)
        sites, left = kept.site, part_of(frame, kept.atoms)
    while True:
        merged = merge_groups(left, interchangeable(left)) if automatic else left
        try:
            made = normalise(merged)
        except OverlapError:
            kept = without_close(left)
            if len(kept.atoms) == len(left):
                raise
            sites = kept.site if sites is None else np.append(kept.site, NO_SITE)[sites]
            left = part_of(left, kept.atoms)
        else:
            return Sites(given=frame, frame=merged, site=sites), made


def _told(frame: Frame, atoms: npt.NDArray[np.bool_]) -> str:
    codes, counts = np.unique(frame.species[atoms], return_counts=True)
    types = ", ".join(f"{count} of type {frame.species_names[code]}" for code, count in zip(codes, counts, strict=True))
    return f"{int(atoms.sum())} of {len(frame)} atoms ({types}) lie" if atoms.sum() != 1 else f"1 atom ({types}) lies"
