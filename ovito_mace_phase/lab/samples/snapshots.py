"""Snapshots of molecular dynamics of known phase: real phonons, anharmonicity, thermal expansion.

Made by `sample_dumps/make_hot.py` (crystals) and `make_melts.py`; each is used several times, with fresh strain, jitter
and carriers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.lab.data.npz import frame_of, read_arrays
from ovito_mace_phase.phases import Phase
from ovito_mace_phase.runtime.errors import InputError

from .sampler import Sample, SampleLaw, to_network_units


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A frame of molecular dynamics.

    Attributes
    ----------
    name : str
    frame : Frame
    phase : str or None
        Key of the phase; None: no crystal.
    displacement : (n_atoms, 3) float64 or None
        Position minus site.
    """

    name: str
    frame: Frame
    phase: str | None
    displacement: npt.NDArray[np.float64] | None = None


def read_snapshots(folder: Path) -> list[Snapshot]:
    """Read npz snapshots (positions, species, cell, pbc, phase); one without `phase`, or with OTHER, is no crystal."""
    out = []
    for path in sorted(folder.glob("*.npz")):
        arrays = read_arrays(path)
        frame, phase = frame_of(arrays, path), str(arrays.get("phase", "OTHER"))
        out.append(
            Snapshot(
                name=path.stem,
                frame=frame,
                phase=None if phase == "OTHER" else phase,
                displacement=arrays.get("displacement"),
            )
        )
    if not out:
        raise InputError(f"no snapshots (*.npz) in {folder}; sample_dumps/make_hot.py and make_melts.py make them")
    return out


def strained_snapshot(snapshot: Snapshot, law: SampleLaw, n_carriers: int, rng: np.random.Generator) -> Sample:
    """Draw a sample of a snapshot: strained a little, lengths and carriers as in training."""
    strain = rng.uniform(-1.0, 1.0, (3, 3)) * law.strain * rng.uniform()
    stretch = np.eye(3) + 0.5 * (strain + strain.T)
    frame = dataclasses.replace(
        snapshot.frame, positions=snapshot.frame.positions @ stretch, cell=snapshot.frame.cell @ stretch
    )
    moved = None if snapshot.displacement is None else snapshot.displacement @ stretch
    return to_network_units(frame, law, n_carriers, np.nan, rng, moved)


def check_phases(snapshots: Sequence[Snapshot], phases: Sequence[Phase]) -> None:
    """Raise InputError for a snapshot whose phase is not among the classes."""
    known = {phase.key for phase in phases}
    for snapshot in snapshots:
        if snapshot.phase is not None and snapshot.phase not in known:
            raise InputError(f"the snapshot {snapshot.name} has the phase {snapshot.phase!r}, which the table lacks")
