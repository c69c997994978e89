"""Denoised positions of crystals: each atom where the shells around it, averaged over the crystal, have it.

    M_k  = mean_a (F_a^-1 u_a,pi(k) - v_k)                  at the positions as given, over the atoms of one template
    m    = w P M + w' (1 - P) M,       w = 1 - noise / mean_k |P M_k|^2, w'_k = 1 - BREAKING noise / |(1 - P) M_k|^2
    x_b += mean_{a, k: pi_a(k) = b} (F_a (v_k + m_k) + s_a - u_a,pi(k)),    F_a, s_a by least squares, ROUNDS times

v_k + m_k is the shell that atoms have in this crystal: the coordinates of this compound, not those of the reference,
with the heat averaged out. P is what the symmetry of the site allows (`site_symmetry`); what breaks it, as the shift of
titanium in a ferroelectric does, has to be BREAKING times its noise. The factors take off what noise has in the mean
(James and Stein, Proc. 4th Berkeley Symp. (1961) 361), and are not negative. Rounds begin at the positions that the
network gave; F_a follows the strain at each atom, so waves longer than a shell stay. Sheets stay as they are, and atoms
that no template fits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.network_frame import NetworkFrame
from ovito_mace_phase.phases import Phase

from .distortion import by_site
from .fits import Fits
from .kernels_averaging import mean_shells, put_once
from .site_symmetry import site_symmetries
from .surroundings import find_surroundings
from .verify import Part, frame_of, of_molecules

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
ROUNDS = 10
_BREAKING = 4.0
_AT_REST = 0.001  # rms move of a round, network units
_LONGEST = 0.4  # network units; who would go farther stays


def crystal_moves(
    frame: NetworkFrame,
    phases: tuple[Phase, ...],
    parts: tuple[Part, ...],
    column: Int,
    given: Float,
    cancelled: Callable[[], bool] | None = None,
) -> Float:
    """Return how far crystalline atoms have to go from denoised positions.

    Parameters
    ----------
    frame : NetworkFrame
        At those positions, where the parts were matched.
    phases : tuple of Phase
        The phases considered.
    parts : tuple of Part
        With shells, see `Fits`.
    column : (n_atoms,) int64
        Place of the label of each atom, -1 for Other, which stays.
    given : (n_atoms, 3) float64
        Positions as given less these, network units.
    cancelled : callable, optional

    Returns
    -------
    (n_atoms, 3) float64
        Network units; without a common shift of the atoms that move.
    """
    moves = np.zeros((len(frame), 3))
    for part in parts:
        fits, atoms = part.fits, part.atoms
        asked = (column[atoms] >= 0) & (fits.column == column[atoms])
        if fits.slots is None or not asked.any():
            continue
        found = _moves(frame_of(frame, part), fits, given[atoms], asked, cancelled)
        if fits.proposals.templates[0].net:
            taken, place, _ = of_molecules(frame, phases, column, atoms)
            moves[taken] = found[place]
        else:
            moves[atoms] = found
    going = np.abs(moves).max(axis=1) > 0.0
    if going.any():
        moves[going] -= moves[going].mean(axis=0)
    return moves


def _moves(
    frame: NetworkFrame, fits: Fits, given: Float, asked: Bool, cancelled: Callable[[], bool] | None = None
) -> Float:
    """Return the moves of the atoms of one part, (n, 3), zero where not asked."""
    library, near = fits.proposals.library, find_surroundings(frame, fits.proposals.library)
    assert fits.slots is not None
    assert fits.grain is not None
    order = near.order
    template, grain, slots = fits.template[order], fits.grain[order], fits.slots[order]
    atoms = np.flatnonzero(asked[order] & (template >= 0) & ~library.planar[template])
    moves = np.zeros((len(frame), 3))
    if not len(atoms):
        return moves
    atoms, bounds = by_site(atoms, template, grain)
    means, noise = np.zeros((len(bounds) - 1, slots.shape[1], 3)), np.zeros(len(bounds) - 1)
    mean_shells(
        library, atoms, bounds, template, slots, near.vectors, near.neighbour, np.ascontiguousarray(given[order]),
        means, noise,
    )  # fmt: skip
    _keep_signal(fits, template[atoms[bounds[:-1]]], means, noise)
    group = np.repeat(np.arange(len(noise)), np.diff(bounds))
    going = np.zeros(len(frame), dtype=bool)
    going[atoms] = True
    gone, total, count = np.zeros((len(frame), 3)), np.empty((len(frame), 3)), np.empty(len(frame), dtype=np.int64)
    for _ in range(ROUNDS):
        if cancelled is not None and cancelled():
            break
        put_once(library, atoms, group, means, template, slots, near.vectors, near.neighbour, gone, total, count)
        step = np.where((going & (count > 0))[:, None], total / np.maximum(count, 1)[:, None], 0.0)
        gone += step
        if np.sqrt((step[atoms] ** 2).sum(axis=1).mean()) < _AT_REST:
            break
    gone[np.linalg.norm(gone, axis=1) > _LONGEST] = 0.0
    moves[order] = gone
    return moves


def _keep_signal(fits: Fits, template: Int, means: Float, noise: Float) -> None:
    """Take off mean deviations (n_groups, N, 3) what noise has in them, in place."""
    library = fits.proposals.library
    first = np.searchsorted(library.phase, np.arange(len(fits.proposals.templates)))
    for one in np.unique(template):
        phase, mine = library.phase[one], np.flatnonzero(template == one)
        symmetry = site_symmetries(fits.proposals.templates[phase])[one - first[phase]]
        size = symmetry.moved_to.shape[1]
        mean = means[mine, :size]
        allowed = symmetry.allowed(mean)
        part, rest = symmetry.freedom * noise[mine], (1.0 - symmetry.freedom) * noise[mine]
        square, squares = (allowed**2).sum(axis=2).mean(axis=1), ((mean - allowed) ** 2).sum(axis=2)
        kept, broken = _signal(square, part), _signal(squares, _BREAKING * rest[:, None])
        means[mine, :size] = kept[:, None, None] * allowed + broken[:, :, None] * (mean - allowed)


def _signal(square: Float, noise: Float) -> Float:
    """Return 1 - noise / square, at least 0."""
    return np.where(square > noise, 1.0 - noise / np.maximum(square, 1e-300), 0.0)
