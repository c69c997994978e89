"""One length factor per frame: lengths in units of the crystal, not of the file.

For atom a with distances r_1 .. r_k to its k nearest neighbours,

    w_a = mean_i r_i^3,        rho_a = 3 (k + 1) / (8 pi w_a)

is its local number density (for points of uniform density the i-th neighbour encloses i others, so E r_i^3 grows as i).
The factor is  f = (rho / rho_target)^(1/3)  with rho the mean of log rho_a between its quartiles: surfaces, vacuum and
a few odd atoms do not move it, and no full box is needed (slabs, clusters, wires).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ovito_mace_phase.runtime.errors import OverlapError
from ovito_mace_phase.runtime.threads import BlockPool

from .cell_grid import make_grid, nearest_cubes
from .frame import FloatArray, Frame
from .species import mean_by_species

TARGET_VOLUME = 13.0
"""Volume per atom in network units, A^3."""
N_NEAREST = 14
OVERLAP = 0.08  # closer than this times the typical spacing is no atom pair of any solid or molecule
_BLOCK = 4096


@dataclass(frozen=True, kw_only=True)
class Spacing:
    """What the frame as a whole needs of the spacing of its atoms.

    Attributes
    ----------
    factor : float
        See `length_factor`.
    any_neighbours : bool
        Whether any atom has a neighbour.
    by_species : (n_species,) float64
        Mean of `local_spacing` over the atoms of each species.
    """

    factor: float
    any_neighbours: bool
    by_species: FloatArray


def measured(frame: Frame, cancelled: Callable[[], bool] | None = None) -> Spacing:
    """Measure the spacing of the atoms of a frame; parameters and errors as in `local_spacing`."""
    spacing = local_spacing(frame, cancelled)
    return Spacing(
        factor=length_factor(spacing),
        any_neighbours=bool(np.isfinite(spacing).any()),
        by_species=mean_by_species(frame, spacing),
    )


def local_spacing(frame: Frame, cancelled: Callable[[], bool] | None = None, *, overlap: bool = False) -> FloatArray:
    """Return the mean cubed distance of every atom to its nearest neighbours, corrected to k = 14.

    Parameters
    ----------
    frame : Frame
    cancelled : callable, optional
        Asked between blocks of atoms; True stops with `CancelledError`.
    overlap : bool
        Allow atoms at the same place.

    Returns
    -------
    (n_atoms,) float64
        `w_a (k_target + 1) / (k + 1)`; infinite for an atom alone; in the cube of the file's unit.

    Raises
    ------
    OverlapError
        When two atoms sit at the same place: see `overlap_limit`.
    """
    n_atoms = len(frame)
    spacing = np.full(n_atoms, np.inf)
    if n_atoms == 0:
        return spacing
    cutoff, limit = first_cutoff(frame)
    while True:
        grid = make_grid(frame.positions, frame.cell, frame.pbc, cutoff)
        total, count = np.zeros(n_atoms), np.zeros(n_atoms, dtype=np.int64)
        shortest, partner = np.full(n_atoms, np.inf), np.zeros(n_atoms, dtype=np.int64)

        def measure(first: int) -> None:
            last = min(first + _BLOCK, n_atoms)
            offsets, neighbour, vectors = grid.pairs(first, last)  # noqa: B023 - used up within this turn of the loop
            nearest_cubes(offsets, neighbour, vectors, N_NEAREST, first, total, count, shortest, partner)  # noqa: B023

        if n_atoms <= _BLOCK and cancelled is None:
            measure(0)
        else:
            with BlockPool(cancelled=cancelled) as pool:
                for _ in pool.map(measure, range(0, n_atoms, _BLOCK)):
                    pass
        if np.mean(count >= N_NEAREST) > 0.95 or cutoff >= limit:
            break
        cutoff = min(cutoff * 1.25, limit)
    used = np.minimum(count, N_NEAREST)
    has = used > 0
    if has.any():
        mean = total[has] / used[has]
        spacing[grid.order[has]] = mean * (N_NEAREST + 1) / (used[has] + 1)
        if not overlap:
            _check_overlap(np.sqrt(shortest), overlap_limit(spacing)[grid.order], partner, grid.order)
    return spacing


def length_factor(spacing: FloatArray) -> float:
    """Return the factor that takes the frame's lengths to network units.

    Parameters
    ----------
    spacing : (n_atoms,) float64
        From `local_spacing`.

    Returns
    -------
    float
        Multiply positions and cell by it; 1.0 when no atom has a neighbour.
    """
    volume = local_volume(spacing[np.isfinite(spacing)])
    if len(volume) == 0:
        return 1.0
    ordered = np.sort(np.log(volume))
    quarter = len(ordered) // 4
    middle = ordered[quarter : len(ordered) - quarter]
    return float((TARGET_VOLUME / np.exp(middle.mean())) ** (1.0 / 3.0))


def local_volume(spacing: FloatArray) -> FloatArray:
    """Return 1 / rho_a, the volume of each atom (n_atoms,), from `local_spacing`."""
    return 8.0 * np.pi * spacing / (3.0 * (N_NEAREST + 1))


def overlap_limit(spacing: FloatArray) -> FloatArray:
    """Return the distance (n_atoms,) at which an atom lies at the place of another, from `local_spacing` of all.

    OVERLAP times the typical distance around the atom, or in the frame where that is shorter: an atom of a gas beside a
    crystal has neighbours as near as those of the crystal.
    """
    known = np.isfinite(spacing)
    return OVERLAP * np.minimum(spacing, np.median(spacing[known]) if known.any() else 0.0) ** (1.0 / 3.0)


def first_cutoff(frame: Frame) -> tuple[float, float]:
    """Radius that holds about twenty neighbours at the mean density of the frame, and the largest worth trying."""
    few = len(frame) <= 4 * N_NEAREST
    extent = np.zeros(3) if frame.pbc.all() and not few else np.ptp(frame.positions, axis=0)
    lengths = np.where(frame.pbc, np.linalg.norm(frame.cell, axis=1), 0.0)
    if frame.pbc.all():
        volume = abs(np.linalg.det(frame.cell))
    else:
        volume = float(
            np.prod(np.maximum(np.where(frame.pbc, lengths, extent), 1e-3 * max(extent.max(), lengths.max(), 1e-3)))
        )
    cutoff = (20.0 / (4.0 / 3.0 * np.pi) * volume / len(frame)) ** (1.0 / 3.0)
    diagonal = float(np.linalg.norm(extent))
    limit = max(4.0 * cutoff, 1.01 * diagonal if few else 0.0)
    return cutoff, limit


def _check_overlap(shortest: FloatArray, limit: FloatArray, partner: np.ndarray, order: np.ndarray) -> None:
    limit = np.minimum(limit, limit[partner])
    near = np.flatnonzero((shortest <= limit) & np.isfinite(shortest))
    if len(near):
        closest = near[np.argmin(shortest[near])]
        one, other = sorted((int(order[closest]), int(order[partner[closest]])))
        raise OverlapError(
            f"atoms with index {one} and {other} (of {len(order)}) lie "
            f"{shortest[closest]:.3g} apart, against a typical distance of {limit[closest] / OVERLAP:.3g}: "
            "two atoms at the same place; delete duplicates"
        )
