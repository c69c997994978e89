"""A flat picture of the atoms, drawn without a renderer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

MOST = 12
"""Phases named in the legend."""
_GREY = (0.6, 0.6, 0.6)


def plot_atoms(
    path: Path,
    positions: npt.NDArray[np.floating],
    phase: npt.NDArray[np.int32],
    kinds: Sequence[tuple[int, str, tuple[float, float, float]]],
    title: str,
) -> None:
    """Draw the atoms as dots in a tilted parallel projection, nearer ones on top, with a legend.

    Parameters
    ----------
    path : Path
    positions : (n_atoms, 3) float
    phase : (n_atoms,) int32
    kinds : sequence of (id, key, colour)
        Phases to name in the legend, in this order.
    title : str
    """
    figure = Figure(figsize=(7.0, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    right, up, towards = _view()
    order = np.argsort(positions @ towards, kind="stable")
    x, y = (positions @ right)[order], (positions @ up)[order]
    colors = np.full((len(phase), 3), _GREY)
    for number, _, color in kinds:
        colors[phase == number] = color
    size = (170.0 / np.cbrt(max(len(x), 20))) ** 2  # square points: neighbours in a compact box just overlap
    axes.scatter(x, y, s=size, c=colors[order], edgecolors="0.25", linewidths=0.25)
    for _, key, color in kinds[:MOST]:
        axes.scatter([], [], s=40, color=[color], edgecolors="0.25", linewidths=0.4, label=key)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(title, fontsize=9)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig(path, dpi=150, format="png")


def _view() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Right, up and towards-the-viewer unit vectors of the picture."""
    towards = np.array([-2.0, -4.0, 1.6]) / np.linalg.norm([2.0, 4.0, 1.6])
    right = np.cross([0.0, 0.0, 1.0], towards)
    right /= np.linalg.norm(right)
    return right, np.cross(towards, right), towards
