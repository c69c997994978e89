"""Plots of a trajectory in the colours of its pictures: fractions, confidence, order parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .picture_colors import MOST, REST, shares_told_apart
from .record import CONFIDENCE_WIDTH, LOGIT_WIDTH, dense
from .summary import FrameSummary, PhaseShare

_GREY = (0.6, 0.6, 0.6)
_BINS = round(1.0 / CONFIDENCE_WIDTH)
_MOST_CURVES = 8


def plot_phases(path: Path, frames: Sequence[FrameSummary], title: str) -> None:
    """Draw the phase fractions to a picture file: bars for one frame, lines for several."""
    figure, axes = _axes(title)
    shares = shares_told_apart(frames)
    if len(frames) == 1:
        _bars(axes, shares, frames[0].n_atoms)
    else:
        _lines(axes, shares, frames)
    figure.savefig(path, dpi=150, format="png")


def _bars(axes: Axes, shares: list[PhaseShare], n_atoms: int) -> None:
    shown, rest = shares[:MOST], sum(share.count for share in shares[MOST:])
    names = [share.key for share in shown] + ([REST] if rest else [])
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
        axes.plot(
            x,
            y,
            marker="o" if len(x) <= 40 else "",
            markersize=3.5,
            label=share.key,
            **_style(share.color),
        )
    rest = {share.key for share in shares[MOST:]}
    if rest:
        axes.plot(
            x,
            [100 * sum(summary.fraction(key) for key in rest) for summary in frames],
            color="0.3",
            linestyle=":",
            label=REST,
        )
    axes.set_xlabel("timestep" if by_step else "frame")
    axes.set_ylabel("fraction of atoms (%)")
    axes.set_ylim(-2, 102)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def plot_confidence(
    path: Path, frames: Sequence[FrameSummary], confidence: Mapping[str, Mapping[int, int]], title: str
) -> None:
    """Draw the distribution of the confidence: share of the atoms of all frames, one line per phase, logarithmic."""
    figure, axes = _axes(title)
    edges = CONFIDENCE_WIDTH * np.arange(_BINS + 1)
    shares = shares_told_apart(frames)
    total = max(sum(share.count for share in shares), 1)
    curves = [(share.key, share.color, _filled(confidence.get(share.key, {}))) for share in shares[:MOST]]
    rest = [_filled(confidence.get(share.key, {})) for share in shares[MOST:]]
    if rest:
        curves.append((REST, (0.2, 0.2, 0.2), np.sum(rest, axis=0)))
    for key, color, counts in curves:
        axes.stairs(np.where(counts, 100 * counts / total, np.nan), edges, linewidth=1.4, label=key, **_style(color))
    axes.set_xlim(0, 1)
    axes.set_yscale("log")
    axes.set_xlabel("confidence")
    axes.set_ylabel(f"atoms of all frames (% per {CONFIDENCE_WIDTH:g})")
    if shares:
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig(path, dpi=150, format="png")


def plot_order_parameters(
    path: Path, frames: Sequence[FrameSummary], order_parameters: Mapping[str, Mapping[int, int]], title: str
) -> None:
    """Draw the distribution of every order parameter over the atoms of all frames."""
    figure, axes = _axes(title)
    colors = {share.key: share.color for share in shares_told_apart(frames)}
    shown = list(order_parameters.items())[:_MOST_CURVES]
    for key, bins in shown:
        edges, counts = dense(bins, LOGIT_WIDTH)
        if not len(counts):
            continue
        color = _style(colors.get(key, _GREY))["color"]
        density = counts / counts.sum() / LOGIT_WIDTH
        axes.stairs(density, edges, fill=True, color=(*color, 0.25))
        axes.stairs(density, edges, color=color, linewidth=1.4, label=f"OP_{key}")
    axes.set_xlabel("order parameter (logit)")
    axes.set_ylabel("atoms of all frames (density)")
    if shown:
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    left_out = len(order_parameters) - len(shown)
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


def _style(color: tuple[float, float, float]) -> dict[str, Any]:
    """Return colour and line of a phase; Other, which is nearly white, is dashed grey."""
    return {"color": _GREY, "linestyle": "--"} if min(color) > 0.85 else {"color": color, "linestyle": "-"}
