"""What lies around the atoms, type by type: counts of neighbours by distance, of all atoms or of a sample in runs.

    count[a, t, b] = number of neighbours of centre a of type t at a distance  b <= r / (WIDTH V^(1/3)) < b + 1

V is the volume per atom (`length_scale`). Centres are taken in runs of whole cells of the grid, each compact in space
and of some eighty atoms, so that what differs from place to place shows; in a large frame some of the runs, spread
evenly, so that the sample does not depend on the order of the atoms.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.runtime.compiling import COMPILED, kernel
from ovito_mace_phase.runtime.threads import over_rows

from .cell_grid import CellGrid, make_grid, nearest_cubes
from .frame import FloatArray, Frame, IntArray
from .length_scale import N_NEAREST, TARGET_VOLUME, first_cutoff, length_factor

WIDTH = 0.1
"""Width of a bin, in V^(1/3)."""
N_BINS = 22
"""Bins, to 2.2 V^(1/3): 42 neighbours in fcc, the first three shells."""
RUN = 80
"""Least number of atoms of a run."""
MOST_CENTRES = 12_000
_FIRST_LOOK = 512  # centres from which the volume per atom is taken
_WASTE = 4.0  # times as many candidates as needed, beyond which the atoms are sorted anew
_MOST_COUNTS = 30_000_000


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Neighbours of the centres.

    Attributes
    ----------
    species : (n_centres,) int64
        Code of each centre, as in the frame.
    run : (n_runs + 1,) int64
        The centres of run k are `run[k]` to `run[k + 1] - 1`.
    counts : (n_centres, n_species, N_BINS) int16
        See the head of this module.
    """

    species: IntArray
    run: IntArray
    counts: npt.NDArray[np.int16]


def surroundings(frame: Frame, most_centres: int = MOST_CENTRES) -> Surroundings:
    """Count the neighbours of all atoms of a frame, or of about `most_centres` of them."""
    n_atoms = len(frame)
    most = max(RUN, min(most_centres, _MOST_COUNTS // (N_BINS * max(1, frame.n_species))))
    grid, unit = _sorted(frame)
    ends = _runs(grid.start, n_atoms)
    n_runs = len(ends) - 1
    taken = np.arange(n_runs)
    if n_atoms > most:
        taken = np.sort(np.random.default_rng(0).permutation(n_runs)[: max(1, n_runs * most // n_atoms)])
    sizes = np.diff(ends)[taken]
    run = np.concatenate([[0], np.cumsum(sizes)])
    counts = np.zeros((int(run[-1]), frame.n_species, N_BINS), dtype=np.int16)
    species = frame.species[grid.order]

    def count(first: int, last: int) -> None:
        for k in range(first, last):
            a, b = int(ends[taken[k]]), int(ends[taken[k] + 1])
            offsets, neighbour, vectors = grid.pairs(a, b)
            _count(offsets, neighbour, vectors, species, 1.0 / (WIDTH * unit), counts[run[k] : run[k + 1]])

    over_rows(count, len(taken), 16)
    centres = np.concatenate([np.arange(ends[k], ends[k + 1]) for k in taken]) if len(taken) else np.zeros(0, np.int64)
    return Surroundings(species=species[centres], run=run, counts=counts)


def _sorted(frame: Frame) -> tuple[CellGrid, float]:
    """Sort the atoms into cells of at least 2.2 V^(1/3); return that and V^(1/3)."""
    cutoff, limit = first_cutoff(frame)
    cutoff *= 1.35
    while True:
        grid = make_grid(frame.positions, frame.cell, frame.pbc, cutoff)
        spacing, enough = _sampled_spacing(grid)
        if enough or cutoff >= limit:
            break
        cutoff = min(1.25 * cutoff, limit)
    unit = TARGET_VOLUME ** (1.0 / 3.0) / length_factor(spacing)
    reach = WIDTH * N_BINS * unit
    if (cutoff / reach) ** 3 > _WASTE or cutoff < reach:
        grid = make_grid(frame.positions, frame.cell, frame.pbc, reach)
    return grid, unit


def _sampled_spacing(grid: CellGrid) -> tuple[FloatArray, bool]:
    """Return the mean cubed distances of `local_spacing` for some atoms, and whether most have enough neighbours."""
    n_pieces = min(16, max(1, len(grid) // 32))
    size = min(_FIRST_LOOK // n_pieces, -(-len(grid) // n_pieces))
    found, enough = [], []
    for k in range(n_pieces):
        first = _cell_end(grid.start, k * len(grid) // n_pieces)
        offsets, neighbour, vectors = grid.pairs(first, _cell_end(grid.start, first + size))
        n = len(offsets) - 1
        total, count = np.zeros(n), np.zeros(n, dtype=np.int64)
        nearest_cubes(
            offsets, neighbour, vectors, N_NEAREST, 0, total, count, np.full(n, np.inf), np.zeros(n, np.int64)
        )
        used = np.minimum(count, N_NEAREST)
        found.append((total / np.maximum(used, 1) * (N_NEAREST + 1) / (used + 1))[total > 0.0])
        enough.append(count >= N_NEAREST)
    return np.concatenate(found), float(np.concatenate(enough).mean()) > 0.95 if enough else True


def _cell_end(start: IntArray, atom: int) -> int:
    """Return where the cell of an atom ends, or the one before begins: whole cells do not depend on the order."""
    return int(start[min(int(np.searchsorted(start, atom)), len(start) - 1)])


def _runs(start: IntArray, n_atoms: int) -> IntArray:
    """Return the first atoms of runs of whole cells with at least RUN atoms each, and the end."""
    if n_atoms == 0:
        return np.zeros(1, dtype=np.int64)
    number = np.maximum(start[1:] - 1, 0) // RUN  # of the last atom so far
    ends = start[1:][np.append(np.flatnonzero(np.diff(number)), len(number) - 1)]
    ends = np.unique(np.concatenate([[0], ends]))
    if len(ends) > 2 and ends[-1] - ends[-2] < RUN // 2:
        ends = np.delete(ends, -2)
    return ends


@kernel(**COMPILED)
def _count(offsets, neighbour, vectors, species, per_unit, counts):
    for centre in range(len(offsets) - 1):
        for edge in range(offsets[centre], offsets[centre + 1]):
            square = vectors[edge, 0] ** 2 + vectors[edge, 1] ** 2 + vectors[edge, 2] ** 2
            place = int(np.sqrt(square) * per_unit)
            if place < counts.shape[2]:
                counts[centre, species[neighbour[edge]], place] += 1
