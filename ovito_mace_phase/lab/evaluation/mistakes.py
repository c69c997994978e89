"""What the labels of many atoms are worth, default labels beside those of the network alone.

right            label = truth                     (any of the keys that count as right)
Other            label = Other, though a phase is right
wrong            a phase, though another or none is right
sure and wrong   wrong with a confidence of at least SURE
ECE              see `lab.calibration.accuracy`; over all atoms, which are correlated: an indication

A method that gives no confidence (NaN) has neither of the last two.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.lab.calibration.accuracy import expected_calibration_error

from .labels import DEFAULT, NETWORK, Answer, Mask
from .report import Table

SURE = 0.9
Numbers = dict[str, float | int]


class Tally:
    """Atoms by row of a table and by kind of label; every atom counts once."""

    def __init__(self) -> None:
        self._atoms: dict[str, dict[str, list[tuple[Answer, Mask]]]] = defaultdict(lambda: defaultdict(list))

    def add(
        self, row: str, answers: Mapping[str, Answer], right: str | Sequence[str], inside: Mask | None = None
    ) -> None:
        """Count the atoms `inside` of a frame, (n_atoms,) bool, in a row; `right`: the keys that count as right."""
        for column, answer in answers.items():
            here = answer if inside is None else answer.of(inside)
            self._atoms[row][column].append((here, np.isin(here.keys, right)))

    def pooled(self, column: str) -> tuple[npt.NDArray[np.float32], Mask]:
        """Return the confidence of all atoms of all rows, and whether they are right."""
        found = [one for row in self._atoms.values() for one in row[column]]
        return np.concatenate([answer.confidence for answer, _ in found]), np.concatenate([hit for _, hit in found])

    def numbers(self) -> dict[str, dict[str, Numbers]]:
        """Return what the head of this module lists by row and kind of label."""
        return {row: {column: _numbers(found) for column, found in kinds.items()} for row, kinds in self._atoms.items()}

    def table(self, title: str = "Right, Other and wrong", also: Sequence[str] = ()) -> Table:
        """Return the numbers of default labels and of the network alone, before and after denoising, and of others."""
        shown = [prefix + name for prefix in ("", "denoised, ") for name in (DEFAULT, NETWORK)] + list(also)
        rows = [
            (row, column, here["atoms"], *(here[name] for name in _SHARES), _number(here["ece"]))
            for row, kinds in self.numbers().items()
            for column in shown
            if (here := kinds.get(column))
        ]
        note = f"`{NETWORK}`: the network alone. Sure: confidence of at least {SURE}. Every atom counts once."
        header = ("frames", "labels", "atoms", *_SHARES, "ECE")
        return Table(title=title, header=header, rows=rows, note=note)


_SHARES = ("right", "Other", "wrong", "sure and wrong")


def _numbers(found: list[tuple[Answer, Mask]]) -> Numbers:
    keys = np.concatenate([answer.keys for answer, _ in found])
    confidence = np.concatenate([answer.confidence for answer, _ in found])
    right = np.concatenate([hit for _, hit in found])
    other = ~right & (keys == "OTHER")
    wrong = ~right & ~other
    given = not np.isnan(confidence).any()
    shares = [float(mask.mean()) if len(mask) else float("nan") for mask in (right, other, wrong)]
    sure = float((wrong & (confidence >= SURE)).mean()) if len(keys) and given else float("nan")
    return {"atoms": len(keys), **dict(zip(_SHARES, (*shares, sure), strict=True))} | {
        "ece": expected_calibration_error(confidence, right) if given else float("nan")
    }


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"
