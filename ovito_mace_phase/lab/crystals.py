"""Ideal crystals: repeated cells, cubic blocks and stacked layers. The one place where crystals are built.

A crystal is a cell (3, 3), rows, with fractional coordinates (n_atoms, 3) and species (n_atoms,), or the positions of a
block and its cell. Lengths are whatever those of the cell are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame, make_frame

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
SPACING = 2.55
"""Nearest-neighbour distance of blocks and stackings, A, unless another one is given; the model does not see it."""
RISE = np.sqrt(2.0 / 3.0)
"""Distance of close-packed layers over that of neighbours within one."""

_BASIS = {
    "FCC": (np.sqrt(2.0), [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    "BCC": (2.0 / np.sqrt(3.0), [[0, 0, 0], [0.5, 0.5, 0.5]]),
}


def widths(cell: Float) -> Float:
    """Return the distance of opposite faces of a cell, (3,)."""
    return 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)


def repeat(cell: Float, fractional: Float, species: Int, times: npt.ArrayLike) -> tuple[Float, Float, Int]:
    """Return cell, fractional coordinates and species of a crystal repeated along its edges, cell after cell."""
    counts = np.asarray(times)
    corners = grid(counts)
    fractional = ((fractional[None] + corners[:, None]) / counts).reshape(-1, 3)
    return cell * counts[:, None], fractional, np.tile(species, len(corners))


def repeated(cell: Float, fractional: Float, species: Int, width: float) -> Frame:
    """Return the frame of a crystal repeated until it is `width` thick in every direction."""
    times = np.ceil(width / widths(cell) - 1e-6).astype(int)
    cell, fractional, species = repeat(cell, fractional, species, times)
    return make_frame(fractional @ cell, species, cell, True)


def cubic(phase: str, times: int | tuple[int, int, int], spacing: float = SPACING) -> tuple[Float, Float]:
    """Return positions and cell of a block of FCC or BCC."""
    edge, basis = _BASIS[phase]
    counts = np.broadcast_to(np.asarray(times), (3,))
    positions = (grid(counts)[:, None] + np.array(basis)[None]).reshape(-1, 3) * edge * spacing
    return positions, np.diag(counts * edge * spacing)


def lattice_constant(phase: str, spacing: float = SPACING) -> float:
    """Return the edge of the cubic cell."""
    return _BASIS[phase][0] * spacing


def close_packed(steps: Sequence[float], times: tuple[int, int], spacing: float = SPACING) -> tuple[Float, Float, Int]:
    """Return positions, cell and layer number of each atom of a close-packed stacking in an orthogonal base.

    Each layer lies above the one before, shifted by `step` times the partial (0, d / sqrt 3) of the triangular lattice
    of edge d. Steps 1 1 1 ... are fcc, 1 2 1 2 ... hcp (2 is as good as -1); a layer between two unlike steps has hcp
    surroundings. A gliding partial passes through fractions of 1. The cell leans by the sum of the steps.

    Parameters
    ----------
    steps : sequence of float
        Shift from each layer to the next, the last one back to the first.
    times : (int, int)
        Cells of 2 atoms, d x sqrt(3) d, along x and y.
    """
    period = np.sqrt(3.0)
    shift = np.concatenate([[0.0], np.cumsum(steps)])
    flat = grid(np.array([*times, 1]))[:, None] + np.array([[0, 0, 0], [0.5, 0.5, 0]])[None]
    plane = flat.reshape(-1, 3) * np.array([1.0, period, 0.0])
    positions, layer = stack(plane, shift[:-1], np.array([0.0, 1.0 / period, 0.0]), RISE)
    lean = (shift[-1] / period + period / 2) % period - period / 2
    cell = np.array([[times[0], 0, 0], [0, times[1] * period, 0], [0, lean, len(steps) * RISE]])
    return positions * spacing, cell * spacing, layer


def stack(
    plane: Float, shifts: npt.ArrayLike, partial: Float, rise: float, heights: Sequence[float] = (0.0,)
) -> tuple[Float, Int]:
    """Return positions and layer number of layers of sites `plane` (n, 3): layer k shifted by shifts[k] `partial`.

    On every site stand atoms at `heights`, in units of `rise`, the distance of layers; one height after the other.
    """
    offsets = np.asarray(shifts, dtype=float)[:, None] * partial
    offsets[:, 2] += np.arange(len(offsets)) * rise
    lifts = np.zeros((len(heights), 3))
    lifts[:, 2] = np.asarray(heights) * rise
    positions = offsets[:, None, None] + lifts[None, :, None] + plane[None, None]
    return positions.reshape(-1, 3), np.repeat(np.arange(len(offsets)), len(heights) * len(plane))


def hexagonal_layers(steps: Sequence[float]) -> npt.NDArray[np.bool_]:
    """Return which layers have hcp surroundings: those between two different steps."""
    above = np.asarray(steps)
    return ~np.isclose(above, np.roll(above, 1))


def dealt_out(n_atoms: int, fractions: Sequence[float], rng: np.random.Generator) -> Int:
    """Return species (n_atoms,) in these fractions, as nearly as the number of atoms allows, in random order."""
    count = np.round(np.cumsum(fractions) * n_atoms).astype(int)
    return rng.permutation(np.searchsorted(count, np.arange(n_atoms), side="right"))


def grid(times: npt.NDArray[np.int_]) -> Float:
    """Return the corners (n, 3) of repeated cells, in units of their edges, the last one fastest."""
    return np.stack(np.meshgrid(*(np.arange(n) for n in times), indexing="ij"), axis=-1).reshape(-1, 3).astype(float)
