"""A stream of samples from a pool of crystals, each used several times.

    every round: all crystals of the pool once, in random order; one that gave all its samples is replaced by another

The law of a single sample is that of independent ones; samples of one crystal are a round apart on average and never
next to each other. At the start the crystals have 1, 2, .. uses before them in turn, so that in every round the same
number are replaced, and a short stream does not see its first crystals alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Drawn = TypeVar("Drawn")


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """How many crystals are in use at a time, and how many samples each gives."""

    crystals: int = 256
    uses: int = 16


def pooled(
    make: Callable[[np.random.Generator], Callable[[np.random.Generator], Drawn]],
    settings: PoolSettings,
    rng: np.random.Generator,
) -> Iterator[Drawn]:
    """Yield samples without end.

    Parameters
    ----------
    make : callable
        Returns what draws samples of one crystal.
    settings : PoolSettings
    rng : Generator
        Decides everything, so that the same generator gives the same samples.
    """
    n = settings.crystals
    left = np.arange(n) % settings.uses + 1
    crystals = [make(rng) for _ in range(n)]
    last = -1
    while True:
        order = rng.permutation(n)
        if order[0] == last and n > 1:
            order = np.roll(order, 1 + int(rng.integers(n - 1)))
        last = int(order[-1])
        for k in order:
            if not left[k]:
                crystals[k], left[k] = make(rng), settings.uses
            left[k] -= 1
            yield crystals[k](rng)
