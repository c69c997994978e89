"""Damping of denoising steps: long steps are taken in full, steps no longer than the model's own error are suppressed.

    g_a = u_a^2 / (u_a^2 + 4 e_a^2),      u_a^2 = mean_b |move_b|^2,   e_a^2 = mean_b e(phase of b)^2

with the means over atom a and its neighbours. e(phase) is the rms step that the model proposes in crystals of this
phase that have no noise at all (`PhaseModel.step_errors`): nothing in fcc, where symmetry forbids any, 0.03 A or
more in crystals with free coordinates. A linear estimate of the true displacement from one with an error of variance
e^2 has this form (Wiener 1949); the error is larger where there is noise, and the factor of 2 on e was chosen on
held-out crystals. Without the gain the later steps of a frame with little noise lead away from the crystal again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.cell_grid import make_grid
from ovito_mace_phase.atoms.frame import FloatArray, Frame
from ovito_mace_phase.runtime.threads import BlockPool

NEARBY = 4.5
"""Radius of the mean, network units: about thirty neighbours."""
_ROWS = 4096


def step_gain(
    frame: Frame,
    move: FloatArray,
    error: FloatArray,
    factor: float,
    movable: npt.NDArray[np.bool_],
    cancelled: Callable[[], bool] | None = None,
) -> FloatArray:
    """Return g, (n_atoms,).

    Parameters
    ----------
    frame : Frame
        Present positions.
    move : (n_atoms, 3) float64
        Proposed steps, in the unit of the file.
    error : (n_atoms,) float64
        e of the phase of each atom, network units; 0: every step is followed all the way.
    factor : float
        Network units per unit of the file.
    movable : (n_atoms,) bool
        Only these count for the means.
    cancelled : callable, optional
        Asked between blocks of atoms; True stops with `CancelledError`.
    """
    if not error.any():
        return np.ones(len(frame))
    values = np.stack([(move**2).sum(axis=1) * factor**2, 4.0 * error**2], axis=1)
    square, doubt = local_means(values, movable, frame, NEARBY / factor, cancelled).T
    return square / np.maximum(square + doubt, 1e-300)


def local_means(
    values: FloatArray,
    counted: npt.NDArray[np.bool_],
    frame: Frame,
    radius: float,
    cancelled: Callable[[], bool] | None = None,
) -> FloatArray:
    """Return the means of `values` (n_atoms, n) over each atom and its neighbours, those not `counted` left out."""
    grid = make_grid(frame.positions, frame.cell, frame.pbc, radius)
    weighted = np.column_stack([values, np.ones(len(frame))])[grid.order] * counted[grid.order, None]

    def work(first: int) -> FloatArray:
        last = min(first + _ROWS, len(frame))
        offsets, neighbour, _ = grid.pairs(first, last)
        total = np.concatenate([np.zeros((1, weighted.shape[1])), np.cumsum(weighted[neighbour], axis=0)])
        sums = total[offsets[1:]] - total[offsets[:-1]] + weighted[first:last]
        return sums[:, :-1] / np.maximum(sums[:, -1:], 1.0)

    means = np.empty(values.shape)
    with BlockPool(cancelled=cancelled) as pool:
        means[grid.order] = np.concatenate(list(pool.map(work, range(0, len(frame), _ROWS))))
    return means
