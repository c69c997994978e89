"""How far a crystal is from its template when heat is taken out of it.

    r_ak = F_a^-1 u_a,pi(k) - v_k - mean_k(...)          deviation of neighbour k of atom a, in the template's axes
    D^2  = mean over sites of  mean_k |mean_a r_ak|^2 / a^2,      mean_a over the atoms of that site in one crystal

Heat moves each atom its own way and goes out in the mean (what is left of it is taken off, see `kernels_distortion`);
that the coordinates of a compound are not those of the reference does not, and a crystal of another prototype, which
the template fits by and large, has that everywhere. What is alike only in every second cell, or turned otherwise at
each atom of a site, goes out of the mean as heat does: a modulated crystal has little of it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .kernels_distortion import mean_deviations
from .library import Library

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
_PAIRS = 100.0  # of atoms, of other crystals of that phase, that count as much as those of this one


def by_site(atoms: Int, template: Int, grain: Int) -> tuple[Int, Int]:
    """Return some atoms, those of one grain and one atom of the cell together, and the bounds of these groups."""
    atoms = atoms[np.lexsort((template[atoms], grain[atoms]))]
    first = np.ones(len(atoms), dtype=bool)
    first[1:] = (np.diff(grain[atoms]) != 0) | (np.diff(template[atoms]) != 0)
    return atoms, np.append(np.flatnonzero(first), len(atoms))


def distortion(
    library: Library,
    template: Int,
    gradient: Float,
    slots: npt.NDArray[np.int16],
    vectors: Float32,
    grain: Int,
    asked: npt.NDArray[np.bool_],
) -> Float:
    """Return D of the crystal that each atom belongs to.

    Parameters
    ----------
    library, template, gradient, slots, vectors, grain
        As in `matching.Matches` and `surroundings.Surroundings`.
    asked : (n_atoms,) bool
        Atoms that count; the others are left out.

    Returns
    -------
    (n_atoms,) float64
        NaN where it cannot be told: no match, not asked, a plane, or no site of the crystal occurs twice.
    """
    found = np.full(len(template), np.nan)
    atoms = np.flatnonzero(asked & (template >= 0) & (grain >= 0) & ~library.planar[template])
    if not len(atoms):
        return found
    atoms, bounds = by_site(atoms, template, grain)
    square = np.zeros(len(bounds) - 1)
    mean_deviations(library, atoms, bounds, template, gradient, slots, vectors, square)
    size = np.diff(bounds)
    pairs, lead = (size * (size - 1.0)), atoms[bounds[:-1]]
    kind, crystal = library.phase[template[lead]], np.unique(grain[lead], return_inverse=True)[1]
    of_phase = np.bincount(kind, pairs * square) / np.maximum(np.bincount(kind, pairs), 1.0)
    held = np.bincount(crystal, pairs) + _PAIRS
    total = np.bincount(crystal, pairs * square)[crystal] + _PAIRS * of_phase[kind]
    mean = np.sqrt(np.maximum(total / held[crystal], 0.0))
    mean[np.bincount(kind, pairs)[kind] == 0.0] = np.nan
    found[atoms] = np.repeat(mean, size)
    return found
