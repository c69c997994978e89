"""Samples from snapshots of molecular dynamics of known phase: real phonons, anharmonicity, thermal expansion.

`sample_dumps/make_hot.py` (crystals) and `make_melts.py` make the snapshots; each is used several times, with fresh
strain, jitter and slots.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ovito_mace_phase.lab.data.npz import Snapshot
from ovito_mace_phase.phases import Phase
from ovito_mace_phase.runtime.errors import InputError

from .sampler import Sample, SampleSettings, to_network_units


def strained_snapshot(snapshot: Snapshot, settings: SampleSettings, n_slots: int, rng: np.random.Generator) -> Sample:
    """Draw a sample of a snapshot: strained a little, lengths and slots as in training."""
    strain = rng.uniform(-1.0, 1.0, (3, 3)) * settings.strain * rng.uniform()
    stretch = np.eye(3) + 0.5 * (strain + strain.T)
    frame = dataclasses.replace(
        snapshot.frame, positions=snapshot.frame.positions @ stretch, cell=snapshot.frame.cell @ stretch
    )
    moved = None if snapshot.displacement is None else snapshot.displacement @ stretch
    return to_network_units(frame, settings, n_slots, np.nan, rng, moved)


def check_phases(snapshots: Sequence[Snapshot], phases: Sequence[Phase]) -> None:
    """Raise InputError for a snapshot whose phase is not among the classes."""
    known = {phase.key for phase in phases}
    for snapshot in snapshots:
        if snapshot.phase is not None and snapshot.phase not in known:
            raise InputError(f"the snapshot {snapshot.name} has the phase {snapshot.phase!r}, which the table lacks")
