"""Samples on disk, in files of some hundred thousand atoms, with the answers of a teacher: drawn once, shown many times.

    one file = all atoms of its samples one after the other, and a row for each sample

A file is drawn from (seed, number of the file), so it does not matter which process writes it. Lengths are in network
units. The teacher is evaluated on the positions as they are, which are shown again without change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.lab.identity import Identity, check_identity
from ovito_mace_phase.lab.samples.sampler import Sample
from ovito_mace_phase.runtime.files import finished_file

from .rows import TOGETHER, own_labels
from .targets import Targets, Teacher

Drawn = tuple[Sample, int]


@dataclass(frozen=True, kw_only=True)
class SampleFile:
    """Samples of one file; rows of atoms of sample k are `first[k]:first[k + 1]`."""

    arrays: dict[str, npt.NDArray[np.generic]]
    first: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first) - 1

    def sample(self, k: int) -> tuple[Sample, int, Targets | None]:
        """Return sample k, its class (of its atoms if they are all the same, else 0) and the teacher's answers."""
        a = self.arrays
        rows = slice(int(self.first[k]), int(self.first[k + 1]))
        label = a["label"][rows].astype(np.int64)
        slots = a["slots"][rows].astype(np.int64)
        frame = Frame(
            positions=a["positions"][rows].astype(np.float64),
            species=slots,
            species_names=tuple(map(str, range(int(slots.max()) + 1))),
            cell=a["cell"][k].astype(np.float64),
            pbc=a["pbc"][k],
        )
        sample = Sample(
            frame=frame,
            slots=slots,
            sigma=float(a["sigma"][k]),
            displacement=a["displacement"][rows].astype(np.float64),
            label=label,
        )
        targets = None
        if "phase" in a:
            targets = Targets(
                phase=a["phase"][rows], logit=a["logit"][rows].astype(np.float32), density=a["density"][rows]
            )
        return sample, int(label[0]), targets


def write_samples(path: Path, samples: Iterable[Drawn], n_atoms: int, identity: Identity, teacher: Teacher | None) -> int:
    """Write samples until there are `n_atoms`, complete or not at all; returns the number of samples."""
    kept: list[Drawn] = []
    total = 0
    for one in samples:
        kept.append(one)
        total += len(one[0].slots)
        if total >= n_atoms:
            break
    targets = []
    if teacher is not None:
        targets = [teacher.targets(kept[k : k + TOGETHER]) for k in range(0, len(kept), TOGETHER)]
    arrays = {
        "positions": np.concatenate([s.frame.positions for s, _ in kept]).astype(np.float32),
        "displacement": np.concatenate([s.displacement for s, _ in kept]).astype(np.float32),
        "slots": np.concatenate([s.slots for s, _ in kept]).astype(np.int8),
        "label": np.concatenate([own_labels(*one) for one in kept]).astype(np.int16),
        "cell": np.stack([s.frame.cell for s, _ in kept]).astype(np.float32),
        "pbc": np.stack([s.frame.pbc for s, _ in kept]),
        "sigma": np.array([s.sigma for s, _ in kept], dtype=np.float32),
        "size": np.array([len(s.slots) for s, _ in kept], dtype=np.int32),
    }
    if targets:
        found = Targets.joined(targets)
        arrays |= {"phase": found.phase, "logit": found.logit.astype(np.float16), "density": found.density}
    with finished_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, identity=np.array(json.dumps(identity)), **arrays)
    return len(kept)


def read_samples(path: Path, identity: Identity | None = None) -> SampleFile:
    """Read a file; InputError for one that was made from something else, where `identity` is given."""
    with np.load(path) as archive:
        if identity is not None:
            check_identity(path, json.loads(str(archive["identity"])), identity)
        arrays = {name: archive[name] for name in archive.files if name != "identity"}
    return SampleFile(arrays=arrays, first=np.concatenate([[0], np.cumsum(arrays["size"])]))


def in_random_order(
    paths: list[Path], together: int, rng: np.random.Generator
) -> Iterator[tuple[Sample, int, Targets | None]]:
    """Yield all samples of the files once: `together` files at a time, their samples mixed."""
    order = rng.permutation(len(paths))
    for start in range(0, len(paths), together):
        files = [read_samples(paths[k]) for k in order[start : start + together]]
        which = np.concatenate([np.full(len(file), k) for k, file in enumerate(files)])
        within = np.concatenate([np.arange(len(file)) for file in files])
        for k in rng.permutation(len(which)):
            yield files[which[k]].sample(int(within[k]))
