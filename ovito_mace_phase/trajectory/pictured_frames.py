"""Which frames of a trajectory are pictured: the one whose phases are mixed most, with the first and the last.

    H = - sum f_k ln f_k      over the fractions f_k of the phases of a frame, Other among them

The frame of largest H tells most; the later one of equals. The first and the last are shown beside it if the phases of
more than DIFFER of the atoms differ from it: sum |f_k - g_k| / 2 > DIFFER.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .summary import FrameSummary

DIFFER = 0.05
"""Fraction of the atoms."""
_NAMED = 3  # phases in the caption of a frame


def mixing(summary: FrameSummary) -> float:
    """Return the entropy H of the fractions of a frame; 0 for one phase, or no atoms."""
    parts = [share.count / summary.n_atoms for share in summary.shares if share.count]
    return max(0.0, -sum(part * math.log(part) for part in parts))


def difference(first: FrameSummary, second: FrameSummary) -> float:
    """Return the fraction of the atoms by which the phases of two frames differ, 0 to 1."""
    keys = {share.key for summary in (first, second) for share in summary.shares}
    return sum(abs(first.fraction(key) - second.fraction(key)) for key in keys) / 2


def pictured(frames: Sequence[FrameSummary]) -> list[tuple[FrameSummary, str]]:
    """Return the frames to show, in the order given, and what each is: "first", "most mixed", "last" or "".

    Frames without atoms are left out; there is none where no frame has any. Where no frame mixes phases, the last is
    shown alone, or with the first.
    """
    some = [summary for summary in frames if summary.n_atoms]
    if not some:
        return []
    place = max(range(len(some)), key=lambda number: (mixing(some[number]), number))
    best = some[place]
    before = [(some[0], "first")] if place > 0 and difference(some[0], best) > DIFFER else []
    after = [(some[-1], "last")] if place < len(some) - 1 and difference(some[-1], best) > DIFFER else []
    role = "most mixed" if mixing(best) else "last"
    return [*before, (best, role if len(some) > 1 else ""), *after]


def caption(summary: FrameSummary, role: str = "") -> str:
    """Return number, step and time of a frame, and in a second line its most frequent phases."""
    parts = [f"frame {summary.frame}" + (f" ({role})" if role else "")]
    parts += [f"timestep {summary.timestep}"] if summary.timestep is not None else []
    parts += [f"time {summary.time:g}"] if summary.time is not None else []
    shares = [share for share in summary.shares if share.count]
    phases = [f"{share.key} {100 * share.count / summary.n_atoms:.1f} %" for share in shares[:_NAMED]]
    more = [f"{len(shares) - _NAMED} more"] if len(shares) > _NAMED else []
    return ", ".join(parts) + "\n" + ", ".join([*phases, *more])


def explanation(frames: Sequence[FrameSummary], shown: Sequence[tuple[FrameSummary, str]]) -> str:
    """Return the sentence that says what a picture shows, and why."""
    roles = {role: summary for summary, role in shown}
    if "most mixed" not in roles:
        return f"Atoms of frame {shown[0][0].frame}"
    best = roles["most mixed"]
    text = (
        f"Atoms of frame {best.frame}, in which the phases are mixed most: the entropy of their fractions, "
        f"{mixing(best):.2f}, is the largest of the {len(frames)} frames"
    )
    beside = [f"the {role} frame ({roles[role].frame})" for role in ("first", "last") if role in roles]
    return f"{text}. Beside it {' and '.join(beside)}" if beside else text
