"""Feature rows: features of some atoms of samples through the frozen network, and their labels."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.neighbour_list import Edges
from ovito_mace_phase.lab.identity import Identity, check_identity
from ovito_mace_phase.lab.samples.sampler import Sample
from ovito_mace_phase.model.engine.evaluator import Evaluator
from ovito_mace_phase.runtime.files import finished_file

from .edges import edges_of
from .features import features_of

TOGETHER = 24
"""Samples that go through the network in one pass."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Rows of atoms: `features` (n, n_features) float16, `label` (n,) int16, `sigma` and `sample` (n,)."""

    features: npt.NDArray[np.float16]
    label: npt.NDArray[np.int16]
    sigma: npt.NDArray[np.float32]
    sample: npt.NDArray[np.int32]

    def save(self, path: Path, identity: Identity) -> None:
        """Write to an npz, complete or not at all, with what it was made from."""
        with finished_file(path) as temporary, temporary.open("wb") as file:
            arrays = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
            np.savez(file, identity=np.array(json.dumps(identity)), **arrays)

    @classmethod
    def load(cls, path: Path) -> Shard:
        """Read what `save` wrote."""
        with np.load(path) as archive:
            return cls(**{field.name: archive[field.name] for field in dataclasses.fields(cls)})

    @staticmethod
    def labels(path: Path) -> npt.NDArray[np.int16]:
        """Read the labels alone, without the features."""
        with np.load(path) as archive:
            return np.asarray(archive["label"], dtype=np.int16)

    @staticmethod
    def check(path: Path, identity: Identity) -> None:
        """Raise InputError for a file that was made from something else."""
        with np.load(path) as archive:
            found = json.loads(str(archive["identity"])) if "identity" in archive.files else None
        check_identity(path, found, identity)

    @staticmethod
    def joined(parts: Sequence[dict[str, npt.NDArray[Any]]]) -> Shard:
        """Return the rows of several calls of `rows_of`."""
        return Shard(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def rows_of(
    network: Evaluator,
    samples: Sequence[tuple[Sample, int]],
    keep: int,
    rng: np.random.Generator,
    first: int,
    kind: type[np.floating] = np.float32,
) -> dict[str, npt.NDArray[Any]]:
    """Return the fields of a shard for some atoms of each sample, all samples in one pass through the network.

    `kind` is the precision in which the features are kept.
    """
    edges, slots, centres = concatenate([sample for sample, _ in samples], network.weights.config.r_max, keep, rng)
    features = features_of(network, edges, slots, np.concatenate(centres))
    sizes = [len(rows) for rows in centres]
    each = np.concatenate([own_labels(*sample) for sample in samples])
    return {
        "features": features.astype(kind, copy=False),
        "label": each[np.concatenate(centres)].astype(np.int16),
        "sigma": np.repeat([sample.sigma for sample, _ in samples], sizes).astype(np.float32),
        "sample": np.repeat(first + np.arange(len(samples)), sizes).astype(np.int32),
    }


def concatenate(
    samples: Sequence[Sample], r_max: float, keep: int, rng: np.random.Generator
) -> tuple[Edges, npt.NDArray[np.int64], list[npt.NDArray[np.int64]]]:
    """Put several frames into one graph without edges between them.

    Returns
    -------
    edges : Edges
    slots : (n_atoms,) int64
    centres : list of (at most keep,) int64
        Rows chosen of each frame; of a frame with several phases as many of each.
    """
    centres, n_atoms = [], 0
    for sample in samples:
        frame = sample.frame
        label = np.zeros(len(frame), dtype=np.int64) if sample.label is None else sample.label
        centres.append(chosen_rows(label, keep, rng) + n_atoms)
        n_atoms += len(frame)
    return (
        edges_of([sample.frame for sample in samples], r_max),
        np.concatenate([sample.slots for sample in samples]),
        centres,
    )


def own_labels(sample: Sample, label: int) -> npt.NDArray[np.int64]:
    """Return the class of each atom of a sample."""
    return np.full(len(sample.frame), label) if sample.label is None else sample.label.astype(np.int64)


def chosen_rows(label: npt.NDArray[np.integer], keep: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return about `keep` rows at most, in ascending order, as many of each label as there are; none of no label."""
    kinds = np.unique(label[label >= 0])
    if not len(kinds):
        return np.zeros(0, dtype=np.int64)
    each = -(-keep // len(kinds))
    rows = [rng.permutation(np.flatnonzero(label == kind))[:each] for kind in kinds]
    return np.sort(np.concatenate(rows))


def batches(
    shard: Shard, size: int, rng: np.random.Generator
) -> Iterator[tuple[npt.NDArray[np.float16], npt.NDArray[np.int16]]]:
    """Yield the rows of a shard in random order, `size` at a time."""
    order = rng.permutation(len(shard.label))
    for start in range(0, len(order), size):
        rows = np.sort(order[start : start + size])
        yield shard.features[rows], shard.label[rows]
