"""The spacing of the atoms of a frame, from neighbours found on the device; see `atoms/length_scale.py`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.atoms.length_scale import (
    N_NEAREST,
    OVERLAP,
    TARGET_VOLUME,
    Spacing,
    first_cutoff,
    local_spacing,
)

from . import search_kernels
from .cells import device_grid

_BLOCK = 32  # neighbours compared together


def device_spacing(frame: Frame, positions: Tensor) -> Spacing:
    """Measure the spacing of a frame whose `positions` (n_atoms, 3) are on the device.

    Raises
    ------
    InputError
        When two atoms sit at the same place.
    """
    n_atoms, device = len(frame), positions.device
    by_species = np.zeros(frame.n_species)
    if n_atoms == 0:
        return Spacing(factor=1.0, any_neighbours=False, by_species=by_species)
    total = torch.empty(n_atoms, dtype=torch.float64, device=device)
    shortest = torch.empty_like(total)
    nearest = torch.empty(n_atoms, dtype=torch.int32, device=device)
    cutoff, limit = first_cutoff(frame)
    while True:
        grid = device_grid(positions, frame.cell, frame.pbc, cutoff)
        for first, edges in grid.pieces(torch.float64):
            search_kernels.nearest_cubes[(len(edges),)](
                edges.offsets, edges.vectors, nearest, total, shortest, first, MOST=N_NEAREST, BLOCK=_BLOCK, num_warps=1
            )
        if cutoff >= limit or float((nearest >= N_NEAREST).double().mean()) > 0.95:
            break
        cutoff = min(cutoff * 1.25, limit)
    has = nearest > 0
    used = nearest.double()
    mean = torch.where(has, total / used.clamp_min(1.0), torch.inf)
    volume = mean * ((N_NEAREST + 1) / (used + 1.0))
    middle = mean.median()  # of all atoms, those alone among them: larger than that of the others
    n_found, least, typical = torch.stack([has.sum().double(), shortest.min(), middle]).cpu().tolist()
    n_found = int(n_found)
    if not n_found:
        return Spacing(factor=1.0, any_neighbours=False, by_species=by_species)
    if not least**0.5 > OVERLAP * typical ** (1.0 / 3.0):
        local_spacing(frame)  # names the atoms, or finds that they are far enough from each other
    if frame.n_species > 1:
        of_atoms = torch.empty_like(volume)
        of_atoms[grid.order] = volume
        species = torch.from_numpy(frame.species).to(device)
        sums = torch.zeros(frame.n_species, dtype=torch.float64, device=device).index_add_(0, species, of_atoms)
        by_species = sums.cpu().numpy() / np.maximum(np.bincount(frame.species, minlength=frame.n_species), 1)
    ordered = torch.sort(torch.log(8.0 * np.pi * volume / (3.0 * (N_NEAREST + 1))))[0][:n_found]  # alone: infinite
    quarter = n_found // 4
    log_volume = float(ordered[quarter : n_found - quarter].mean())
    factor = float((TARGET_VOLUME / np.exp(log_volume)) ** (1.0 / 3.0))
    return Spacing(factor=factor, any_neighbours=True, by_species=by_species)
