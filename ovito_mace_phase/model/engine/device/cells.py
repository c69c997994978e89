"""Atoms sorted into cells on a device, and their neighbours: `cell_grid.py` for a GPU.

The sorted order runs layer by layer along the longest direction, as there; within a layer row by row. The edges of a
range of atoms are found when needed, all of them by two launches: one counts, one fills in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ovito_mace_phase.atoms.cell_grid import cells_along
from ovito_mace_phase.atoms.neighbour_list import complete_cell
from ovito_mace_phase.model.network.operations.triton_operations import EdgeList
from ovito_mace_phase.runtime.errors import InputError

from . import search_kernels

_CHUNK = 64  # candidates looked at together


@dataclass(frozen=True, kw_only=True)
class DeviceGrid:
    """Sorted atoms of a frame on a device.

    Attributes
    ----------
    cutoff : float
    positions : (3, n_atoms) float64
        In sorted order, moved inside the cell.
    order : (n_atoms,) int64
        Sorted atom k is atom `order[k]` of the caller.
    box : (3, 3) float64 array
        Rows are lattice vectors, the layered direction first.
    shape, reach : (3,) int64 array
        Cells along each direction; cells to look at on either side.
    periodic : (3,) bool array
    start : (n_cells + 1,) int32
        First atom of each cell.
    cell_of : (n_atoms,) int32
    """

    cutoff: float
    positions: Tensor
    order: Tensor
    box: npt.NDArray[np.float64]
    shape: npt.NDArray[np.int64]
    reach: npt.NDArray[np.int64]
    periodic: npt.NDArray[np.bool_]
    start: Tensor
    cell_of: Tensor

    def __len__(self) -> int:
        return self.positions.shape[1]

    def layers(self) -> npt.NDArray[np.int64]:
        """Return the first atom of each layer of cells, (shape[0] + 1,); waits for the device."""
        return self.start[:: int(self.shape[1] * self.shape[2])].cpu().numpy().astype(np.int64)

    def counts(self, cutoff: float | None = None) -> Tensor:
        """Return the number of neighbours of every atom, (n_atoms,) int32; `cutoff` may be shorter than that of cells.

        Raises
        ------
        InputError
            When it is longer.
        """
        counts = torch.empty(len(self), dtype=torch.int32, device=self.positions.device)
        if len(self):
            self._launch(len(self), 0, cutoff, offsets=counts, counts=counts, index=counts, vectors=self.positions)
        return counts

    def edges(
        self, first: int, offsets: Tensor, n_edges: int, dtype: torch.dtype | None, cutoff: float | None = None
    ) -> EdgeList:
        """Return the edges of the atoms from `first` on, counted around the ring.

        Parameters
        ----------
        first : int
        offsets : (n_centres + 1,) int64
            Sums of what `counts` gave for these atoms, from 0.
        n_edges : int
            The last of these.
        dtype : torch.dtype or None
            Of the vectors; None leaves them out.
        cutoff : float, optional
            As for `counts`.
        """
        device = self.positions.device
        index = torch.empty(n_edges, dtype=torch.int32, device=device)
        vectors = torch.empty(n_edges if dtype else 0, 3, dtype=dtype, device=device)
        if n_edges:
            self._launch(
                len(offsets) - 1, first, cutoff, offsets=offsets, counts=index, index=index, vectors=vectors, fill=True
            )
        return EdgeList(offsets=offsets, index=index, vectors=vectors)

    def pieces(
        self, dtype: torch.dtype | None, cutoff: float | None = None, most: int = 2**20
    ) -> Iterator[tuple[int, EdgeList]]:
        """Yield the edges of all atoms in pieces of at most `most`, with the first atom; waits for the device once."""
        offsets = sums_of(self.counts(cutoff))
        bounds = [*range(0, len(self), most), len(self)]
        at = offsets[to_device(torch.tensor(bounds), offsets.device)].tolist()
        for k, (first, last) in enumerate(pairwise(bounds)):
            within = offsets[first : last + 1] - at[k]
            yield first, self.edges(first, within, at[k + 1] - at[k], dtype, cutoff)

    def _launch(
        self,
        n_centres: int,
        first: int,
        cutoff: float | None,
        *,
        offsets: Tensor,
        counts: Tensor,
        index: Tensor,
        vectors: Tensor,
        fill: bool = False,
    ) -> None:
        reach = self.cutoff if cutoff is None else cutoff
        if reach > self.cutoff:
            raise InputError(f"neighbours within {reach:g} were asked of cells made for {self.cutoff:g}")
        numbers = torch.tensor([*self.box.ravel().tolist(), reach**2], dtype=torch.float64)
        search_kernels.find_neighbours[(n_centres,)](
            self.positions,
            self.start,
            self.cell_of,
            to_device(numbers, self.positions.device),
            offsets,
            counts,
            index,
            vectors,
            len(self),
            *self.shape.tolist(),
            *self.reach.tolist(),
            *[int(one) for one in self.periodic],
            first,
            FILL=fill,
            VECTORS=fill and vectors.numel() > 0,
            CHUNK=_CHUNK,
            num_warps=1,
        )


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device without waiting for it."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def sums_of(counts: Tensor) -> Tensor:
    """Return offsets (n + 1,) int64 of rows of given lengths."""
    offsets = torch.zeros(len(counts) + 1, dtype=torch.int64, device=counts.device)
    torch.cumsum(counts, 0, out=offsets[1:])
    return offsets


def device_grid(
    positions: Tensor, cell: npt.NDArray[np.float64], pbc: npt.NDArray[np.bool_], cutoff: float
) -> DeviceGrid:
    """Sort atoms into cells.

    Parameters
    ----------
    positions : (n_atoms, 3) float64
        On the device; atoms may lie outside the cell.
    cell : (3, 3) float64
        Rows are lattice vectors; those of non-periodic directions are ignored and may be zero.
    pbc : (3,) bool
    cutoff : float

    Raises
    ------
    InputError
        When the cell is degenerate along periodic directions.
    """
    device, n_atoms = positions.device, len(positions)
    pbc = np.asarray(pbc, dtype=bool)
    box = complete_cell(_corners(positions, cell, pbc), np.asarray(cell, dtype=np.float64), pbc, cutoff)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(box), axis=0)
    axes = np.argsort(-heights, kind="stable")
    box, pbc, heights = np.ascontiguousarray(box[axes]), pbc[axes], heights[axes]
    shape = cells_along(heights, cutoff, n_atoms)
    reach = np.ceil(cutoff * shape / heights).astype(np.int64)
    given = to_device(torch.from_numpy(np.concatenate([box, np.linalg.inv(box)])), device)
    periodic = to_device(torch.from_numpy(pbc), device)
    fractional = positions @ given[3:]
    turns = torch.where(periodic, fractional.floor(), 0.0)
    if n_atoms and not pbc.all():
        turns = turns + torch.where(periodic, 0.0, fractional.amin(0))
    inside = positions - turns @ given[:3]
    fractional = inside @ given[3:]
    counts = to_device(torch.from_numpy(shape), device)
    cells = (fractional * counts).long().clamp_min(0)
    cells = torch.minimum(cells, counts - 1)
    rank = (cells[:, 0] * int(shape[1]) + cells[:, 1]) * int(shape[2]) + cells[:, 2]
    rank, order = torch.sort(rank, stable=True)
    n_cells = int(shape.prod())
    start = torch.searchsorted(rank, torch.arange(n_cells + 1, device=device)).to(torch.int32)
    return DeviceGrid(
        cutoff=float(cutoff),
        positions=inside[order].T.contiguous(),
        order=order,
        box=box,
        shape=shape,
        reach=reach,
        periodic=pbc,
        start=start,
        cell_of=rank.to(torch.int32),
    )


def _corners(positions: Tensor, cell: npt.NDArray[np.float64], pbc: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return a few points that reach as far along the open directions as all atoms do; waits where there are any."""
    if pbc.all() or not len(positions):
        return np.zeros((0, 3))
    lengths = np.linalg.norm(cell, axis=1)
    if not np.isfinite(cell[pbc]).all() or (lengths[pbc] == 0).any():
        return np.zeros((0, 3))  # complete_cell says what is wrong
    free = np.linalg.svd(cell[pbc] / lengths[pbc, None])[2][int(pbc.sum()) :] if pbc.any() else np.eye(3)
    along = positions @ torch.from_numpy(free.T.copy()).to(positions.device)
    return np.stack([along.amin(0).cpu().numpy(), along.amax(0).cpu().numpy()]) @ free
