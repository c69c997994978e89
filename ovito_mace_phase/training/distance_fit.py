"""What graded noise does to the crystals of each phase: order parameter against distance, and how low the density gets.

    l = b_c - d^2 / (2 s_c^2),    l: mean logit of phase c over the atoms of a sample,  d^2: mean squared displacement

One line for each phase through samples of its own crystals. Source: Kwon et al., arXiv:2512.11077. Its density floor is
the density that the share `rejected` of its atoms falls below at the largest noise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from ovito_mace_phase.engine.evaluator import Evaluator
from ovito_mace_phase.head import PhaseHead
from ovito_mace_phase.phases import Phase

from .sampler import SampleLaw
from .shards import rows_of
from .source import SampleSource
from .structures import CrystalStructure

SIGMAS = (0.0, 0.03, 0.06, 0.09, 0.12, 0.15)
_LEAST_SLOPE = 1e-3


def fit_distances(
    evaluator: Evaluator,
    head: PhaseHead,
    phases: Sequence[Phase],
    structures: Sequence[CrystalStructure],
    rng: np.random.Generator,
    per_sigma: int = 2,
    rejected: float = 0.005,
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return b_c, s_c (network units) and R^2 by key, for the phases whose order parameter falls; and density floors.

    Parameters
    ----------
    evaluator : Evaluator
        With the head.
    head : PhaseHead
    phases : sequence of Phase
        Columns.
    structures : sequence of CrystalStructure
    rng : Generator
    per_sigma : int
        Samples at each amplitude of noise.
    rejected : float
        Share of the atoms of a phase below its floor at the largest noise.
    """
    source = SampleSource(phases, structures, [], evaluator.n_carriers)
    calm = SampleLaw(strain=0.01, jitter=0.03, any_carriers=-1.0, vacancies=0.0, surfaces=0.0, hot_share=0.0)
    laws = [dataclasses.replace(calm, sigma=(sigma, sigma)) for sigma in SIGMAS for _ in range(per_sigma)]
    out, floors = {}, {}
    for phase in source.present:
        samples = [source.draw(phase, law, 0.0, rng) for law in laws]
        found = rows_of(evaluator, samples, 10**6, rng, 0, np.float32)
        with torch.inference_mode():
            logits = head(torch.from_numpy(found["features"]))
        logit, density = logits[:, phase].double().numpy(), torch.logsumexp(logits, 1).numpy()
        floors[phases[phase].key] = float(np.quantile(density[found["sigma"] >= 0.99 * SIGMAS[-1]], rejected))
        count = np.bincount(found["sample"])
        height = np.bincount(found["sample"], weights=logit) / count
        squared = np.array([((s.displacement - s.displacement.mean(0)) ** 2).sum(1).mean() for s, _ in samples])
        slope, best = np.polyfit(squared, height, 1)
        rest = height - (best + slope * squared)
        if slope < -_LEAST_SLOPE:
            r_squared = 1.0 - rest.var() / max(height.var(), 1e-12)
            out[phases[phase].key] = [round(float(x), 5) for x in (best, np.sqrt(-0.5 / slope), r_squared)]
    return out, floors
