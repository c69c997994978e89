"""From features to what is kept of a frame's logits, on the device: `classification/readout` for a GPU.

    features -> z, E of the head -> best logits, logsumexp, single phases, sample, in the order of the frame
    bonds, best logits -> labels and confidence with the prior of the surroundings

One copy to the host at the end. Logits that are all kept stay on the device until they are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import triton
from torch import Tensor

from ovito_mace_phase.atoms.bonds import BOND, Bonds
from ovito_mace_phase.atoms.length_scale import TARGET_VOLUME
from ovito_mace_phase.model.network.head import Head
from ovito_mace_phase.model.network.operations.triton_operations import launch_standardise
from ovito_mace_phase.runtime.held_array import HeldArray

from . import readout_kernels
from .cells import DeviceGrid
from .summary import LogitRequest, LogitSummary

_ATOMS = 64  # of a program of the local prior


def logits_of(head: Head, parts: Sequence[Tensor], one_species: bool, neighbours: Tensor, alone: Tensor) -> Tensor:
    """Return the logits (n, n_phases) of a block; those of atoms without neighbours are `alone` (n_phases,)."""
    mean, weight, bias = head.entry(one_species)
    logits = head.finish(torch.addmm(bias, launch_standardise(parts, mean, head.floor, head.n_plain), weight))
    return torch.where((neighbours == 0).unsqueeze(1), alone, logits.float())


class DeviceKeeper:
    """Gathers what is kept of the logits of a frame, on the device.

    Parameters
    ----------
    n_atoms : int
    request : LogitRequest
    head : Head
    device : torch.device
    alone : (n_phases,) float32
        Logits of an atom without neighbours.
    """

    def __init__(
        self,
        n_atoms: int,
        request: LogitRequest,
        head: Head,
        device: torch.device,
        alone: npt.NDArray[np.float32],
    ) -> None:
        self.n_atoms, self.request, self.head = n_atoms, request, head
        n_phases, chosen, columns = len(alone), list(request.considered), list(request.columns)
        place = np.full(n_phases, -1, dtype=np.int32)
        place[chosen] = np.arange(len(chosen))

        def on_device(values: Any, dtype: torch.dtype) -> Tensor:
            return torch.as_tensor(values, dtype=dtype).to(device)

        self._place, self._alone = on_device(place, torch.int32), on_device(alone, torch.float32)
        self._columns = on_device(columns or [0], torch.int32)
        self._inverse = on_device([1.0 / request.temperature], torch.float32)
        self._n_considered = len(chosen)

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self.best_columns = zeros(n_atoms, request.n_best, dtype=torch.int16)
        self.best, self.log_density, self.log_norm = zeros(n_atoms, request.n_best), zeros(n_atoms), zeros(n_atoms)
        self.sampled = zeros(-(-n_atoms // request.stride), len(chosen))
        self.columns = zeros(len(columns), n_atoms)
        self.logits = zeros(n_atoms, n_phases) if request.full else None

    def add(self, parts: Sequence[Tensor], one_species: bool, order: Tensor, neighbours: Tensor) -> None:
        """Take a block: parts of the features, the atoms of its rows and their numbers of neighbours."""
        mean, weight, bias = self.head.entry(one_species)
        features = launch_standardise(parts, mean, self.head.floor, self.head.n_plain)
        classes, density = self.head.branches(torch.addmm(bias, features, weight))
        n, n_phases = classes.shape
        if n == 0:
            return
        block = triton.next_power_of_2(n_phases)
        readout_kernels.read_out[(n,)](
            classes,
            classes if density is None else density,
            neighbours,
            order,
            self._place,
            self._alone,
            self._columns,
            self.best_columns,
            self.best,
            self.log_density,
            self.log_norm,
            self.sampled,
            self.columns,
            self.best if self.logits is None else self.logits,
            n_phases,
            self._n_considered,
            self.request.stride,
            len(self.request.columns),
            self.n_atoms,
            self._inverse,
            HAS_DENSITY=density is not None,
            FULL=self.logits is not None,
            N_BEST=self.request.n_best,
            BLOCK=block,
            num_warps=max(1, min(4, block // 256)),
        )

    def result(self, bonds: DeviceBonds) -> LogitSummary:
        """Label the atoms with the prior of the surroundings and copy what was kept to the host."""
        place, sure = bonds.local_labels(self)
        return LogitSummary(
            best_columns=self.best_columns.cpu().numpy(),
            best=self.best.cpu().numpy(),
            log_density=self.log_density.cpu().numpy(),
            log_norm=self.log_norm.cpu().numpy(),
            sampled=HeldArray(self.sampled),
            columns=self.columns.cpu().numpy(),
            all_logits=None if self.logits is None else HeldArray(self.logits),
            place=place.cpu().numpy().astype(np.int64),
            confidence=sure.cpu().numpy(),
            bonds=bonds.on_host(),
        )


class DeviceBonds:
    """Nearest neighbours of every atom, on the device; see `atoms.bonds`."""

    def __init__(self, grid: DeviceGrid) -> None:
        (_, edges), *_ = grid.pieces(None, BOND * TARGET_VOLUME ** (1.0 / 3.0), most=len(grid))
        self.order, self.offsets, self.neighbour = grid.order, edges.offsets, edges.index

    def on_host(self) -> Bonds:
        """Return them on the host."""
        return Bonds(
            order=self.order.to(torch.int32).cpu().numpy(),
            offsets=self.offsets.cpu().numpy(),
            neighbour=self.neighbour.cpu().numpy(),
        )

    def local_labels(self, keeper: DeviceKeeper) -> tuple[Tensor, Tensor]:
        """Return place and confidence of the labels, in the order of the frame; see `readout/local_prior.py`."""
        n, rivals = len(self.order), min(keeper.request.n_rivals, keeper.request.n_best)
        width = triton.next_power_of_2(rivals)
        device = self.order.device
        held = torch.full((n, width), -1, dtype=torch.int32, device=device)
        own = torch.zeros(n, width, dtype=torch.float32, device=device)
        held[:, :rivals] = keeper.best_columns[self.order, :rivals].int()
        temperature = float(np.float32(keeper.request.temperature))
        scaled = keeper.best[self.order, :rivals] / temperature - keeper.log_norm[self.order].unsqueeze(1)
        own[:, :rivals] = scaled.clamp_max(0.0).exp()
        present, grid = own.clone(), (triton.cdiv(n, _ATOMS),)
        shared: dict[str, Any] = {"N": width, "ATOMS": _ATOMS, "num_warps": 2}
        for _ in range(keeper.request.n_sweeps):
            following = torch.empty_like(present)
            readout_kernels.spread[grid](held, own, present, self.offsets, self.neighbour, following, n, **shared)
            present = following
        place = torch.empty(n, dtype=torch.int8, device=device)
        sure = torch.empty(n, dtype=torch.float32, device=device)
        readout_kernels.agreement[grid](held, own, present, self.offsets, self.neighbour, place, sure, n, **shared)
        out_place, out_sure = torch.empty_like(place), torch.empty_like(sure)
        out_place[self.order], out_sure[self.order] = place, sure
        return out_place, out_sure
