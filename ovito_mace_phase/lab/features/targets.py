"""What an earlier network, the teacher, says of atoms: its best logits and its log-density."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch

from ovito_mace_phase.atoms.neighbour_list import neighbour_list, side_by_side
from ovito_mace_phase.lab.samples.sampler import Sample
from ovito_mace_phase.model.engine.evaluator import Evaluator
from ovito_mace_phase.model.network.head import PhaseHead

from .features import features_of

N_BEST = 24
"""Phases whose logits are kept of an atom."""


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Answers of the teacher; a row of `phase` that begins with -1 has none.

    Attributes
    ----------
    phase : (n_atoms, N_BEST) int16, or fewer where there are fewer phases
        Columns of the best phases, the best first.
    logit : float32 of the same shape
    density : (n_atoms,) float32
        log-density; NaN where the teacher says none.
    """

    phase: npt.NDArray[np.int16]
    logit: npt.NDArray[np.float32]
    density: npt.NDArray[np.float32]

    def __getitem__(self, rows: slice | npt.NDArray[np.integer]) -> Targets:
        return Targets(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @classmethod
    def joined(cls, parts: Sequence[Targets]) -> Targets:
        """Put the rows of several samples one after the other."""
        return cls(**{field.name: np.concatenate([getattr(one, field.name) for one in parts]) for field in fields(cls)})


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A network with its head; `columns` (n_phases of the teacher,) are the columns of its phases in the table here."""

    evaluator: Evaluator
    head: PhaseHead
    columns: npt.NDArray[np.int64]

    def targets(self, samples: Sequence[tuple[Sample, int]]) -> Targets:
        """Return its answers for all atoms of some samples."""
        r_max = self.evaluator.weights.config.r_max
        frames = [sample.frame for sample, _ in samples]
        edges = side_by_side([neighbour_list(one.positions, one.cell, one.pbc, r_max) for one in frames])
        slots = np.concatenate([sample.slots for sample, _ in samples]).astype(np.int64)
        features = features_of(self.evaluator, edges, slots)
        with torch.inference_mode():
            logits = self.head(torch.from_numpy(features))
            best = logits.topk(min(N_BEST, logits.shape[1]), dim=1)
            density = torch.logsumexp(logits, 1) if self.head.config.n_density else torch.full((len(slots),), np.nan)
        return Targets(
            phase=self.columns[best.indices.numpy()].astype(np.int16),
            logit=best.values.float().numpy(),
            density=density.float().numpy(),
        )
