"""Compile the kernels that a frame needs before the work starts, so that the wait is announced."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.bonds import BondCollector
from ovito_mace_phase.atoms.cell_grid import CellGrid, make_grid

from .evaluator import Evaluator
from .forward import forward
from .gradient import log_density_gradient

log = logging.getLogger(__name__)
MESSAGE = "compiling kernels for this machine (once; some forty seconds)"
FURTHER = "compiling further kernels"
"""Said in place of MESSAGE by a process that has said that before."""
_PATIENCE = 1.0  # s; loading compiled kernels takes less
_said = threading.Event()


def warm_up(
    evaluator: Evaluator, n_species: int, *, gradient: bool = False, status: Callable[[str], None] | None = None
) -> None:
    """Compile or load what frames of `n_species` species need.

    Parameters
    ----------
    evaluator : Evaluator
    n_species : int
    gradient : bool
        Whether the gradient will be asked for.
    status : callable, optional
        See `announced`.
    """
    with announced(status):
        grid, slots = _small_frame(evaluator, n_species)
        if gradient:
            log_density_gradient(grid, slots, evaluator)
        else:
            forward(grid, slots, evaluator, lambda *_: None, bonds=BondCollector(grid))


@contextmanager
def announced(status: Callable[[str], None] | None) -> Iterator[None]:
    """Give `status` a message when what is done within takes longer than a second; it is logged too."""

    def announce() -> None:
        message = FURTHER if _said.is_set() else MESSAGE
        _said.set()
        log.info(message)
        if status is not None:
            status(message)

    timer = threading.Timer(_PATIENCE, announce)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _small_frame(evaluator: Evaluator, n_species: int) -> tuple[CellGrid, npt.NDArray[np.int64]]:
    """Sixteen atoms on a body-centred lattice, species in turn."""
    corner = np.stack(np.meshgrid(*[np.arange(2.0)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    length = 0.5 * evaluator.weights.config.r_max
    positions = np.concatenate([corner, corner + 0.5]) * length
    grid = make_grid(positions, np.eye(3) * 2.0 * length, np.ones(3, dtype=bool), evaluator.weights.config.r_max)
    return grid, np.arange(len(positions), dtype=np.int64) % n_species
