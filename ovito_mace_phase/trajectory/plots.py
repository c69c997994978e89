"""Distributions over all frames: confidence of each phase, and order parameters, in the colours of the phases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .phase_plots import MOST
from .record import CONFIDENCE_WIDTH, SCORE_WIDTH, dense
from .result import TrajectoryResult
from .summary import over_frames

_GREY = (0.6, 0.6, 0.6)
_BINS = round(1.0 / CONFIDENCE_WIDTH)
_MOST_CURVES = 8


def plot_confidence(path: Path, result: TrajectoryResult, title: str) -> None:
    """Draw how sure the labels are: share of the atoms of all frames by confidence, one line per phase, logarithmic."""
    figure, axes = _axes(title)
    edges = CONFIDENCE_WIDTH * np.arange(_BINS + 1)
    shares = [share for share in over_frames(result.frames) if share.count]
    total = max(sum(share.count for share in shares), 1)
    curves = [(share.key, share.color, _filled(result.confidence.get(share.key, {}))) for share in shares[:MOST]]
    rest = [_filled(result.confidence.get(share.key, {})) for share in shares[MOST:]]
    if rest:
        curves.append(("further phases", (0.2, 0.2, 0.2), np.sum(rest, axis=0)))
    for key, color, counts in curves:
        pale = min(color) > 0.85  # Other is nearly white
        style = {"color": _GREY, "linestyle": "--"} if pale else {"color": color}
        axes.stairs(np.where(counts, 100 * counts / total, np.nan), edges, linewidth=1.4, label=key, **style)
    axes.set_xlim(0, 1)
    axes.set_yscale("log")
    axes.set_xlabel("confidence")
    axes.set_ylabel(f"atoms of all frames (% per {CONFIDENCE_WIDTH:g})")
    if shares:
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig(path, dpi=150, format="png")


def plot_order_parameters(path: Path, result: TrajectoryResult, title: str) -> None:
    """Draw the distribution of every order parameter over the atoms of all frames."""
    figure, axes = _axes(title)
    colors = {share.key: share.color for share in over_frames(result.frames)}
    shown = list(result.scores.items())[:_MOST_CURVES]
    for key, bins in shown:
        edges, counts = dense(bins, SCORE_WIDTH)
        if not len(counts):
            continue
        color = colors.get(key, _GREY)
        color = _GREY if min(color) > 0.85 else color
        density = counts / counts.sum() / SCORE_WIDTH
        axes.stairs(density, edges, fill=True, color=(*color, 0.25))
        axes.stairs(density, edges, color=color, linewidth=1.4, label=f"OP_{key}")
    axes.set_xlabel("order parameter (logit)")
    axes.set_ylabel("atoms of all frames (density)")
    if shown:
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    left_out = len(result.scores) - len(shown)
    if left_out > 0:
        axes.set_title(f"{title} ({left_out} more order parameters are not drawn)", fontsize=10)
    figure.savefig(path, dpi=150, format="png")


def _axes(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _filled(bins: Mapping[int, int]) -> npt.NDArray[np.float64]:
    """Return the counts of all bins of confidence."""
    counts = np.zeros(_BINS)
    for number, count in bins.items():
        counts[min(max(number, 0), _BINS - 1)] += count
    return counts
