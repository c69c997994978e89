"""How low the density of each phase gets, below which a label becomes Other.

    floor_c = the quantile of logsumexp_c l that the share `rejected` of the atoms of phase c fall below at sigma 0.15 A

Some samples of each phase, slightly strained, more of the common ones; a quarter of those of fcc, bcc and hcp are
random alloys. `pipeline.lowered` leaves a margin below.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from ovito_mace_phase.lab.data.structures import CrystalStructure
from ovito_mace_phase.lab.features.rows import rows_of
from ovito_mace_phase.lab.samples.sampler import SampleSettings
from ovito_mace_phase.lab.samples.source import SampleSource
from ovito_mace_phase.model.engine.evaluator import Evaluator
from ovito_mace_phase.model.network.head import PhaseHead
from ovito_mace_phase.phases import Phase

SIGMA = 0.15
_ALLOYS = 0.25
_SETTINGS = dataclasses.replace(SampleSettings.quiet(SIGMA, SIGMA), strain=0.01, jitter=0.03)
"""Deliberately more than quiet: floors must hold for crystals a little strained and a length scale a little off."""


def density_floors(
    evaluator: Evaluator,
    head: PhaseHead,
    phases: Sequence[Phase],
    structures: Sequence[CrystalStructure],
    rng: np.random.Generator,
    per_phase: int = 4,
    per_common: int = 24,
    rejected: float = 0.005,
) -> dict[str, float]:
    """Return floor_c by key.

    Parameters
    ----------
    evaluator, head, phases, structures, rng
        See `distances.fit_distances`.
    per_phase, per_common : int
        Samples of each phase; of the common ones.
    rejected : float
        Share of the atoms below the floor.
    """
    source = SampleSource(phases, structures, [], evaluator.n_slots)
    floors = {}
    for phase in source.present:
        n_samples = per_common if source.is_common(phase) else per_phase
        samples = [source.draw(phase, _SETTINGS, _ALLOYS, rng) for _ in range(n_samples)]
        found = rows_of(evaluator, samples, 10**6, rng, 0)
        with torch.inference_mode():
            density = torch.logsumexp(head(torch.from_numpy(found["features"])), 1).numpy()
        floors[phases[phase].key] = float(np.quantile(density, rejected))
    return floors
