"""Training rows from molecular dynamics of crystals of known phase (`snapshots`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ovito_mace_phase.lab.samples.sampler import SampleLaw
from ovito_mace_phase.lab.samples.snapshots import Snapshot, check_phases, strained_snapshot
from ovito_mace_phase.model.engine.evaluator import Evaluator
from ovito_mace_phase.phases import Phase

from .feature_rows import Shard, rows_of

KEEP = 160


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
    check_phases(snapshots, phases)
    rng = np.random.default_rng([seed, number])
    column = {phase.key: k for k, phase in enumerate(phases)}
    parts = []
    for k, snapshot in enumerate(snapshots):
        sample = strained_snapshot(snapshot, law, network.n_carriers, rng)
        label = 0 if snapshot.phase is None else column[snapshot.phase]
        parts.append(rows_of(network, [(sample, label)], KEEP, rng, k))
        if progress is not None:
            progress((k + 1) / len(snapshots))
    return Shard(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
