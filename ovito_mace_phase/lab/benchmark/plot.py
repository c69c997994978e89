"""Picture of the speeds that `bench` measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

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
    figure = Figure(figsize=(1.0 + 3.4 * len(frames), 4.4), layout="constrained")
    FigureCanvasAgg(figure)
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
