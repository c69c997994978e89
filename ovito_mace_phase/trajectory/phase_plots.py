"""Plots of phase fractions in their colours: bars for one frame, lines over many; and a flat view of the atoms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .summary import FrameSummary, PhaseShare, over_frames

MOST = 12  # phases drawn; the rest are added up
_REST = "further phases"
_GREY = (0.6, 0.6, 0.6)


def plot_phases(path: Path, frames: Sequence[FrameSummary], title: str) -> None:
    """Draw the phase fractions to a picture file: bars for one frame, lines for several."""
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shares = [share for share in over_frames(frames) if share.count]
    if len(frames) == 1:
        _bars(axes, shares, frames[0].n_atoms)
    else:
        _lines(axes, shares, frames)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150, format="png")


def _bars(axes: Axes, shares: list[PhaseShare], n_atoms: int) -> None:
    shown, rest = shares[:MOST], sum(share.count for share in shares[MOST:])
    names = [share.key for share in shown] + ([_REST] if rest else [])
    percent = [100 * count / max(n_atoms, 1) for count in [share.count for share in shown] + ([rest] if rest else [])]
    colors = [share.color for share in shown] + ([_GREY] if rest else [])
    bars = axes.barh(names, percent, color=colors, edgecolor="0.3", linewidth=0.6)
    axes.bar_label(
        bars, labels=[f" {value:.1f} %" if value >= 0.05 else f" {value:.2g} %" for value in percent], fontsize=8
    )
    axes.set_ylim(max(len(names), 4) - 0.5, -0.5)
    axes.set_xlim(0, 112)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel(f"fraction of {n_atoms} atoms (%)")
    if not names:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no atoms", transform=axes.transAxes, ha="center")


def _lines(axes: Axes, shares: list[PhaseShare], frames: Sequence[FrameSummary]) -> None:
    steps = [summary.timestep for summary in frames if summary.timestep is not None]
    by_step = len(set(steps)) == len(frames)
    x = steps if by_step else [summary.frame for summary in frames]
    for share in shares[:MOST]:
        y = [100 * summary.fraction(share.key) for summary in frames]
        pale = min(share.color) > 0.85  # Other is nearly white
        axes.plot(
            x,
            y,
            marker="o" if len(x) <= 40 else "",
            markersize=3.5,
            label=share.key,
            color=_GREY if pale else share.color,
            linestyle="--" if pale else "-",
        )
    rest = {share.key for share in shares[MOST:]}
    if rest:
        axes.plot(
            x,
            [100 * sum(summary.fraction(key) for key in rest) for summary in frames],
            color="0.3",
            linestyle=":",
            label=_REST,
        )
    axes.set_xlabel("timestep" if by_step else "frame")
    axes.set_ylabel("fraction of atoms (%)")
    axes.set_ylim(-2, 102)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


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
