"""A frame through the network: budget, cut, threads; smaller blocks where the GPU has no room for larger ones."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ovito_mace_phase.atoms.bonds import BondCollector
from ovito_mace_phase.atoms.cell_grid import CellGrid
from ovito_mace_phase.atoms.listed_edges import ListedEdges
from ovito_mace_phase.model.network.operations.memory import Memory
from ovito_mace_phase.runtime.errors import InputError, ModelFileError
from ovito_mace_phase.runtime.memory import memory_budget
from ovito_mace_phase.runtime.threads import BlockPool

from .evaluator import Evaluator
from .sweep import Sweep, cut

log = logging.getLogger(__name__)
Keep = Callable[[int, int, npt.NDArray[np.float32], npt.NDArray[np.int64]], None]
_SMALLEST_BLOCK = 64


def forward(
    grid: CellGrid | ListedEdges,
    slots: npt.NDArray[np.int64],
    evaluator: Evaluator,
    keep: Keep,
    *,
    memory: int | str | None = None,
    progress: Callable[[float], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    bonds: BondCollector | None = None,
) -> None:
    """Evaluate a frame and hand the logits over block by block.

    Parameters
    ----------
    grid : CellGrid or ListedEdges
        Atoms sorted into cells, cut at r_max, network units.
    slots : (n_atoms,) int64
        Species slot of every atom, in the sorted order of the grid.
    evaluator : Evaluator
    keep : callable
        Called with first and last sorted atom of a block, logits (n, n_phases) float32 and number of neighbours (n,),
        from several threads; perhaps again for the same atoms, when a block did not fit the memory of a GPU. The logits
        are overwritten by the next block.
    memory, progress, cancelled
        See `PhaseModel.logits`.
    bonds : BondCollector, optional
        Is handed the edges of every atom.
    """

    def attempt(sized: Evaluator, budget: int) -> None:
        one_species = np.count_nonzero(np.bincount(slots)) == 1
        head = sized.head
        if head is None:
            raise ModelFileError("the model file holds a bare network without a phase head: train one")

        def consume(first: int, last: int, parts: list[Tensor], count: npt.NDArray[np.int64], scratch: Memory) -> None:
            logits = head.logits(parts, one_species, scratch)
            keep(first, last, logits.float().cpu().numpy(), count)

        if bonds is not None:
            bonds.clear()
        with threads(sized, cancelled) as pool:
            Sweep(grid, slots, sized, cut(grid, sized, budget), pool, progress, bonds=bonds).run(consume)

    if len(grid):
        with_smaller_blocks(attempt, evaluator, memory_budget(evaluator.device, memory))


def threads(evaluator: Evaluator, cancelled: Callable[[], bool] | None) -> BlockPool:
    """Return the threads that share the blocks: those of the setting on a CPU, one that feeds a GPU."""
    return BlockPool(None if evaluator.device.type == "cpu" else 1, cancelled)


def with_smaller_blocks(attempt: Callable[[Evaluator, int], None], evaluator: Evaluator, budget: int) -> None:
    """Call `attempt(evaluator, budget)`; after an out-of-memory error of torch again, with blocks and slabs halved.

    Raises
    ------
    InputError
        When even the smallest blocks do not fit.
    """
    while True:
        try:
            attempt(evaluator, budget)
        except torch.OutOfMemoryError as error:
            if evaluator.block_size // 2 < _SMALLEST_BLOCK:
                raise InputError(
                    f"the {evaluator.device.type.upper()} has no room for blocks of {evaluator.block_size} atoms "
                    f"({error}): free its memory, or use device='cpu'"
                ) from error
            evaluator = dataclasses.replace(evaluator, block_size=evaluator.block_size // 2)
            budget //= 2
            log.info("out of memory on %s: going on with blocks of %d", evaluator.device, evaluator.block_size)
            if evaluator.device.type == "cuda":
                torch.cuda.empty_cache()
        else:
            return
