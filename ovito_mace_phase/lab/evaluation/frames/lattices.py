"""Crystals in numpy: cubic blocks, close-packed stackings of any sequence, repeated reference cells; all at unit scale.

A close-packed stacking is a list of steps: each layer lies above the one before, shifted by `step` times the partial
(0, d / sqrt 3) of the triangular lattice of edge d. Steps 1 1 1 ... are fcc, 1 2 1 2 ... hcp (2 is as good as -1);
a layer between two different steps has hcp surroundings. Fractions of 1 are what a gliding partial passes through.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame, make_frame

Float = npt.NDArray[np.float64]
SPACING = 2.55
"""Nearest-neighbour distance of the frames built here, A; the model does not see it."""

_BASIS = {
    "FCC": (np.sqrt(2.0), [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    "BCC": (2.0 / np.sqrt(3.0), [[0, 0, 0], [0.5, 0.5, 0.5]]),
}


def cubic(phase: str, repeat: int | tuple[int, int, int], spacing: float = SPACING) -> tuple[Float, Float]:
    """Return positions and cell of a block of FCC or BCC."""
    edge, basis = _BASIS[phase]
    times = np.broadcast_to(np.asarray(repeat), (3,))
    positions = (_grid(times)[:, None] + np.array(basis)[None]).reshape(-1, 3) * edge * spacing
    return positions, np.diag(times * edge * spacing)


def lattice_constant(phase: str, spacing: float = SPACING) -> float:
    """Return the edge of the cubic cell."""
    return _BASIS[phase][0] * spacing


def close_packed(
    steps: Sequence[float], repeat: tuple[int, int], spacing: float = SPACING
) -> tuple[Float, Float, npt.NDArray[np.int64]]:
    """Return positions, cell and layer number of each atom; the cell leans by what the steps add up to.

    Parameters
    ----------
    steps : sequence of float
        Shift from each layer to the next, the last one back to the first.
    repeat : (int, int)
        Cells of 2 atoms, d x sqrt(3) d, along x and y.
    """
    n_layers, rise, period = len(steps), np.sqrt(2.0 / 3.0), np.sqrt(3.0)
    shift = np.concatenate([[0.0], np.cumsum(steps)]) / np.sqrt(3.0)
    flat = _grid(np.array([*repeat, 1]))[:, None] + np.array([[0, 0, 0], [0.5, 0.5, 0]])[None]
    plane = flat.reshape(-1, 3) * np.array([1.0, period, 0.0])
    layers = [plane + np.array([0.0, shift[k], k * rise]) for k in range(n_layers)]
    lean = (shift[-1] + period / 2) % period - period / 2
    cell = np.array([[repeat[0], 0, 0], [0, repeat[1] * period, 0], [0, lean, n_layers * rise]])
    return np.concatenate(layers) * spacing, cell * spacing, np.repeat(np.arange(n_layers), len(plane))


def hexagonal_layers(steps: Sequence[float]) -> npt.NDArray[np.bool_]:
    """Return which layers have hcp surroundings: those between two different steps."""
    above = np.asarray(steps)
    return ~np.isclose(above, np.roll(above, 1))


def repeated(cell: Float, fractional: Float, species: npt.NDArray[np.int64], width: float) -> Frame:
    """Return the frame of a crystal repeated until it is `width` thick in every direction."""
    normals = np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]])
    thickness = abs(np.linalg.det(cell)) / np.linalg.norm(normals, axis=1)
    times = np.ceil(width / thickness - 1e-6).astype(int)
    shifts = _grid(times)
    positions = (fractional[None] + shifts[:, None]).reshape(-1, 3) @ cell
    return make_frame(positions, np.tile(species, len(shifts)), cell * times[:, None], True)


def _grid(times: npt.NDArray[np.int_]) -> Float:
    return np.stack(np.meshgrid(*(np.arange(n) for n in times), indexing="ij"), axis=-1).reshape(-1, 3).astype(float)
