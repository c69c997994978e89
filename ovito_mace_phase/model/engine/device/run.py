"""A frame from the host to a device, through the network, and what was asked for back.

in   positions, species slots, cell
out  best logits, logsumexp, labels and confidence with the prior of the surroundings; or logP and its gradient
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ovito_mace_phase.atoms.bonds import find_bonds
from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.atoms.length_scale import Spacing
from ovito_mace_phase.atoms.network_frame import NetworkFrame
from ovito_mace_phase.model.engine.evaluator import Evaluator
from ovito_mace_phase.model.engine.forward import with_smaller_blocks
from ovito_mace_phase.model.engine.gradient import LogDensity
from ovito_mace_phase.model.network.head import Head
from ovito_mace_phase.model.network.operations.triton_operations import launch_standardise
from ovito_mace_phase.runtime.errors import ModelFileError
from ovito_mace_phase.runtime.held_array import HeldArray
from ovito_mace_phase.runtime.memory import memory_budget
from ovito_mace_phase.runtime.watch import Watch

from .cells import DeviceGrid, device_grid, to_device
from .gradient import DeviceGradientSweep
from .readout import DeviceBonds, DeviceKeeper, logits_of
from .spacing import device_spacing
from .summary import LogitRequest, LogitSummary
from .sweep import DeviceFrame, DeviceSweep

FORWARD_MOST, GRADIENT_MOST = 2 * 2**30, 8 * 2**30
"""Bytes that slabs take by default at most; more does not make the work faster."""
FORWARD_BLOCK, GRADIENT_BLOCK = 16384, 16384
"""Atoms of a block."""
Keep = Callable[[npt.NDArray[np.int64], npt.NDArray[np.float32]], None]


class DeviceEngine:
    """Frames on the device of an evaluator whose operations are Triton kernels.

    Parameters
    ----------
    evaluator : Evaluator
    alone : (n_phases,) float32
        Logits of an atom without neighbours.
    """

    def __init__(self, evaluator: Evaluator, alone: npt.NDArray[np.float32]) -> None:
        self.evaluator, self.alone = evaluator, alone

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self.evaluator.device

    def spacing(self, frame: Frame) -> Spacing:
        """Measure the spacing of the atoms of a frame."""
        with self.on_card():
            return device_spacing(frame, self.upload(frame.positions))

    def stream_logits(
        self, frame: NetworkFrame, keep: Keep, memory: int | str | None = None, watch: Watch | None = None
    ) -> None:
        """Hand over all logits block by block, on the host; see `PhaseModel.stream_logits`."""
        watch, head = watch or Watch(), self.head
        alone = torch.from_numpy(self.alone).to(self.device)

        def attempt(sized: Evaluator, budget: int) -> None:
            given = self._given(frame, self.upload(frame.frame.positions))
            sweep = DeviceSweep(given, sized, budget, watch.progress, watch.cancelled)

            def consume(first: int, last: int, parts: list[Tensor]) -> None:
                atoms, counts = given.grid.order[first:last], sweep.cut.counts[first:last]
                logits = logits_of(head, parts, sweep.one_species, counts, alone)
                keep(atoms.cpu().numpy(), logits.cpu().numpy())

            sweep.run(consume)

        if len(frame):
            self._attempt(attempt, memory, FORWARD_MOST, FORWARD_BLOCK)

    def summary(
        self, frame: NetworkFrame, request: LogitRequest, memory: int | str | None = None, watch: Watch | None = None
    ) -> LogitSummary:
        """Evaluate a frame and keep what is asked for of its logits; see `PhaseModel.logit_summary`."""
        watch, head = watch or Watch(), self.head
        found: list[LogitSummary] = []

        def attempt(sized: Evaluator, budget: int) -> None:
            keeper = DeviceKeeper(len(frame), request, head, self.device, self.alone)
            given = self._given(frame, self.upload(frame.frame.positions))
            sweep = DeviceSweep(given, sized, budget, watch.progress, watch.cancelled)

            def consume(first: int, last: int, parts: list[Tensor]) -> None:
                order, counts = given.grid.order[first:last], sweep.cut.counts[first:last]
                keeper.add(parts, sweep.one_species, order, counts)

            bonds = DeviceBonds(given.grid)  # waits for the device, which has little to do before the sweep
            sweep.run(consume)
            found.append(keeper.result(bonds))

        if not len(frame):
            return _nothing(request, len(self.alone), frame)
        self._attempt(attempt, memory, FORWARD_MOST, FORWARD_BLOCK)
        return found[-1]

    def log_density_gradient(
        self, frame: NetworkFrame, memory: int | str | None = None, watch: Watch | None = None
    ) -> LogDensity:
        """Return logP and its gradient, per network unit of length; see `PhaseModel.log_density_gradient`."""
        if not len(frame):
            return LogDensity(log_density=np.zeros(0), gradient=np.zeros((0, 3)))
        density, gradient, _ = self.gradient_at(frame, self.upload(frame.frame.positions), memory, watch)
        return LogDensity(log_density=density.cpu().numpy(), gradient=gradient.cpu().numpy())

    def gradient_at(
        self, frame: NetworkFrame, positions: Tensor, memory: int | str | None = None, watch: Watch | None = None
    ) -> tuple[Tensor, Tensor, DeviceGrid]:
        """Do the same for the atoms of a frame at other `positions`, on the device, where the answer stays."""
        watch = watch or Watch()
        found: list[tuple[Tensor, Tensor, DeviceGrid]] = []

        def attempt(sized: Evaluator, budget: int) -> None:
            given = self._given(frame, positions)
            sweep = DeviceGradientSweep(given, sized, budget, watch.progress, watch.cancelled)
            sweep.run_backward()
            density, gradient = torch.empty_like(sweep.log_density), torch.empty_like(sweep.gradient)
            density[given.grid.order], gradient[given.grid.order] = sweep.log_density, sweep.gradient
            found.append((density, gradient, given.grid))

        self._attempt(attempt, memory, GRADIENT_MOST, GRADIENT_BLOCK)
        return found[-1]

    def log_density_at(
        self, frame: NetworkFrame, positions: Tensor, memory: int | str | None = None, watch: Watch | None = None
    ) -> float:
        """Return logP of the atoms of a frame at other `positions`, on the device."""
        watch, head = watch or Watch(), self.head
        found: list[float] = []

        def attempt(sized: Evaluator, budget: int) -> None:
            given = self._given(frame, positions)
            sweep = DeviceSweep(given, sized, budget, None, watch.cancelled)
            mean, weight, bias = head.density_entry(sweep.one_species)
            sums: list[Tensor] = []

            def consume(_first: int, _last: int, parts: list[Tensor]) -> None:
                features = launch_standardise(parts, mean, head.floor, head.n_plain)
                sums.append(head.density_of(torch.addmm(bias, features, weight)).double().sum())

            sweep.run(consume)
            found.append(float(torch.stack(sums).sum()))

        self._attempt(attempt, memory, FORWARD_MOST, FORWARD_BLOCK)
        return found[-1]

    @property
    def head(self) -> Head:
        """The head; raises ModelFileError where there is none."""
        if self.evaluator.head is None:
            raise ModelFileError("the model file holds a bare network without a phase head: train one")
        return self.evaluator.head

    def upload(self, array: npt.NDArray[Any]) -> Tensor:
        """Copy an array to the device without waiting for it."""
        return to_device(torch.from_numpy(np.ascontiguousarray(array)), self.device)

    def on_card(self) -> AbstractContextManager[Any]:
        """Make the card of the weights the one that kernels are launched on."""
        where = self.evaluator.weights.embedding.device
        return torch.cuda.device(where) if where.type == "cuda" else nullcontext()

    def _given(self, frame: NetworkFrame, positions: Tensor) -> DeviceFrame:
        grid = device_grid(positions * frame.factor, frame.frame.cell * frame.factor, frame.frame.pbc, frame.r_max)
        present = tuple(np.flatnonzero(np.bincount(frame.slots)).tolist())
        if len(present) == 1:
            slots = torch.full((len(frame),), present[0], dtype=torch.int32, device=self.device)
        else:
            slots = self.upload(frame.slots.astype(np.int32))[grid.order]
        return DeviceFrame(grid=grid, slots=slots, present=present)

    def _attempt(
        self, attempt: Callable[[Evaluator, int], None], memory: int | str | None, most: int, block: int
    ) -> None:
        with self.on_card():
            budget = memory_budget(self.device, memory, most)
            with_smaller_blocks(attempt, dataclasses.replace(self.evaluator, block_size=block), budget)


def _nothing(request: LogitRequest, n_phases: int, frame: NetworkFrame) -> LogitSummary:
    """Return the summary of a frame without atoms."""
    empty = np.zeros(0, dtype=np.float32)
    return LogitSummary(
        best_columns=np.zeros((0, request.n_best), dtype=np.int16),
        best=np.zeros((0, request.n_best), dtype=np.float32),
        log_density=empty,
        log_norm=empty,
        sampled=HeldArray(torch.zeros(0, len(request.considered))),
        columns=np.zeros((len(request.columns), 0), dtype=np.float32),
        all_logits=HeldArray(torch.zeros(0, n_phases)) if request.full else None,
        place=np.zeros(0, dtype=np.int64),
        confidence=empty,
        bonds=find_bonds(frame.grid()),
    )
