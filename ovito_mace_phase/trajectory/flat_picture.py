"""Atoms drawn without a renderer: shaded balls in parallel projection, hidden by depth, with the outline of the cell.

    colour of a pixel = colour of the atom x light on the ball x (1 - DIM d)     d = 0 at the nearest, 1 at the last

Every atom covers the same pixels around its centre. They are gone through one by one, for all atoms at once; where the
atoms are fewer, these one by one, for all pixels at once. At a pixel the ball nearest to the viewer stays (depth
buffer). The picture is drawn at SAMPLES times its size and averaged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .record import FrameAtoms
from .view import Float, View, axes, corners

DIM = 0.25
"""How much darker the farthest atom is."""
SAMPLES = 2
_LIGHT = np.array([-0.30, 0.35, 0.89])  # to the upper left, in front
_AMBIENT = 0.55
_LINE, _THICK = 0.15, 3  # colour of the cell, and its width in pixels of the large picture
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
    shade = np.zeros(len(image), dtype=np.float32)
    owner = np.full(len(image), -1, dtype=np.int64)

    def put(atoms: Any, columns: Any, rows: Any, depth: Any, light: Any) -> None:
        """Show atoms at pixels where nothing is nearer; arrays that broadcast to (n,)."""
        inside = np.flatnonzero(pixels.inside(columns, rows))
        here = (rows * pixels.width + columns)[inside]
        nearer = depth[inside] > pixels.depth[here]
        shown, here = inside[nearer], here[nearer]
        pixels.depth[here] = depth[shown]
        owner[here] = np.broadcast_to(atoms, depth.shape)[shown]
        shade[here] = np.broadcast_to(light, depth.shape)[shown]

    down, along, bump, light = _ball(max(radius * pixels.scale, 1.0))
    everyone = np.arange(len(near))
    if len(near) < len(bump):
        for atom in everyone:
            put(atom, column[atom] + along, row[atom] + down, near[atom] + bump, light)
    else:
        for place in range(len(bump)):
            put(everyone, column + along[place], row + down[place], near + bump[place], light[place])
    drawn = np.flatnonzero(owner >= 0)
    seen = owner[drawn]
    far = (near[-1] - near[seen]) / max(near[-1] - near[0], 1.0)
    image[drawn] = colors[order[seen]] * (shade[drawn] * (1 - DIM * far))[:, None]


def _ball(size: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Float, Float]:
    """Return the pixels of a ball: down and along from its centre, its height there, the light on it."""
    reach = int(size)
    down, along = (part.ravel() for part in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    height = size**2 - down**2 - along**2
    down, along, bump = down[height >= 0], along[height >= 0], np.sqrt(height[height >= 0])
    normal = np.column_stack([along, -down, bump]) / size
    return down, along, bump, _AMBIENT + (1 - _AMBIENT) * np.maximum(normal @ _LIGHT, 0.0)


def _draw_cell(image: Float, pixels: _Pixels, points: Float) -> None:
    """Draw the edges of the cell where no atom is before them."""
    for start, end in _EDGES:
        length = pixels.scale * float(np.linalg.norm(points[end] - points[start]))
        part = np.linspace(0.0, 1.0, max(2, int(2 * min(length, 1e5))))[:, None]
        column, row, near = pixels.seen((1 - part) * points[start] + part * points[end])
        for down in range(_THICK):
            for along in range(_THICK):
                shown = pixels.inside(column + along, row + down)
                here = ((row + down) * pixels.width + column + along)[shown]
                image[here[near[shown] >= pixels.depth[here]]] = _LINE
