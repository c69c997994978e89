"""The record of one frame: counts of phases, histograms that add up over frames, atoms for a picture."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .summary import FrameSummary, PhaseShare

CONFIDENCE_WIDTH = 0.02
"""Width of a bin of confidence."""
LOGIT_WIDTH = 0.25
"""Width of a bin of an order parameter."""
HINT = "hint: "
"""How notes begin that name a remedy."""
Bins = dict[int, int]
"""Number of a bin -> atoms in it; bin k holds k width <= value < (k + 1) width."""
Kind = tuple[int, str, tuple[float, float, float]]
"""Id, key and colour of a phase."""


@dataclass(frozen=True, kw_only=True)
class FrameRecord:
    """One classified frame without its atoms.

    Attributes
    ----------
    summary : FrameSummary
    confidence : dict of str to Bins
        Histogram of the confidence of each phase, by key.
    order_parameters : dict of str to Bins
        Histogram of each order parameter, by key.
    notes : tuple of str
        What the user should know.
    model : str
        Name of the model.
    denoised : str
        What denoising did, for the user; "" without.
    other : dict of str to int
        Reason -> atoms that are Other for it.
    """

    summary: FrameSummary
    confidence: dict[str, Bins]
    order_parameters: dict[str, Bins]
    notes: tuple[str, ...]
    model: str
    denoised: str
    other: dict[str, int]

    def to_json(self) -> str:
        """Return the record as text."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> FrameRecord:
        """Read what `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        summary = values.pop("summary")
        shares = tuple(PhaseShare(**share | {"color": tuple(share["color"])}) for share in summary.pop("shares"))
        return cls(
            summary=FrameSummary(**summary, shares=shares),
            confidence=_bins(values.pop("confidence")),
            order_parameters=_bins(values.pop("order_parameters")),
            notes=tuple(values.pop("notes")),
            **values,
        )


@dataclass(frozen=True, kw_only=True)
class FrameAtoms:
    """The classified atoms of one frame, for pictures.

    Attributes
    ----------
    positions : (n_atoms, 3) float32
    phase : (n_atoms,) int32
    cell : (3, 4) float64 or None
        As OVITO has it: vectors and origin in columns.
    kinds : tuple of (id, key, colour)
        Phases that occur, most frequent first.
    """

    positions: npt.NDArray[np.float32]
    phase: npt.NDArray[np.int32]
    cell: npt.NDArray[np.float64] | None
    kinds: tuple[Kind, ...]


def bin_values(values: npt.NDArray[np.floating], width: float) -> Bins:
    """Count values in bins of a width; NaN and infinities are left out."""
    numbers = np.floor(values[np.isfinite(values)].astype(np.float64) / width).astype(np.int64)
    found, counts = np.unique(numbers, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def bin_confidence(values: npt.NDArray[np.floating]) -> Bins:
    """Count confidences in bins; 1 belongs to the last."""
    return bin_values(np.minimum(values, np.nextafter(np.float32(1.0), np.float32(0.0))), CONFIDENCE_WIDTH)


def add_bins(total: dict[str, Counter[int]], more: Mapping[str, Bins]) -> None:
    """Add histograms, by key, to a running total."""
    for key, bins in more.items():
        total.setdefault(key, Counter()).update(bins)


def dense(bins: Mapping[int, int], width: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return the edges (n + 1,) and counts (n,) of a histogram, empty bins between the others included."""
    if not bins:
        return np.zeros(1), np.zeros(0, dtype=np.int64)
    low, high = min(bins), max(bins)
    counts = np.array([bins.get(number, 0) for number in range(low, high + 1)], dtype=np.int64)
    return np.arange(low, high + 2, dtype=np.float64) * width, counts


def _bins(values: Mapping[str, Mapping[str, int]]) -> dict[str, Bins]:
    return {key: {int(number): count for number, count in bins.items()} for key, bins in values.items()}
