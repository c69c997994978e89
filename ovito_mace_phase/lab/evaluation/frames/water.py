"""Ices of GenIce2 as frames: arrangements of protons not trained on, molecules rattled as rigid bodies."""

from __future__ import annotations

import dataclasses

import numpy as np

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.lab.crystals import repeated
from ovito_mace_phase.lab.phase_table.ices import Ice, ice_cell
from ovito_mace_phase.runtime.errors import MissingPackageError


def ice_frame(ice: Ice, seed: int, width: float) -> Frame:
    """Return an ice with the proton order of this seed, `width` A thick or more; oxygen is species 0.

    Raises
    ------
    MissingPackageError
        Without GenIce2.
    """
    try:
        cell = ice_cell(ice, seed)
    except ImportError as error:
        raise MissingPackageError(f'ices need GenIce2 ({error}): pip install "ovito-mace-phase[train]"') from None
    return repeated(cell.cell, cell.fractional, cell.species, width)


def rattled_molecules(frame: Frame, sigma: float, rng: np.random.Generator) -> Frame:
    """Move every molecule as a whole, `sigma` A per component: an atom goes with its nearest oxygen."""
    oxygen = np.flatnonzero(frame.species == 0)
    hydrogen = np.flatnonzero(frame.species == 1)
    move = np.zeros_like(frame.positions)
    move[oxygen] = rng.normal(0.0, sigma, (len(oxygen), 3))
    inverse = np.linalg.inv(frame.cell)
    for atoms in np.array_split(hydrogen, max(len(hydrogen) // 256, 1)):
        vectors = (frame.positions[atoms][:, None] - frame.positions[oxygen][None]) @ inverse
        distances = np.linalg.norm((vectors - np.round(vectors)) @ frame.cell, axis=-1)
        move[atoms] = move[oxygen[distances.argmin(axis=1)]]
    return dataclasses.replace(frame, positions=frame.positions + move)
