"""logP of a frame of any size and its gradient by the positions, the score.

    logP = sum_a logsumexp_c l[a, c],      score = d logP / d r

Forward as in `sweep.py`; then layer by layer backwards. The last layer of a block is evaluated and differentiated at
once; what it says about the features of the layers below is gathered in a second window, and when a slab has heard
from all slabs around it, the layer below is evaluated again and differentiated. Nothing of the whole frame is held
but positions and gradient, and every block keeps what autograd needs only while it is worked on.

    d logP / d r_b += dL/d v_ab,    d logP / d r_a -= dL/d v_ab          (v_ab = r_b - r_a)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ovito_mace_phase.atoms.cell_grid import CellGrid
from ovito_mace_phase.atoms.listed_edges import ListedEdges
from ovito_mace_phase.model.network.layers import later_layer
from ovito_mace_phase.model.network.operations.protocol import BlockGraph
from ovito_mace_phase.runtime.compiling import COMPILED, kernel
from ovito_mace_phase.runtime.errors import ModelFileError
from ovito_mace_phase.runtime.memory import memory_budget

from .evaluator import Evaluator
from .forward import Keep, threads, with_smaller_blocks
from .sweep import Sweep, cut

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
_D_VALUES, _D_SENT = 2, 3  # arrays of a window: values, what is sent, and the derivatives by both


@dataclass(frozen=True, kw_only=True)
class LogDensity:
    """Log-density and its gradient, the score, in the order of the atoms of the caller.

    Attributes
    ----------
    log_density : (n_atoms,) float64
        logsumexp_c l[a, c]; their sum is logP.
    gradient : (n_atoms, 3) float64
        d logP / d r, per unit of length of the frame that was given.
    """

    log_density: FloatArray
    gradient: FloatArray


def log_density_gradient(
    grid: CellGrid | ListedEdges,
    slots: IntArray,
    evaluator: Evaluator,
    *,
    keep: Keep | None = None,
    memory: int | str | None = None,
    progress: Callable[[float], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> LogDensity:
    """Evaluate the log-density of a frame and its gradient, the score.

    Parameters
    ----------
    grid : CellGrid or ListedEdges
        Atoms sorted into cells, cut at r_max, network units.
    slots : (n_atoms,) int64
        Species slot of every atom, in the sorted order of the grid.
    evaluator : Evaluator
    keep : callable, optional
        Gets the logits too, see `forward.forward`.
    memory, progress, cancelled
        See `PhaseModel.logits`.
    """
    n_atoms = len(grid)
    found: list[LogDensity] = [LogDensity(log_density=np.zeros(n_atoms), gradient=np.zeros((n_atoms, 3)))]

    def attempt(sized: Evaluator, budget: int) -> None:
        slabs = cut(grid, sized, budget, backward=True)
        with threads(sized, cancelled) as pool:
            sweep = GradientSweep(grid, slots, sized, slabs, pool, progress)
            sweep.run_backward(keep)
            density, gradient = np.empty_like(sweep.log_density), np.empty_like(sweep.gradient)
            density[grid.order], gradient[grid.order] = sweep.log_density, sweep.gradient
            found[0] = LogDensity(log_density=density, gradient=gradient)

    if n_atoms:
        with_smaller_blocks(attempt, evaluator, memory_budget(evaluator.device, memory))
    return found[0]


@dataclass(frozen=True, kw_only=True)
class _BlockResult:
    """What a block leaves: derivatives by its edges, and by features in windows."""

    neighbour: IntArray
    offsets: IntArray
    d_vectors: FloatArray
    additions: list[tuple[Tensor, IntArray | slice, Tensor]]  # array of a window, rows, what to add


class GradientSweep(Sweep):
    """A sweep with its backward pass; see `Sweep` for the parameters.

    Attributes
    ----------
    log_density : (n_atoms,) float64
    gradient : (n_atoms, 3) float64
        In sorted order.
    """

    backward = True

    def run_backward(self, keep: Keep | None = None) -> None:
        """Fill `log_density` and `gradient`."""
        n_atoms = len(self.grid)
        self.log_density, self.gradient = np.zeros(n_atoms), np.zeros((n_atoms, 3))
        self._total = n_atoms * (2.0 * (self.n_layers - 1) + 6.0)
        for kind, t, slab in self.steps:
            if kind == "forward":
                rows = self.windows[t].claim(slab)
                for place in (_D_VALUES, _D_SENT):
                    self.windows[t].arrays[place][rows] = 0.0
                self._each(slab, partial(self._forward, t), 1.0, n_atoms)
            elif kind == "last":
                self._gather(slab, lambda block: self._last(block, keep), 6.0)
            elif kind == "backward":
                self._gather(slab, partial(self._backward, t), 1.0)
            else:
                self.windows[t].release(slab)

    def _gather(self, slab: int, work: Callable[[tuple[int, int]], _BlockResult], weight: float) -> None:
        """Add up what the blocks of a slab leave, in their order, so that sums do not depend on the threads."""
        blocks = self.slabs.blocks(slab, self.evaluator.block_size, len(self.grid), self.pool.count)
        for (first, last), found in zip(blocks, self.pool.map(work, blocks), strict=True):
            _add_edges(found.offsets, found.neighbour, found.d_vectors, first, self.gradient)
            for array, rows, amount in found.additions:
                _add(array, rows, amount)
            self._report(weight * (last - first))

    def _last(self, block: tuple[int, int], keep: Keep | None) -> _BlockResult:
        """Both passes of the last layer, the means and the head."""
        head = self.evaluator.head
        if head is None:
            raise ModelFileError("the model file holds a bare network without a phase head: train one")
        channels = self.evaluator.weights.config.n_channels
        graph, neighbour = self._edges(*block)
        with torch.enable_grad():
            vectors = graph.vectors.requires_grad_()
            atoms, local = self._local(block, graph, neighbour)
            below = self.n_layers - 2
            own_rows = [self._own_rows(t, block) for t in range(self.n_layers - 1)]
            own = [self.windows[t].arrays[0][rows].clone().requires_grad_() for t, rows in enumerate(own_rows)]
            first_rows, sent_rows = self.windows[0].rows(atoms), self.windows[below].rows(atoms)
            values = self.windows[0].arrays[0][first_rows].requires_grad_()
            sent = self.windows[below].arrays[1][sent_rows].requires_grad_()
            mine, species = self.slots[graph.own], self.slots[graph.index]
            node = own[below][:, :channels]
            last = later_layer(
                self.evaluator.operations, self.evaluator.weights, self.n_layers - 1, local, sent, node, mine
            )
            averaged = self.evaluator.operations.means(
                local, species, mine, values, self.evaluator.weights.config.r_max, 1 if len(self.present) == 1 else 2
            )
            parts = [*own, last.flatten(1), *averaged.unbind(1)]
            one_species = len(self.present) == 1
            logits = None if keep is None else head.logits(parts, one_species)
            density = head.log_density(parts, one_species) if logits is None else torch.logsumexp(logits, 1)
            d_vectors, d_values, d_sent, *d_own = torch.autograd.grad(density.sum(), [vectors, values, sent, *own])
        self.log_density[block[0] : block[1]] = density.detach().double().cpu().numpy()
        count = np.diff(graph.offsets.cpu().numpy())
        if keep is not None and logits is not None:
            keep(*block, logits.detach().float().cpu().numpy(), count)
        windows = self.windows
        return _BlockResult(
            neighbour=neighbour,
            offsets=graph.offsets.cpu().numpy(),
            d_vectors=d_vectors.cpu().numpy(),
            additions=[
                (windows[0].arrays[_D_VALUES], first_rows, d_values),
                (windows[below].arrays[_D_SENT], sent_rows, d_sent),
                *((windows[t].arrays[_D_VALUES], own_rows[t], d_own[t]) for t in range(self.n_layers - 1)),
            ],
        )

    def _backward(self, t: int, block: tuple[int, int]) -> _BlockResult:
        """Layer t (0 is the first) once more, and its backward pass."""
        window, rows = self.windows[t], self._own_rows(t, block)
        graph, neighbour = self._edges(*block)
        additions: list[tuple[Tensor, IntArray | slice, Tensor]] = []
        with torch.enable_grad():
            inputs = [graph.vectors.requires_grad_()]
            if t == 0:
                layer = self.first_layer(graph)
            else:
                atoms, local = self._local(block, graph, neighbour)
                below, below_rows = self.windows[t - 1], self._own_rows(t - 1, block)
                sent_rows = below.rows(atoms)
                sent = below.arrays[1][sent_rows].requires_grad_()
                own = below.arrays[0][below_rows].clone().requires_grad_()
                node = own[:, : self.evaluator.weights.config.n_channels]
                mine = self.slots[graph.own]
                layer = later_layer(self.evaluator.operations, self.evaluator.weights, t, local, sent, node, mine)
                inputs += [sent, own]
            outputs = [layer.flatten(1), layer[:, 0] @ self.evaluator.weights.layers[t + 1].up]
            given = [window.arrays[_D_VALUES][rows], window.arrays[_D_SENT][rows]]
            d_vectors, *rest = torch.autograd.grad(outputs, inputs, given)
        if rest:
            additions = [(below.arrays[_D_SENT], sent_rows, rest[0]), (below.arrays[_D_VALUES], below_rows, rest[1])]
        return _BlockResult(
            neighbour=neighbour,
            offsets=graph.offsets.cpu().numpy(),
            d_vectors=d_vectors.cpu().numpy(),
            additions=additions,
        )

    def _local(self, block: tuple[int, int], graph: BlockGraph, neighbour: IntArray) -> tuple[IntArray, BlockGraph]:
        """Return the distinct atoms a block looks at, and the graph with their numbers."""
        atoms, place = np.unique(np.concatenate([np.arange(*block), neighbour]), return_inverse=True)
        device = self.evaluator.device
        size = block[1] - block[0]
        index, own = torch.from_numpy(place[size:]).to(device), torch.from_numpy(place[:size]).to(device)
        return atoms, dataclasses.replace(graph, index=index, own=own)


def _add(array: Tensor, rows: IntArray | slice, amount: Tensor) -> None:
    """Add to rows, which are distinct; on the CPU without torch's own threads, which would disturb the pool's."""
    if isinstance(rows, slice):
        rows = np.arange(rows.start, rows.stop)
    if array.device.type == "cpu":
        _add_rows(array.numpy(), rows, amount.contiguous().numpy())
    else:
        array.index_add_(0, torch.from_numpy(rows).to(array.device), amount)


@kernel(**COMPILED)
def _add_rows(array, rows, amount):  # type: ignore[no-untyped-def]
    """array[rows[k]] += amount[k]."""
    for k in range(len(rows)):
        target, source = array[rows[k]], amount[k]
        for c in range(array.shape[1]):
            target[c] += source[c]


@kernel(**COMPILED)
def _add_edges(offsets, neighbour, d_vectors, first, gradient):  # type: ignore[no-untyped-def]
    """Add the derivatives by the edges of the centres from `first` on to both ends."""
    for centre in range(len(offsets) - 1):
        for edge in range(offsets[centre], offsets[centre + 1]):
            for d in range(3):
                gradient[neighbour[edge], d] += d_vectors[edge, d]
                gradient[first + centre, d] -= d_vectors[edge, d]
