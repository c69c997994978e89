"""Colours of the phases in pictures, where they can be told apart: the table's, with substitutes for those too close.

One choice for all pictures of a trajectory. Phases are taken in turn, those with fixed colours (PTM's and Other) first,
then the most frequent. A phase keeps the colour of the table if it is at least LEAST (CIEDE2000) from all colours taken
before, from white and from black. Otherwise it gets, out of a grid in OKLCH, the colour nearest to its own that is; if
there is none, the one whose smallest distance is largest. Only the first MOST phases get a colour and a line of the
legend, the rest are grey together. Files and OVITO's sessions keep the colours of the table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.phases.colors import oklch_color
from ovito_mace_phase.phases.table import N_OF_PTM

from .color_difference import Float, difference, lab_of
from .summary import FrameSummary, PhaseShare, over_frames

LEAST = 15.0
"""CIEDE2000 between two colours of a picture, and to its background, white or black."""
MOST = 12
"""Phases with a colour of their own."""
REST = "further phases"
REST_COLOR = (0.55, 0.55, 0.55)
_BACKGROUNDS = ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
Color = tuple[float, float, float]


def shares_told_apart(frames: Sequence[FrameSummary]) -> list[PhaseShare]:
    """Return `over_frames`, phases that occur only, in the colours of the pictures."""
    shares = [share for share in over_frames(frames) if share.count]
    colors = told_apart({share.key: share.color for share in shares})
    return [dataclasses.replace(share, color=colors[share.key]) for share in shares]


def substitutes_text(frames: Sequence[FrameSummary]) -> str:
    """Return the note for the user on phases whose colour is not that of files; "" where there is none."""
    own = {share.key: share.color for share in over_frames(frames)}
    changed = [share.key for share in shares_told_apart(frames)[:MOST] if share.color != own[share.key]]
    if not changed:
        return ""
    return f"pictures show {', '.join(changed)} in other colours than OVITO, to tell them from the other phases"


def legend_of(frames: Sequence[FrameSummary], colors: Mapping[str, Color]) -> list[tuple[str, Color]]:
    """Return name and colour of the phases that frames have, in the order of the colours, those without one last."""
    there = {share.key for summary in frames for share in summary.shares if share.count}
    own = list(colors.items())[:MOST]
    rest = there.difference(key for key, _ in own)
    return [entry for entry in own if entry[0] in there] + ([(REST, REST_COLOR)] if rest else [])


def told_apart(colors: Mapping[str, Color]) -> dict[str, Color]:
    """Return the colours of phases in pictures.

    Parameters
    ----------
    colors : mapping of str to (red, green, blue)
        Key of each phase -> its colour of the table, most frequent first.
    """
    shown = list(colors)[:MOST]
    fixed = {phase_table().by_id(number).key for number in range(N_OF_PTM)}  # users of OVITO know these by heart
    found = {key: colors[key] for key in shown if key in fixed}
    taken = [*found.values(), *_BACKGROUNDS, *([REST_COLOR] if len(colors) > len(shown) else [])]
    for key in shown:
        if key not in found:
            found[key] = _free_color(colors[key], taken)
            taken.append(found[key])
    return {key: found.get(key, REST_COLOR) for key in colors}


def _free_color(own: Color, taken: Sequence[Color]) -> Color:
    """Return the own colour, or the nearest to it that is far enough from those taken."""
    others = lab_of(taken)
    if difference(lab_of(own), others).min() >= LEAST:
        return own
    grid, places = _grid()
    nearest = difference(places[:, None], others).min(axis=1)
    free = np.flatnonzero(nearest >= LEAST)
    if len(free):
        return grid[free[np.argmin(difference(places[free], lab_of(own)))]]
    return grid[int(np.argmax(nearest))]


@lru_cache(maxsize=1)
def _grid() -> tuple[list[Color], Float]:
    """Return the colours that substitutes are taken from, and their CIELAB coordinates (n, 3)."""
    colors = {
        oklch_color(lightness, chroma, hue)
        for lightness in np.linspace(0.35, 0.90, 12)
        for chroma in (0.04, 0.09, 0.14, 0.19, 0.24)
        for hue in np.radians(np.arange(0.0, 360.0, 10.0))
    }
    grid = sorted(colors)
    return grid, lab_of(grid)
