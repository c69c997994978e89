"""Symmetry of sites: what rotations and rotoinversions of a crystal leave the shell of an atom as it is.

    P m = mean_R R m_pi(k),      R v_k = v_pi(k)       deviations m_k of a shell that the symmetry of its site allows

In fcc one of 36 numbers is left, the breathing of the shell: any other mean deviation there is noise, or a shift that
the whole crystal has.
"""

from __future__ import annotations

import itertools
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.phases.templates import Template

Float = npt.NDArray[np.float64]
_SAME = 1e-3  # of L


class SiteSymmetry(NamedTuple):
    """Of one atom of a template.

    Attributes
    ----------
    operations : (n, 3, 3) float64
    moved_to : (n, N) int64
        Where each takes the neighbours.
    freedom : float
        Share of the 3 N numbers of a deviation that is left by P: its trace over 3 N.
    """

    operations: Float
    moved_to: npt.NDArray[np.int64]
    freedom: float

    def allowed(self, deviations: Float) -> Float:
        """Return P of deviations, (n_groups, N, 3)."""
        kept = np.zeros_like(deviations)
        for operation, there in zip(self.operations, self.moved_to, strict=True):
            kept[:, there] += deviations @ operation.T
        return kept / len(self.operations)


@cache
def site_symmetries(found: Template) -> tuple[SiteSymmetry, ...]:
    """Return the symmetry of every atom of a template."""
    operations = np.concatenate([found.rotations, -found.rotations])
    symmetries = []
    for first, last in itertools.pairwise(found.offsets):
        vectors, site = found.vectors[first:last], found.site[found.neighbour[first:last]]
        turned = np.einsum("rij,kj->rki", operations, vectors)
        apart = np.linalg.norm(turned[:, :, None] - vectors, axis=-1)
        apart[:, site[:, None] != site] = np.inf
        kept = (apart.min(axis=2) < _SAME).all(axis=1)
        chosen, there = operations[kept], apart[kept].argmin(axis=2)
        stay = (there == np.arange(len(vectors))).sum(axis=1)
        freedom = float((stay * np.trace(chosen, axis1=1, axis2=2)).mean() / (3 * len(vectors)))
        symmetries.append(SiteSymmetry(chosen, there, freedom))
    return tuple(symmetries)
