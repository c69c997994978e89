"""Rows of the element tables: row e of `embedding`, `skip` and `product` belongs to atomic number `elements[e]`.

The table of MACE-MP-0 has gaps (Z = 84-88 are absent, 89-94 present): row numbers are not `Z - 1`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ovito_mace_phase.runtime.errors import InputError

from .model_file import NetworkConfig


def element_rows(numbers: Sequence[int] | np.ndarray, elements: Sequence[int]) -> np.ndarray:
    """Return the row of each atomic number, (n,) int64; raises InputError for elements without a row."""
    numbers = np.asarray(numbers, dtype=np.int64)
    table = np.asarray(elements, dtype=np.int64)
    order = np.argsort(table)
    place = np.minimum(np.searchsorted(table[order], numbers), len(table) - 1)
    rows = order[place]
    absent = np.unique(numbers[table[rows] != numbers])
    if absent.size:
        raise InputError(
            f"no weights for atomic number(s) {', '.join(map(str, absent))}: "
            f"the model knows {len(table)} elements, Z = {_ranges(table)}"
        )
    return rows


def select_elements(
    tensors: Mapping[str, np.ndarray], config: NetworkConfig, numbers: Sequence[int]
) -> tuple[dict[str, np.ndarray], NetworkConfig]:
    """Keep the rows of the elements `numbers`, in that order; repeated numbers give repeated rows."""
    rows = element_rows(numbers, config.elements)
    selected = {name: array[rows] if _is_per_element(name) else array for name, array in tensors.items()}
    return selected, replace(config, elements=tuple(int(z) for z in numbers))


def _is_per_element(name: str) -> bool:
    return name == "embedding" or (name.startswith("layers.") and name.split(".")[2] in {"skip", "product"})


def _ranges(numbers: np.ndarray) -> str:
    """Write 1, 2, 3, 7 as `1-3, 7`."""
    runs = np.split(np.sort(numbers), np.flatnonzero(np.diff(np.sort(numbers)) != 1) + 1)
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
