"""More species than the network tells apart: those whose surroundings are most alike count as one, until few enough.

Types that are alike are joined first (`interchangeable`). Then, while there are too many groups, the two are joined for
which e / e_most is least, e being how far the mean counts of neighbours around the two differ (`interchangeable`); of
several the two with the fewest atoms. So the hydrogens of a force field go together before hydrogen goes with carbon.
A type of which no atom is in the sample that is looked at counts as unlike every other, and is joined by its atoms.

This is a makeshift: no phase of the table has as many species as the network tells apart.
"""

from __future__ import annotations

import numpy as np

from .frame import Frame
from .interchangeable import Group, Groups, interchangeable, likeness
from .surroundings import surroundings


def at_most(frame: Frame, most: int) -> Groups:
    """Return the codes of the species of a frame in at most `most` groups (of species that occur), each code once."""
    count = np.bincount(frame.species, minlength=frame.n_species)
    around = surroundings(frame)
    seen = set(np.unique(around.species).tolist())
    found = interchangeable(frame)
    groups = [group for group in found if count[list(group)].any()]
    absent = [group for group in found if not count[list(group)].any()]
    known: dict[tuple[Group, Group], tuple[float, int]] = {}
    while len(groups) > most:
        pairs = [(one, other) for i, one in enumerate(groups) for other in groups[i + 1 :]]
        for one, other in pairs:
            if (one, other) not in known:
                both = seen.intersection(one) and seen.intersection(other)
                unlike = likeness(around, groups, one, other).distance if both else float("inf")
                known[one, other] = unlike, int(count[[*one, *other]].sum())
        one, other = min(pairs, key=lambda pair: (known[pair], pair))
        groups = sorted([*(group for group in groups if group not in (one, other)), tuple(sorted(one + other))])
    return tuple(sorted([*groups, *absent]))
