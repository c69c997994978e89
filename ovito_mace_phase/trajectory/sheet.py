"""Pictures of frames put together: side by side or below each other, each with its caption, and one legend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D

from .picture_colors import Color

_DPI = 150
_CAPTION, _TITLE, _MARK, _LETTER = 0.4, 0.3, 0.45, 0.085  # inches: heights, then widths in the legend
_LEAST = 3.2  # width of a picture that its caption needs, in inches


def compose(
    path: Path, files: Sequence[Path], captions: Sequence[str], legend: Sequence[tuple[str, Color]], title: str
) -> None:
    """Write one picture of several of the same size.

    Parameters
    ----------
    path : Path
        PNG file to write.
    files, captions : sequences of equal length
        PNG files, and the text above each.
    legend : sequence of (key, colour)
    title : str
    """
    images = [imread(file) for file in files]
    height, width = (length / _DPI for length in images[0].shape[:2])
    columns, rows = (1, len(images)) if width > 1.6 * height else (len(images), 1)
    cell = max(width, _LEAST)
    side = _MARK + _LETTER * max((len(key) for key, _ in legend), default=0)
    size = (columns * cell + side, rows * (height + _CAPTION) + _TITLE)
    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    for number, (image, text) in enumerate(zip(images, captions, strict=True)):
        column, row = number % columns, number // columns
        left, bottom = column * cell + (cell - width) / 2, (rows - 1 - row) * (height + _CAPTION)
        axes = figure.add_axes((left / size[0], bottom / size[1], width / size[0], height / size[1]))
        axes.imshow(image, interpolation="none")
        axes.set_axis_off()
        axes.set_title(text, fontsize=7.5, pad=2)
    figure.suptitle(title, fontsize=9, x=columns * cell / 2 / size[0], y=1 - 0.08 / size[1], va="top")
    dots = [
        Line2D([], [], linestyle="", marker="o", markersize=6, color=color, markeredgecolor="0.25", label=key)
        for key, color in legend
    ]
    figure.legend(
        handles=dots,
        fontsize=8,
        loc="center left",
        bbox_to_anchor=(columns * cell / size[0], 0.5),
        frameon=False,
        handletextpad=0.2,
    )
    figure.savefig(path, dpi=_DPI, format="png")
