"""Steps of denoising on the device: positions, edges and moves stay there, one number a step comes back.

The same formulas as `classification/denoise.py` and `step_damping.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ovito_mace_phase.atoms.network_frame import NetworkFrame
from ovito_mace_phase.runtime.watch import Watch

from . import search_kernels
from .cells import DeviceGrid

if TYPE_CHECKING:
    from .run import DeviceEngine


@dataclass(frozen=True, kw_only=True)
class StepRule:
    """How a step follows from the gradient.

    Attributes
    ----------
    scale : float
        s, network units.
    longest : float
        Of the step of one atom, network units.
    nearby : float
        Radius of the means of `step_damping`, network units.
    error : (n_atoms,) float64
        e of `step_damping`, network units.
    free : (n_atoms,) bool
        Atoms that may move.
    """

    scale: float
    longest: float
    nearby: float
    error: npt.NDArray[np.float64]
    free: npt.NDArray[np.bool_]


class DeviceAscent:
    """A frame on its way up the log-density.

    Parameters
    ----------
    engine : DeviceEngine
    frame : NetworkFrame
    rule : StepRule
    memory : int or str, optional
    """

    def __init__(self, engine: DeviceEngine, frame: NetworkFrame, rule: StepRule, memory: int | str | None) -> None:
        self._engine, self._frame, self._rule, self._memory = engine, frame, rule, memory
        self._gains, self._all_free = bool(rule.error.any()), bool(rule.free.all())
        self._error = torch.from_numpy(rule.error).to(engine.device)
        self._free = torch.from_numpy(rule.free).to(engine.device)
        self.start = torch.from_numpy(np.ascontiguousarray(frame.frame.positions)).to(engine.device)
        """Positions of the frame as given, (n_atoms, 3) float64."""

    def evaluate(self, place: Tensor, watch: Watch) -> tuple[float, Tensor]:
        """Return logP at the positions `place` and the proposed moves, (n_atoms, 3), in the unit of the file."""
        density, gradient, grid = self._engine.gradient_at(self._frame, place, self._memory, watch)
        factor, rule = self._frame.factor, self._rule
        move = gradient * factor * (rule.scale / factor) ** 2
        length = torch.linalg.vector_norm(move, dim=1, keepdim=True)
        move *= (rule.longest / factor / length.clamp_min(1e-300)).clamp_max(1.0)
        if self._gains:
            values = torch.stack([move.square().sum(1) * factor**2, 4.0 * self._error.square()], dim=1)
            with self._engine.on_card():
                square, doubt = local_means(grid, values, self._free, rule.nearby).unbind(1)
            move *= (square / (square + doubt).clamp_min(1e-300)).unsqueeze(1)
        if self._all_free:
            move -= move.mean(0)
        else:
            move[~self._free] = 0.0
        return float(density.sum()), move

    def falls(self, place: Tensor, least: float, watch: Watch) -> bool:
        """Say whether logP is less than `least` at the positions `place`: a third of the work of `evaluate`."""
        return self._engine.log_density_at(self._frame, place, self._memory, watch) < least

    def rms(self, move: Tensor) -> float:
        """Return the root mean square of the moves."""
        return float(move.square().sum(1).mean().sqrt())

    def moved(self, place: Tensor, size: float, move: Tensor) -> Tensor:
        """Return positions after a step of `size` times the moves."""
        return place + size * move

    def positions(self, place: Tensor) -> npt.NDArray[np.float64]:
        """Return positions on the host."""
        return place.cpu().numpy()


def local_means(grid: DeviceGrid, values: Tensor, counted: Tensor, radius: float) -> Tensor:
    """Return means of `values` (n_atoms, 2) over each atom and its neighbours, those not `counted` left out.

    Both in the order of the frame; `radius` in the unit of the grid. See `step_damping.local_means`.
    """
    order = grid.order
    weighted = torch.cat([values, torch.ones_like(values[:, :1])], dim=1)[order] * counted[order].unsqueeze(1)
    sums = torch.empty_like(weighted)
    for first, edges in grid.pieces(None, radius):
        search_kernels.sum_rows[(len(edges),)](
            edges.offsets, edges.index, weighted, sums, first, EDGES=32, WIDTH=4, num_warps=1
        )
    means = torch.empty_like(values)
    means[order] = sums[:, :-1] / sums[:, -1:].clamp_min(1.0)
    return means
