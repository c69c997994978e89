"""Training rows from molecular dynamics of crystals of known phase: real phonons, anharmonicity, thermal expansion.

Each snapshot (`sample_dumps/make_hot.py --training`) is used several times, with fresh strain, jitter and carriers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ovito_mace_phase.engine.evaluator import Evaluator
from ovito_mace_phase.errors import InputError
from ovito_mace_phase.frame import Frame
from ovito_mace_phase.phases import Phase

from .archives import frame_of, read_arrays
from .sampler import SampleLaw, to_network_units
from .shards import Shard, rows_of

KEEP = 160


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A frame of molecular dynamics and its phase; None: no crystal."""

    name: str
    frame: Frame
    phase: str | None


def read_snapshots(folder: Path) -> list[Snapshot]:
    """Read npz snapshots (positions, species, cell, pbc, phase); one without `phase`, or with OTHER, is no crystal."""
    out = []
    for path in sorted(folder.glob("*.npz")):
        arrays = read_arrays(path)
        frame, phase = frame_of(arrays, path), str(arrays.get("phase", "OTHER"))
        out.append(Snapshot(name=path.stem, frame=frame, phase=None if phase == "OTHER" else phase))
    if not out:
        raise InputError(f"no snapshots (*.npz) in {folder}; sample_dumps/make_hot.py and make_melts.py make them")
    return out


def dynamics_shard(
    network: Evaluator,
    phases: Sequence[Phase],
    snapshots: Sequence[Snapshot],
    law: SampleLaw,
    seed: int,
    number: int,
    progress: Callable[[float], None] | None = None,
) -> Shard:
    """Return rows of all snapshots, each drawn once."""
    rng = np.random.default_rng([seed, number])
    column = {phase.key: k for k, phase in enumerate(phases)}
    parts = []
    for k, snapshot in enumerate(snapshots):
        if snapshot.phase is not None and snapshot.phase not in column:
            raise InputError(f"the snapshot {snapshot.name} has the phase {snapshot.phase!r}, which the table lacks")
        strain = rng.uniform(-1.0, 1.0, (3, 3)) * law.strain * rng.uniform()
        stretch = np.eye(3) + 0.5 * (strain + strain.T)
        frame = dataclasses.replace(
            snapshot.frame, positions=snapshot.frame.positions @ stretch, cell=snapshot.frame.cell @ stretch
        )
        sample = to_network_units(frame, law, network.n_carriers, np.nan, rng)
        label = 0 if snapshot.phase is None else column[snapshot.phase]
        parts.append(rows_of(network, [(sample, label)], KEEP, rng, k))
        if progress is not None:
            progress((k + 1) / len(snapshots))
    return Shard(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
