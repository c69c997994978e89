"""Figures of evaluation and benchmark: curves in panels, a reliability diagram, speed.

Imports matplotlib: import it where a figure is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ovito_mace_phase.lab.calibration.accuracy import N_BINS

_COLUMNS = 4


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel: curves by name, each (x, y)."""

    title: str
    x_label: str
    y_label: str
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]


def draw_panels(path: Path, panels: Sequence[Panel]) -> None:
    """Draw panels of curves, each with its legend."""
    n_columns = min(_COLUMNS, max(len(panels), 1))
    n_rows = -(-max(len(panels), 1) // n_columns)
    figure = _figure(0.6 + 3.3 * n_columns, 0.4 + 2.9 * n_rows)
    grid = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(grid, panels, strict=False):
        for name, (x, y) in panel.curves.items():
            axes.plot(x, y, label=name, marker="o", markersize=2.5, linewidth=1.2)
        axes.set_title(panel.title, fontsize=10)
        axes.set_xlabel(panel.x_label, fontsize=8)
        axes.set_ylabel(panel.y_label, fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=150, format="png")


def draw_reliability(path: Path, confidence: npt.NDArray[np.float32], right: npt.NDArray[np.bool_], title: str) -> None:
    """Draw share right against mean confidence in bins, and how many atoms each bin has."""
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    count = np.bincount(bins, minlength=N_BINS)
    filled = count > 0
    sure = np.bincount(bins, weights=confidence, minlength=N_BINS)[filled] / count[filled]
    hits = np.bincount(bins, weights=right, minlength=N_BINS)[filled] / count[filled]
    figure = _figure(4.6, 5.2)
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    upper.plot([0, 1], [0, 1], color="0.7", linestyle="--", linewidth=1)
    upper.plot(sure, hits, marker="o", markersize=4)
    upper.set_ylabel("share right")
    upper.set_title(title, fontsize=9)
    lower.bar((np.arange(N_BINS) + 0.5) / N_BINS, count, width=0.9 / N_BINS)
    lower.set_yscale("symlog", linthresh=1)
    lower.set_ylabel("atoms")
    lower.set_xlabel("confidence")
    for axes in (upper, lower):
        axes.set_xlim(0, 1)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150, format="png")


_SPEED_COLORS = {
    "engine": "#1f77b4",
    "score": "#17becf",
    "training": "#9467bd",
    "mace": "#d62728",
    "mace-forces": "#ff9896",
    "ptm": "#2ca02c",
    "cna": "#98df8a",
}
_SPEED_NAMES = {
    "engine": "this package, classify",
    "score": "this package, score",
    "training": "this package, training step",
    "mace": "mace-torch, forward",
    "mace-forces": "mace-torch, energy + forces",
    "ptm": "OVITO PTM",
    "cna": "OVITO adaptive CNA",
}


def plot_speed(path: Path, rows: Sequence[Mapping[str, Any]], subtitle: str) -> None:
    """Draw atoms per second against atoms, one panel per frame; `rows` as `bench` writes them."""
    frames = list(dict.fromkeys(row["frame"] for row in rows))
    figure = _figure(1.0 + 3.4 * len(frames), 4.4)
    panels = figure.subplots(1, len(frames), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, frames, strict=True):
        for kind in dict.fromkeys(row["backend"] for row in rows):
            mine = [row for row in rows if row["frame"] == name and row["backend"] == kind]
            sizes = sorted({row["n_atoms"] for row in mine})
            axes.plot(
                sizes,
                [max(row["atoms_per_second"] for row in mine if row["n_atoms"] == size) for size in sizes],
                "o-",
                color=_SPEED_COLORS.get(kind),
                label=_SPEED_NAMES.get(kind, kind),
                markersize=4,
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("atoms")
        axes.grid(color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("atoms per second")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    figure.suptitle(subtitle, fontsize=9)
    figure.savefig(path, dpi=150, format="png")


def _figure(width: float, height: float) -> Figure:
    """Return an empty figure that needs no screen, size in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
