"""What graded noise does to the order parameter of each phase.

    l = b_c - d^2 / (2 s_c^2),    l: mean logit of phase c over the atoms of a sample,  d^2: mean squared displacement

Several crystals of the phase, each at all amplitudes of noise, have a line of their own; b_c and s_c are the medians of
theirs, so that a distorted crystal among them does not tilt the line of the others. R^2 tells how well the common line
describes the median crystal. Source: Kwon et al., arXiv:2512.11077.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ovito_mace_phase.atoms.frame import FloatArray
from ovito_mace_phase.lab.data.structures import CrystalStructure
from ovito_mace_phase.lab.features.rows import rows_of
from ovito_mace_phase.lab.samples.sampler import SampleSettings, draw
from ovito_mace_phase.lab.samples.source import SampleSource
from ovito_mace_phase.model.engine.evaluator import Evaluator
from ovito_mace_phase.model.network.head import PhaseHead
from ovito_mace_phase.phases import Phase

SIGMAS = (0.0, 0.03, 0.06, 0.09, 0.12, 0.15)
_LEAST_SLOPE = 1e-3


def fit_distances(
    evaluator: Evaluator,
    head: PhaseHead,
    phases: Sequence[Phase],
    structures: Sequence[CrystalStructure],
    rng: np.random.Generator,
    n_crystals: int = 5,
) -> dict[str, list[float]]:
    """Return b_c, s_c (network units) and R^2 by key, for the phases whose order parameter falls with noise.

    Parameters
    ----------
    evaluator : Evaluator
        With the head.
    head : PhaseHead
    phases : sequence of Phase
        Columns.
    structures : sequence of CrystalStructure
    rng : Generator
    n_crystals : int
        Crystals of each phase, drawn with repetition; each gets one sample at each amplitude of noise.
    """
    source = SampleSource(phases, structures, [], evaluator.n_slots)
    noises = [SampleSettings.quiet(sigma, sigma) for sigma in SIGMAS]
    out = {}
    for phase in source.present:
        crystals = [source.structure(phase, 0.0, rng) for _ in range(n_crystals)]
        samples = [(draw(one, noise, evaluator.n_slots, rng), phase) for one in crystals for noise in noises]
        found = rows_of(evaluator, samples, 10**6, rng, 0)
        with torch.inference_mode():
            logit = head(torch.from_numpy(found["features"]))[:, phase].double().numpy()
        height = np.bincount(found["sample"], weights=logit) / np.bincount(found["sample"])
        squared = np.array([((s.displacement - s.displacement.mean(0)) ** 2).sum(1).mean() for s, _ in samples])
        best, slope, r_squared = common_line(squared.reshape(n_crystals, -1), height.reshape(n_crystals, -1))
        if slope < -_LEAST_SLOPE:
            out[phases[phase].key] = [round(float(x), 5) for x in (best, np.sqrt(-0.5 / slope), r_squared)]
    return out


def common_line(squared: FloatArray, height: FloatArray) -> tuple[float, float, float]:
    """Return offset and slope, medians over rows (n_crystals, n_points), and R^2 of that line, its median over rows."""
    slopes, offsets = np.transpose([np.polyfit(x, y, 1) for x, y in zip(squared, height, strict=True)])
    best, slope = float(np.median(offsets)), float(np.median(slopes))
    rest = ((height - best - slope * squared) ** 2).mean(axis=1)
    return best, slope, float(np.median(1.0 - rest / np.maximum(height.var(axis=1), 1e-12)))
