"""Atoms of the old phases, of background and of the new phase, as the last layer of the head sees them.

No data but the reference cells of the phases are needed: samples are drawn as in training (`source`), half of them with
species assigned as at use.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ovito_mace_phase.lab.data.structures import reference_structures
from ovito_mace_phase.lab.features.rows import TOGETHER, rows_of
from ovito_mace_phase.lab.samples.sampler import Sample, SampleSettings
from ovito_mace_phase.lab.samples.source import DRAW_BACKGROUND, SampleSource
from ovito_mace_phase.model.engine.evaluator import Evaluator
from ovito_mace_phase.model.network.head import PhaseHead
from ovito_mace_phase.phases import Phase

Progress = Callable[[float], None]


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
    phases : sequence of Phase
        Of the model; the first is OTHER.
    phase : Phase
        The new one.
    keep : int
        Atoms kept of each sample.
    """

    def __init__(self, network: Evaluator, head: PhaseHead, phases: Sequence[Phase], phase: Phase, keep: int) -> None:
        self.network, self.head, self.keep, self.n_phases = network, head, keep, len(phases)
        everything = (*phases, phase)
        self.source = SampleSource(everything, reference_structures(everything, []), [], network.n_slots)

    def old(
        self, per_phase: int, background: int, settings: SampleSettings, rng: np.random.Generator, progress: Progress
    ) -> Rows:
        """Return atoms of every old phase that has a reference cell, and of background."""
        old = [phase for phase in self.source.present if phase != self.n_phases]
        jobs = [phase for phase in old for _ in range(per_phase)] + [DRAW_BACKGROUND] * background
        return self._rows(jobs, settings, rng, progress)

    def some(
        self,
        columns: Sequence[int],
        count: int,
        settings: SampleSettings,
        rng: np.random.Generator,
        progress: Progress,
    ) -> Rows:
        """Return atoms of `count` samples of each of some phases; the new one has the column `n_phases`."""
        jobs = [phase for phase in self.source.present if phase in columns for _ in range(count)]
        return self._rows(jobs, settings, rng, progress)

    def _rows(
        self, jobs: Sequence[int], settings: SampleSettings, rng: np.random.Generator, progress: Progress
    ) -> Rows:
        none = torch.empty(0, self.head.config.n_hidden), torch.empty(0, self.n_phases)
        parts = [Rows(embedding=none[0], logits=none[1], label=np.empty(0, dtype=np.int64))]
        for start in range(0, len(jobs), TOGETHER):
            samples = [self._sample(job, settings, rng) for job in jobs[start : start + TOGETHER]]
            found = rows_of(self.network, samples, self.keep, rng, start)
            embedding, logits = self._embed(found["features"])
            parts.append(Rows(embedding=embedding, logits=logits, label=found["label"].astype(np.int64)))
            progress(min(start + TOGETHER, len(jobs)) / len(jobs))
        return Rows(
            embedding=torch.cat([rows.embedding for rows in parts]),
            logits=torch.cat([rows.logits for rows in parts]),
            label=np.concatenate([rows.label for rows in parts]),
        )

    def _sample(self, job: int, settings: SampleSettings, rng: np.random.Generator) -> tuple[Sample, int]:
        """Draw a sample, half of them with species assigned as at use."""
        if rng.uniform() < 0.5:
            settings = dataclasses.replace(settings, any_slots=-1.0)
        return self.source.draw(job, settings, 0.0, rng)

    def _embed(self, features: npt.NDArray[np.float32]) -> tuple[Tensor, Tensor]:
        """Return embedding and class logits of features."""
        head = self.head
        given = torch.from_numpy(features).to(head.mean.device)
        with torch.no_grad():
            embedding, classes = head.class_rows(given)
            return embedding.cpu(), classes.cpu()
