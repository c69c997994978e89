"""What is asked of the logits of a frame on a device, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy.typing as npt

if TYPE_CHECKING:
    import numpy as np

    from ovito_mace_phase.atoms.bonds import Bonds
    from ovito_mace_phase.runtime.held_array import HeldArray


@dataclass(frozen=True, kw_only=True)
class LogitRequest:
    """What is kept of the logits.

    Attributes
    ----------
    temperature : float
        T.
    full : bool
        Keep all logits; then all columns are considered, and no single ones kept.
    considered : sequence of int
        Columns to look at.
    columns : sequence of int
        Columns kept of every atom.
    n_best : int
        Best logits kept of every atom.
    stride : int
        All logits of every `stride`-th atom are kept.
    n_rivals, n_sweeps : int
        Of the neighbourhood prior: best phases looked at, turns.
    """

    temperature: float
    full: bool
    considered: Sequence[int]
    columns: Sequence[int]
    n_best: int
    stride: int
    n_rivals: int
    n_sweeps: int


@dataclass(frozen=True, kw_only=True)
class LogitSummary:
    """What was kept, in the order of the frame.

    Attributes
    ----------
    best_columns : (n_atoms, n_best) int16
        Places among the columns considered.
    best : (n_atoms, n_best) float32
        Largest first.
    log_density, log_norm : (n_atoms,) float32
        logsumexp of l, and of l / T, over the columns considered.
    sampled : (n_sampled, n_considered) float32
    columns : (n_columns, n_atoms) float32
    all_logits : (n_atoms, n_phases) float32 or None
    place : (n_atoms,) int64
        Of the label with the neighbourhood prior among the best of the atom.
    confidence : (n_atoms,) float32
        Of that label.
    bonds : Bonds
    """

    best_columns: npt.NDArray[np.int16]
    best: npt.NDArray[np.float32]
    log_density: npt.NDArray[np.float32]
    log_norm: npt.NDArray[np.float32]
    sampled: HeldArray
    columns: npt.NDArray[np.float32]
    all_logits: HeldArray | None
    place: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float32]
    bonds: Bonds
