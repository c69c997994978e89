"""A small file of labelled structures, in the format that training reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ovito_mace_phase.phases import Phase


def write_labelled(
    path: Path, phases: Sequence[Phase], rng: np.random.Generator, n_each: int = 20, unlisted: Sequence[str] = ()
) -> Path:
    """Write every reference cell with `n_each` random decorations; keys in `unlisted` get labels of no phase."""
    rows: dict[str, list] = {name: [] for name in ("ids", "label", "d", "cell", "natoms", "Z", "frac")}
    for k in range(n_each):
        for phase in phases:
            reference = phase.reference
            lengths = np.linalg.norm(reference.cell, axis=1)
            unit = reference.cell / lengths[:, None]
            angles = [np.degrees(np.arccos(unit[i] @ unit[j])) for i, j in ((1, 2), (0, 2), (0, 1))]
            rows["ids"].append(f"x-{k}-{phase.key}")
            rows["label"].append(f"NONE_{phase.key}_{k}" if phase.key in unlisted else phase.aflow)
            rows["d"].append(0.01)
            rows["cell"].append([*lengths, *angles])
            rows["natoms"].append(len(reference.species))
            rows["Z"].extend(rng.permutation(80)[:5][reference.species] + 1)
            rows["frac"].extend(reference.fractional)
    np.savez(path, **{name: np.array(values) for name, values in rows.items()})
    return path
