"""Edges of many small frames side by side, in the order of their atoms: ten times as fast as by `neighbour_list`.

    edges of the sorted atoms of `cell_grid` (k, l, v)  ->  (order[l], order[k], -v), centres and neighbours ascending

Every edge appears from both sides, so turning them all round changes nothing; written in the order of their former
centres they come out sorted by the new neighbours, and sums over neighbours are the same in every run.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ovito_mace_phase.atoms.cell_grid import make_grid
from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.atoms.neighbour_list import Edges, side_by_side
from ovito_mace_phase.runtime.compiling import COMPILED, kernel


def edges_of(frames: Sequence[Frame], cutoff: float) -> Edges:
    """Return all edges shorter than `cutoff`, atoms numbered on from frame to frame; without shifts.

    Raises
    ------
    InputError
        Periodic vectors of a frame zero, not finite or linearly dependent.
    """
    return side_by_side([_edges(frame, cutoff) for frame in frames])


def _edges(frame: Frame, cutoff: float) -> Edges:
    grid = make_grid(frame.positions, frame.cell, frame.pbc, cutoff)
    found = grid.pairs(0, len(frame))
    offsets = np.zeros(len(frame) + 1, dtype=np.int64)
    neighbour, vectors = np.empty_like(found[1]), np.empty_like(found[2])
    _turn_round(*found, grid.order, np.argsort(grid.order), offsets, neighbour, vectors)
    return Edges(offsets=offsets, neighbour=neighbour, vectors=vectors, shifts=None)


@kernel(**COMPILED)
def _turn_round(sorted_offsets, sorted_neighbour, sorted_vectors, order, place, offsets, neighbour, vectors):
    """Write offsets, neighbours and vectors in the order of the atoms."""
    n_atoms = len(order)
    for other in sorted_neighbour:
        offsets[order[other] + 1] += 1
    for atom in range(n_atoms):
        offsets[atom + 1] += offsets[atom]
    free = offsets[:-1].copy()
    for atom in range(n_atoms):
        row = place[atom]
        for k in range(sorted_offsets[row], sorted_offsets[row + 1]):
            centre = order[sorted_neighbour[k]]
            to = free[centre]
            free[centre] += 1
            neighbour[to] = atom
            for d in range(3):
                vectors[to, d] = -sorted_vectors[k, d]
