"""Atoms drawn without a renderer: shaded balls in parallel projection, hidden by depth, with the outline of the cell.

    colour of a pixel = colour of the atom x light on the ball x (1 - DIM d)     d = 0 at the nearest, 1 at the last

Every atom covers the same pixels around its centre. They are gone through one by one, for all atoms at once: at a
pixel the ball nearest to the viewer stays (depth buffer). The picture is drawn at SAMPLES times its size and averaged.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .record import FrameAtoms
from .view import Float, View, axes, corners

DIM = 0.4
"""How much darker the farthest atom is."""
SAMPLES = 2
_LIGHT = np.array([-0.35, 0.5, 0.79])  # to the upper left, in front
_AMBIENT = 0.45
_LINE = 0.15  # colour of the cell
_EDGES = [(start, start | bit) for start in range(8) for bit in (1, 2, 4) if not start & bit]


def flat_picture(frame: FrameAtoms, colors: Float, view: View) -> npt.NDArray[np.uint8]:
    """Draw the atoms of a frame on white.

    Parameters
    ----------
    frame : FrameAtoms
    colors : (n_atoms, 3) float64
        Of the atoms, 0 to 1.
    view : View

    Returns
    -------
    (height, width, 3) uint8
    """
    width, height = (SAMPLES * length for length in view.size)
    pixels = _Pixels(width, height, (height / 2) / view.half_height, view)
    image = np.ones((height * width, 3))
    if len(frame.positions):
        _draw_atoms(image, pixels, frame.positions, colors, view.radius)
    if frame.cell is not None:
        _draw_cell(image, pixels, corners(frame.cell))
    blocks = image.reshape(height // SAMPLES, SAMPLES, width // SAMPLES, SAMPLES, 3)
    return np.round(255 * blocks.mean(axis=(1, 3))).astype(np.uint8)


class _Pixels:
    """The large picture: where points are in it, and the depth of what each pixel shows."""

    def __init__(self, width: int, height: int, scale: float, view: View) -> None:
        self.width, self.height, self.scale = width, height, scale
        self._centre = np.array(view.centre)
        self.depth = np.full(width * height, -np.inf)

    def seen(self, points: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Float]:
        """Return column and row of points (n, 3), and how near they are, in pixels."""
        right, up, towards = (self.scale * (points - self._centre) @ axes().T).T
        column = np.floor(self.width / 2 + right).astype(np.int64)
        return column, np.floor(self.height / 2 - up).astype(np.int64), towards

    def inside(self, column: npt.NDArray[np.int64], row: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which points are in the picture."""
        return (column >= 0) & (column < self.width) & (row >= 0) & (row < self.height)


def _draw_atoms(
    image: Float, pixels: _Pixels, positions: npt.NDArray[np.floating], colors: Float, radius: float
) -> None:
    column, row, near = pixels.seen(positions)
    order = np.argsort(near, kind="stable")  # of several atoms at one pixel, the nearest is written last
    column, row, near = column[order], row[order], near[order]
    size = max(radius * pixels.scale, 1.0)
    shade = np.zeros(len(image), dtype=np.float32)
    owner = np.full(len(image), -1, dtype=np.int64)
    reach = int(size)
    for down in range(-reach, reach + 1):
        for along in range(-reach, reach + 1):
            height = size**2 - down**2 - along**2
            if height < 0:
                continue
            depth = near + np.sqrt(height)
            here = (row + down) * pixels.width + column + along
            shown = np.flatnonzero(pixels.inside(column + along, row + down))
            shown = shown[depth[shown] > pixels.depth[here[shown]]]
            pixels.depth[here[shown]] = depth[shown]
            owner[here[shown]] = shown
            normal = np.array([along, -down, np.sqrt(height)]) / size
            shade[here[shown]] = _AMBIENT + (1 - _AMBIENT) * max(float(normal @ _LIGHT), 0.0)
    drawn = np.flatnonzero(owner >= 0)
    atom = owner[drawn]
    far = (near[-1] - near[atom]) / max(near[-1] - near[0], 1.0)
    image[drawn] = colors[order[atom]] * (shade[drawn] * (1 - DIM * far))[:, None]


def _draw_cell(image: Float, pixels: _Pixels, points: Float) -> None:
    """Draw the edges of the cell where no atom is before them."""
    for start, end in _EDGES:
        length = pixels.scale * float(np.linalg.norm(points[end] - points[start]))
        part = np.linspace(0.0, 1.0, max(2, int(2 * min(length, 1e5))))[:, None]
        column, row, near = pixels.seen((1 - part) * points[start] + part * points[end])
        for down in range(SAMPLES):
            for along in range(SAMPLES):
                shown = pixels.inside(column + along, row + down)
                here = ((row + down) * pixels.width + column + along)[shown]
                image[here[near[shown] >= pixels.depth[here]]] = _LINE
