"""Error of the score, phase by phase: how far the model would move the atoms of perfect crystals.

    e^2 = mean over crystals of  mean_a |s^2 score_a|^2

On crystals of the validation part, or, where it has none of a phase, of the training part. What denoising makes of it
is in `classification/step_damping.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ovito_mace_phase.atoms.network_frame import NetworkFrame
from ovito_mace_phase.lab.data.structures import CrystalStructure, Part
from ovito_mace_phase.lab.samples.sampler import SampleSettings
from ovito_mace_phase.lab.samples.source import SampleSource
from ovito_mace_phase.model.engine.evaluator import Evaluator
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.phases import Phase

_PER_PHASE = 2


def score_errors(
    evaluator: Evaluator,
    phases: Sequence[Phase],
    noise_scale: float,
    structures: Mapping[Part, Sequence[CrystalStructure]],
    rng: np.random.Generator,
) -> dict[str, float]:
    """Return key -> e, network units, of all phases; `structures` by part."""
    perfect = SampleSettings.quiet(0.0, 0.0)
    sources = [SampleSource(phases, structures[part], [], evaluator.n_slots) for part in ("validation", "train")]
    r_max = evaluator.weights.config.r_max
    model = PhaseModel(evaluator, tuple(phases), {"noise_scale": noise_scale})

    def square(source: SampleSource, phase: int) -> float:
        sample, _ = source.draw(phase, perfect, 0.0, rng)
        here = NetworkFrame(frame=sample.frame, factor=1.0, slots=sample.slots, r_max=r_max)
        found = model.log_density_gradient(here)
        return float(((noise_scale**2 * found.gradient) ** 2).sum(axis=1).mean())

    errors = {}
    for number, phase in enumerate(phases):
        source = next((source for source in sources if number in source.present), None)
        if source is not None:
            errors[phase.key] = round(float(np.sqrt(np.mean([square(source, number) for _ in range(_PER_PHASE)]))), 4)
    return errors
