"""The place that pictures are seen from: one parallel projection for all frames of a picture or an animation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .record import FrameAtoms

DIRECTION = (2.0, 4.0, -1.6)
"""That the viewer looks in; z is up."""
_AREA = 720 * 720  # pixels
_LONGEST, _SHORTEST = 1080, 240
_MARGIN = 0.02
_CORNERS = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
Float = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class View:
    """What a picture shows.

    Attributes
    ----------
    centre : tuple of 3 float
        Point in the middle of the picture.
    half_height : float
        From there to the upper edge, in units of length.
    size : (int, int)
        Width and height in pixels.
    radius : float
        Of the atoms.
    """

    centre: tuple[float, float, float]
    half_height: float
    size: tuple[int, int]
    radius: float


def axes() -> Float:
    """Return (3, 3): right, up and towards the viewer, unit vectors in rows."""
    towards = -np.array(DIRECTION) / np.linalg.norm(DIRECTION)
    right = np.cross([0.0, 0.0, 1.0], towards)
    right /= np.linalg.norm(right)
    return np.array([right, np.cross(towards, right), towards])


def corners(cell: Float) -> Float:
    """Return the corners (8, 3) of a cell (3, 4) as OVITO has it; the bits of a number are the vectors added."""
    return _CORNERS @ np.asarray(cell, dtype=np.float64).T


def view_of(frames: Iterable[FrameAtoms]) -> View:
    """Return a view that shows all atoms and cells of all frames; the radius is that of the first frame with atoms."""
    low, high, radius = np.full(3, np.inf), np.full(3, -np.inf), 0.0
    for frame in frames:
        radius = radius or (_radius(frame.positions) if len(frame.positions) else 0.0)
        for points in ([frame.positions] if len(frame.positions) else []) + (
            [corners(frame.cell)] if frame.cell is not None else []
        ):
            seen = points @ axes().T
            low, high = np.minimum(low, seen.min(axis=0)), np.maximum(high, seen.max(axis=0))
    radius = radius or 1.0
    if not np.isfinite(low).all():
        low, high = np.zeros(3), np.zeros(3)
    width, height = (1 + 2 * _MARGIN) * ((high - low)[:2] + 2 * radius)
    scale = min(np.sqrt(_AREA / (width * height)), _LONGEST / max(width, height))
    size = tuple(int(max(_SHORTEST, round(scale * length))) // 2 * 2 for length in (width, height))
    half = max(height, width * size[1] / size[0]) / 2
    x, y, z = (low + high) / 2 @ axes()
    return View(centre=(float(x), float(y), float(z)), half_height=float(half), size=(size[0], size[1]), radius=radius)


def _radius(positions: npt.NDArray[np.floating]) -> float:
    """Half of a typical nearest distance, so that neighbours nearly touch in whatever unit the file has."""
    from ovito.data import DataCollection, NearestNeighborFinder

    if len(positions) < 2:
        return 1.0
    data = DataCollection()
    data.create_particles(count=len(positions)).create_property("Position", data=positions)
    some = [int(index) for index in np.linspace(0, len(positions) - 1, min(len(positions), 500))]
    _, vectors = NearestNeighborFinder(1, data).find_all(some)
    return 0.5 * float(np.median(np.linalg.norm(vectors[:, 0], axis=1))) or 1.0
