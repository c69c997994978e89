"""Shards of training data: features of noisy crystals and of background, through the frozen network.

A shard is drawn evenly over phases (structures evenly over chemical systems within a phase), with a stated surplus for
the lattices simulations are full of, random alloys on their sites, and background labelled Other. All randomness comes
from (seed, number of the shard), so a shard can be made again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.atoms.neighbour_list import Edges, neighbour_list, side_by_side
from ovito_mace_phase.lab.data.structures import CrystalStructure
from ovito_mace_phase.lab.samples.sampler import Sample, SampleLaw
from ovito_mace_phase.lab.samples.source import BACKGROUND, SampleSource
from ovito_mace_phase.model.engine.evaluator import Evaluator
from ovito_mace_phase.phases import Phase

from .features import features_of

_BATCH = 24


@dataclass(frozen=True, kw_only=True)
class ShardLaw:
    """How a shard is composed.

    Attributes
    ----------
    sample : SampleLaw
    per_phase : int
        Samples of every phase.
    surplus : int
        Factor for the phases in `COMMON`.
    alloy_share : float
        Share of the FCC, BCC and HCP samples with two to four species at random on the sites.
    background : int
        Samples labelled Other.
    keep : int
        Atoms kept of each sample, chosen at random.
    """

    sample: SampleLaw = field(default_factory=SampleLaw)
    per_phase: int = 8
    surplus: int = 8
    alloy_share: float = 0.25
    background: int = 700
    keep: int = 24


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Rows of atoms: `features` (n, n_features) float16, `label` (n,) int16, `sigma` and `sample` (n,)."""

    features: npt.NDArray[np.float16]
    label: npt.NDArray[np.int16]
    sigma: npt.NDArray[np.float32]
    sample: npt.NDArray[np.int32]

    def save(self, path: Path) -> None:
        """Write to an npz; complete or not at all."""
        temporary = path.with_suffix(".part")
        with temporary.open("wb") as file:
            np.savez(file, **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)})
        temporary.replace(path)

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


class ShardMaker:
    """Draws shards.

    Parameters
    ----------
    network : Evaluator
    phases : sequence of Phase
        Classes; the first must be OTHER.
    structures : sequence of CrystalStructure
        Of one part of the split.
    melts : sequence of list of Frame
        Snapshots per system, of the same part.
    """

    def __init__(
        self,
        network: Evaluator,
        phases: Sequence[Phase],
        structures: Sequence[CrystalStructure],
        melts: Sequence[Sequence[Frame]],
    ) -> None:
        self.network = network
        self.source = SampleSource(phases, structures, melts, network.n_carriers)

    def make(self, law: ShardLaw, seed: int, number: int, progress: Callable[[float], None] | None = None) -> Shard:
        """Draw shard `number` of the sequence that `seed` defines."""
        rng = np.random.default_rng([seed, number])
        jobs = [phase for phase in self.source.present for _ in range(self._count(phase, law))]
        jobs += [BACKGROUND] * law.background
        order = rng.permutation(len(jobs))
        parts = []
        for start in range(0, len(jobs), _BATCH):
            batch = order[start : start + _BATCH]
            samples = [self.source.draw(jobs[k], law.sample, law.alloy_share, rng) for k in batch]
            parts.append(rows_of(self.network, samples, law.keep, rng, start))
            if progress is not None:
                progress(min(start + _BATCH, len(jobs)) / len(jobs))
        return Shard(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})

    def _count(self, phase: int, law: ShardLaw) -> int:
        return law.per_phase * (law.surplus if self.source.is_common(phase) else 1)


def rows_of(
    network: Evaluator,
    samples: Sequence[tuple[Sample, int]],
    keep: int,
    rng: np.random.Generator,
    first: int,
    kind: type[np.floating] = np.float16,
) -> dict[str, npt.NDArray[Any]]:
    """Return the fields of a shard for some atoms of each sample, all samples in one pass through the network.

    `kind` is the precision in which the features are kept.
    """
    edges, carrier, centres = concatenate([sample for sample, _ in samples], network.weights.config.r_max, keep, rng)
    features = features_of(network, edges, carrier, np.concatenate(centres))
    sizes = [len(rows) for rows in centres]
    each = np.concatenate([own_labels(*sample) for sample in samples])
    return {
        "features": features.astype(kind),
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
    carrier : (n_atoms,) int64
    centres : list of (at most keep,) int64
        Rows chosen of each frame; of a frame with several phases as many of each.
    """
    parts, centres, n_atoms = [], [], 0
    for sample in samples:
        frame = sample.frame
        parts.append(neighbour_list(frame.positions, frame.cell, frame.pbc, r_max))
        label = np.zeros(len(frame), dtype=np.int64) if sample.label is None else sample.label
        centres.append(chosen_rows(label, keep, rng) + n_atoms)
        n_atoms += len(frame)
    return side_by_side(parts), np.concatenate([sample.carrier for sample in samples]), centres


def own_labels(sample: Sample, label: int) -> npt.NDArray[np.int64]:
    """Return the class of each atom of a sample."""
    return np.full(len(sample.frame), label) if sample.label is None else sample.label.astype(np.int64)


def chosen_rows(label: npt.NDArray[np.integer], keep: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return about `keep` rows at most, in ascending order, as many of each label as there are."""
    kinds = np.unique(label)
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
