"""One length factor per frame: lengths in units of the crystal, not of the file.

For atom a with distances r_1 .. r_k to its k nearest neighbours,

    w_a = mean_i r_i^3,        rho_a = 3 (k + 1) / (8 pi w_a)

is its local number density (for points of uniform density the i-th neighbour encloses i others, so E r_i^3 grows as i).
The factor is  f = (rho / rho_target)^(1/3)  with rho the mean of log rho_a between its quartiles: surfaces, vacuum and
a few odd atoms do not move it, and no full box is needed (slabs, clusters, wires).
"""

from __future__ import annotations

import numpy as np

from .errors import InputError
from .frame import FloatArray, Frame
from .neighbours import neighbour_list

TARGET_VOLUME = 13.0
"""Volume per atom in network units, A^3."""
N_NEAREST = 14
_OVERLAP = 0.08  # closer than this times the mean spacing is no atom pair of any solid or molecule


def local_spacing(frame: Frame) -> FloatArray:
    """Return the mean cubed distance of every atom to its nearest neighbours, corrected to k = 14.

    Returns
    -------
    (n_atoms,) float64
        `w_a (k_target + 1) / (k + 1)`; infinite for an atom alone; in the cube of the file's unit.

    Raises
    ------
    InputError
        When two atoms sit at the same place.
    """
    n_atoms = len(frame)
    spacing = np.full(n_atoms, np.inf)
    if n_atoms == 0:
        return spacing
    cutoff, limit = _first_cutoff(frame)
    while True:
        edges = neighbour_list(frame.positions, frame.cell, frame.pbc, cutoff)
        count = np.diff(edges.offsets)
        if np.mean(count >= N_NEAREST) > 0.95 or cutoff >= limit:
            break
        cutoff = min(cutoff * 1.25, limit)
    if len(edges.neighbour) == 0:
        return spacing
    distance = np.linalg.norm(edges.vectors, axis=1)
    _check_overlap(distance, edges.offsets, edges.neighbour, n_atoms)
    centre = np.repeat(np.arange(n_atoms), count)
    ordered = distance[np.lexsort((distance, centre))]
    rank = np.arange(len(ordered)) - edges.offsets[centre]
    near = rank < N_NEAREST
    used = np.minimum(count, N_NEAREST)
    total = np.bincount(centre[near], weights=ordered[near] ** 3, minlength=n_atoms)
    has = used > 0
    spacing[has] = total[has] / used[has] * (N_NEAREST + 1) / (used[has] + 1)
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
    volume = 8.0 * np.pi * spacing[np.isfinite(spacing)] / (3.0 * (N_NEAREST + 1))
    if len(volume) == 0:
        return 1.0
    ordered = np.sort(np.log(volume))
    quarter = len(ordered) // 4
    middle = ordered[quarter : len(ordered) - quarter]
    return float((TARGET_VOLUME / np.exp(middle.mean())) ** (1.0 / 3.0))


def _first_cutoff(frame: Frame) -> tuple[float, float]:
    """Radius that holds about twenty neighbours at the mean density of the frame, and the largest worth trying."""
    extent = np.ptp(frame.positions, axis=0)
    lengths = np.where(frame.pbc, np.linalg.norm(frame.cell, axis=1), 0.0)
    if frame.pbc.all():
        volume = abs(np.linalg.det(frame.cell))
    else:
        volume = float(
            np.prod(np.maximum(np.where(frame.pbc, lengths, extent), 1e-3 * max(extent.max(), lengths.max(), 1e-3)))
        )
    cutoff = (20.0 / (4.0 / 3.0 * np.pi) * volume / len(frame)) ** (1.0 / 3.0)
    diagonal = float(np.linalg.norm(extent))
    limit = max(4.0 * cutoff, 1.01 * diagonal if len(frame) <= 4 * N_NEAREST else 0.0)
    return cutoff, limit


def _check_overlap(distance: FloatArray, offsets: np.ndarray, neighbour: np.ndarray, n_atoms: int) -> None:
    shortest = int(np.argmin(distance))
    typical = float(np.median(distance))
    if distance[shortest] < _OVERLAP * typical:
        centre = int(np.searchsorted(offsets, shortest, side="right") - 1)
        raise InputError(
            f"atoms with index {centre} and {int(neighbour[shortest])} (of {n_atoms}) lie "
            f"{distance[shortest]:.3g} apart, against a typical distance of {typical:.3g}: "
            "two atoms at the same place; delete duplicates"
        )
