"""The animation `movie.gif`: evenly spaced frames of the trajectory, from one viewpoint, with one legend."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ovito_mace_phase.trajectory import picture

from .flat_picture import plot_atoms
from .record import FrameAtoms, Kind

_SECONDS_PER_FRAME = 20.0  # allowed for rendering, beside `RENDER_SECONDS`
_SHOWN_MS = 150
_LAST_MS = 1500
_WIDTH = 720
_SAMPLES = 12  # pictures that the palette is taken from


def draw_movie(
    path: Path, atoms: Callable[[int], FrameAtoms], frames: Sequence[int], most: int, folder: Path, comment: str = ""
) -> tuple[int, str]:
    """Make an animation, rendered if possible.

    Parameters
    ----------
    path : Path
        GIF file to write.
    atoms : callable
        From the number of a frame to its atoms.
    frames : sequence of int
    most : int
        Frames to show at most.
    folder : Path
        For unfinished files.
    comment : str
        Text that the file carries.

    Returns
    -------
    shown : int
        Number of frames.
    reason : str
        Why it could not be rendered and was drawn flat, else "".
    """
    chosen = spread(frames, most)
    kinds = _legend(atoms, chosen)
    with tempfile.TemporaryDirectory(prefix=".movie", dir=folder) as name:
        scratch = Path(name)
        for place, frame in enumerate(chosen):
            one = atoms(frame)
            picture.store_atoms(scratch / f"{place}.npz", one.positions, one.phase, one.cell, kinds)
        reason = picture.render_folder(scratch, picture.RENDER_SECONDS + _SECONDS_PER_FRAME * len(chosen))
        pictures = [scratch / f"{place}.png" for place in range(len(chosen))]
        if reason:
            for file, frame in zip(pictures, chosen, strict=True):
                one = atoms(frame)
                plot_atoms(file, one.positions, one.phase, kinds, f"frame {frame} (flat projection)")
        _join(path, pictures, comment)
    return len(chosen), reason


def spread(frames: Sequence[int], most: int) -> list[int]:
    """Return at most `most` of the frames, evenly spread, the first and the last among them."""
    places = np.unique(np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int))
    return [frames[place] for place in places]


def _legend(atoms: Callable[[int], FrameAtoms], frames: Sequence[int]) -> tuple[Kind, ...]:
    """Phases of all frames, most frequent first."""
    counts: Counter[Kind] = Counter()
    for frame in frames:
        one = atoms(frame)
        for kind in one.kinds:
            counts[kind] += int(np.count_nonzero(one.phase == kind[0]))
    return tuple(kind for kind, _ in counts.most_common())


def _join(path: Path, pictures: Sequence[Path], comment: str) -> None:
    """Write pictures as a GIF, one palette for all of them so that no colour flickers."""
    images = []
    for file in pictures:
        with Image.open(file) as full:
            small = full.convert("RGB").resize((_WIDTH, round(full.height * _WIDTH / full.width)))
        images.append(small)
    size = (_WIDTH // 3, max(1, images[0].height // 3))
    some = images[:: max(1, len(images) // _SAMPLES)]
    sheet = Image.new("RGB", (size[0], size[1] * len(some)))
    for place, image in enumerate(some):
        sheet.paste(image.resize(size), (0, place * size[1]))
    palette = sheet.quantize(255)
    flat = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    times = [_SHOWN_MS] * (len(flat) - 1) + [_LAST_MS]
    flat[0].save(
        path, format="GIF", save_all=True, append_images=flat[1:], duration=times, loop=0, comment=comment.encode()
    )
