"""The animation `movie.gif`: evenly spaced frames, from one viewpoint, with number and time, and one legend."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from . import picture
from .picture_colors import Color, legend_of
from .pictured_frames import caption
from .record import FrameAtoms
from .sheet import compose
from .summary import FrameSummary

Frame = TypeVar("Frame")
_SHOWN_MS = 150
_LAST_MS = 1500
_LONGEST = 800  # pixels
_SAMPLES = 12  # pictures that the palette is taken from


def draw_movie(
    path: Path,
    atoms: Callable[[int], FrameAtoms],
    frames: Sequence[FrameSummary],
    colors: Mapping[str, Color],
    folder: Path,
    *,
    title: str,
    comment: str = "",
) -> str:
    """Make an animation, rendered if possible.

    Parameters
    ----------
    path : Path
        GIF file to write.
    atoms : callable
        From the number of a frame to its atoms.
    frames : sequence of FrameSummary
        To show.
    colors : mapping of str to (red, green, blue)
        Phases by key, in the order of the legend.
    folder : Path
        For unfinished files.
    title : str
    comment : str
        Text that the file carries.

    Returns
    -------
    str
        Why it could not be rendered and was drawn flat, else "".
    """
    with tempfile.TemporaryDirectory(prefix=".movie", dir=folder) as name:
        scratch = Path(name)
        reason = picture.draw_frames(scratch, lambda place: atoms(frames[place].frame), len(frames), colors)
        legend = legend_of(frames, colors)
        title = f"{title} ({picture.FLAT})" if reason else title
        pictures = [scratch / f"{place}.png" for place in range(len(frames))]
        for file, summary in zip(pictures, frames, strict=True):
            compose(file, [file], [caption(summary)], legend, title)
        _join(path, pictures, [color for _, color in legend], comment)
    return reason


def spread(frames: Sequence[Frame], most: int) -> list[Frame]:
    """Return at most `most` of the frames, evenly spread, the first and the last among them."""
    places = np.unique(np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int))
    return [frames[place] for place in places]


def _join(path: Path, pictures: Sequence[Path], colors: Sequence[Color], comment: str) -> None:
    """Write pictures as a GIF, with one palette so that no colour flickers; black, white and `colors` are in it."""
    images = []
    for file in pictures:
        with Image.open(file) as full:
            scale = min(1.0, _LONGEST / max(full.size))
            images.append(full.convert("RGB").resize((round(full.width * scale), round(full.height * scale))))
    size = tuple(max(1, length // 3) for length in images[0].size)
    some = images[:: max(1, len(images) // _SAMPLES)]
    sheet = Image.new("RGB", (size[0], size[1] * len(some)))
    for place, image in enumerate(some):
        sheet.paste(image.resize((size[0], size[1])), (0, place * size[1]))
    exact = [0, 0, 0, 255, 255, 255, *(round(255 * part) for color in colors for part in color)]
    found = sheet.quantize(256 - len(exact) // 3).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette((exact + found)[:768])
    flat = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    times = [_SHOWN_MS] * (len(flat) - 1) + [_LAST_MS]
    flat[0].save(
        path, format="GIF", save_all=True, append_images=flat[1:], duration=times, loop=0, comment=comment.encode()
    )
