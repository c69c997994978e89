"""Samples of the old phases, of background and of the new phase, as the last layer of the head sees their atoms.

No data but the reference cells of the phases are needed: samples are drawn by the law of training (`sampler`), and
background, labelled Other, is random packings and crystals shaken to pieces.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ovito_mace_phase.lab.data.structures import CrystalStructure, reference_structures
from ovito_mace_phase.lab.samples.disorder import random_packing, shattered
from ovito_mace_phase.lab.samples.sampler import Sample, SampleLaw, draw, to_network_units
from ovito_mace_phase.lab.training.feature_rows import concatenate
from ovito_mace_phase.lab.training.features import features_of
from ovito_mace_phase.model.engine.evaluator import Evaluator
from ovito_mace_phase.model.network.head import PhaseHead
from ovito_mace_phase.phases import Phase
from ovito_mace_phase.runtime.errors import InputError

BACKGROUND = 0  # column of OTHER
_BATCH = 24
_PACKINGS = 0.5  # share of the background


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Atoms of samples.

    Attributes
    ----------
    embedding : (n_atoms, n_hidden) float32 Tensor
    logits : (n_atoms, n_phases) float32 Tensor
        Of the old phases.
    label : (n_atoms,) int64
        Column of the old phase that an atom was drawn from, of the new phase `n_phases`.
    """

    embedding: Tensor
    logits: Tensor
    label: npt.NDArray[np.int64]

    def joined(self, other: Rows) -> Rows:
        """Return these atoms and those of another set."""
        return Rows(
            embedding=torch.cat([self.embedding, other.embedding]),
            logits=torch.cat([self.logits, other.logits]),
            label=np.concatenate([self.label, other.label]),
        )


class Rehearsal:
    """Draws samples and takes them through network and head.

    Parameters
    ----------
    network : Evaluator
    head : PhaseHead
        An MLP head.
    phases : sequence of Phase
        Of the model; the first is OTHER.
    keep : int
        Atoms kept of each sample.
    """

    def __init__(self, network: Evaluator, head: PhaseHead, phases: Sequence[Phase], keep: int) -> None:
        self.network, self.head, self.keep = network, head, keep
        self.n_phases = len(phases)
        self.structures = reference_structures(phases, [])

    def old(
        self,
        per_phase: int,
        background: int,
        law: SampleLaw,
        rng: np.random.Generator,
        progress: Callable[[float], None],
    ) -> Rows:
        """Return atoms of every old phase that has a reference cell, and of background."""
        jobs: list[CrystalStructure | None] = [structure for structure in self.structures for _ in range(per_phase)]
        jobs += [None] * background
        return self._rows(jobs, law, rng, progress)

    def some(
        self,
        columns: Sequence[int],
        count: int,
        law: SampleLaw,
        rng: np.random.Generator,
        progress: Callable[[float], None],
    ) -> Rows:
        """Return atoms of `count` samples of each of some old phases."""
        jobs = [structure for structure in self.structures if structure.phase in columns for _ in range(count)]
        return self._rows(jobs, law, rng, progress)

    def new(
        self,
        phase: Phase,
        count: int,
        law: SampleLaw,
        rng: np.random.Generator,
        progress: Callable[[float], None],
    ) -> Rows:
        """Return atoms of `count` samples of the new phase."""
        cell = phase.reference
        if cell is None:
            raise InputError(f"the phase {phase.key} has no reference cell")
        structure = CrystalStructure(
            phase=self.n_phases,
            cell=cell.cell,
            fractional=cell.fractional,
            species=cell.species,
            system=phase.key,
            source=phase.source,
        )
        return self._rows([structure] * count, law, rng, progress)

    def _rows(
        self,
        jobs: Sequence[CrystalStructure | None],
        law: SampleLaw,
        rng: np.random.Generator,
        progress: Callable[[float], None],
    ) -> Rows:
        parts: list[tuple[Tensor, Tensor]] = []
        label: list[int] = []
        r_max = self.network.weights.config.r_max
        for start in range(0, len(jobs), _BATCH):
            batch = [(job, self._sample(job, law, rng)) for job in jobs[start : start + _BATCH]]
            edges, carrier, centres = concatenate([sample for _, sample in batch], r_max, self.keep, rng)
            parts.append(self._embed(features_of(self.network, edges, carrier, np.concatenate(centres))))
            for (job, _), rows in zip(batch, centres, strict=True):
                label += [BACKGROUND if job is None else job.phase] * len(rows)
            progress(min(start + _BATCH, len(jobs)) / len(jobs))
        return Rows(
            embedding=torch.cat([torch.empty(0, self.head.config.n_hidden), *(embedding for embedding, _ in parts)]),
            logits=torch.cat([torch.empty(0, self.n_phases), *(logits for _, logits in parts)]),
            label=np.array(label, dtype=np.int64),
        )

    def _sample(self, job: CrystalStructure | None, law: SampleLaw, rng: np.random.Generator) -> Sample:
        """Draw a sample, half of them with species on carriers as at use; again where two atoms are in one place."""
        as_at_use = rng.uniform() < 0.5
        law = dataclasses.replace(law, any_carriers=-1.0) if as_at_use else law
        for _ in range(20):
            with contextlib.suppress(InputError):
                if job is not None:
                    return draw(job, law, self.network.n_carriers, rng)
                return self._background(law, rng)
        name = "background" if job is None else job.source
        raise InputError(f"twenty samples of {name} in a row had atoms at the same place; check the structure")

    def _background(self, law: SampleLaw, rng: np.random.Generator) -> Sample:
        if rng.uniform() < _PACKINGS:
            frame = random_packing(rng, int(rng.integers(1, 5)))
        else:
            frame = shattered(self.structures[int(rng.integers(len(self.structures)))], rng)
        return to_network_units(frame, law, self.network.n_carriers, np.inf, rng)

    def _embed(self, features: npt.NDArray[np.float32]) -> tuple[Tensor, Tensor]:
        """Return embedding and class logits of features."""
        head = self.head
        given = torch.from_numpy(features).to(head.mean.device)
        with torch.no_grad():
            embedding = head.embed(head.first((given - head.mean) / head.scale))
            return embedding.cpu(), head.last(embedding).cpu()
