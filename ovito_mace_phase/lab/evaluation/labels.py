"""Labels of the atoms of a frame as phase keys, by the model: with each prior, and after denoising."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.classification.classify import (
    OTHER_ID,
    EvaluationSettings,
    PhaseResult,
    Prior,
    ReadoutSettings,
    denoised_scores,
    evaluate_scores,
    read_out,
)
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.phases import phase_table

Keys = npt.NDArray[np.str_]
Mask = npt.NDArray[np.bool_]
PRIORS: dict[str, Prior] = {"local": "local", "uniform": "uniform", "frame": "frame"}
DEFAULT = "local"
"""The answer with default settings."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Phase keys (n_atoms,) and confidence (n_atoms,) float32."""

    keys: Keys
    confidence: npt.NDArray[np.float32]


def columns(denoise_steps: int = 0) -> list[str]:
    """Return the names of the answers of `predict_all_priors`."""
    return [*PRIORS, *(f"denoised, {name}" for name in PRIORS if denoise_steps > 0)]


def predict_all_priors(
    frame: Frame, model: PhaseModel, *, denoise_steps: int = 0, species_spec: str | None = None
) -> dict[str, Answer]:
    """Label a frame with each prior, and again after denoising if `denoise_steps` is not 0."""
    settings = EvaluationSettings(species_spec=species_spec)
    scores = evaluate_scores(frame, model, settings)
    out = {name: _answer(read_out(scores, model, ReadoutSettings(prior=prior))) for name, prior in PRIORS.items()}
    if denoise_steps > 0:
        scores, _ = denoised_scores(frame, model, settings, denoise_steps, given=scores)
        for name, prior in PRIORS.items():
            out[f"denoised, {name}"] = _answer(read_out(scores, model, ReadoutSettings(prior=prior)))
    return out


def share(keys: Keys, wanted: str | Sequence[str], inside: Mask | None = None) -> float:
    """Return the share of the atoms `inside` with one of the keys; NaN if there are none."""
    right = np.isin(keys, wanted)
    right = right if inside is None else right[inside]
    return float(right.mean()) if len(right) else float("nan")


def group_of(key: str) -> list[str]:
    """Return the keys of the equivalence group of a phase."""
    group = phase_table().by_key(key).group
    return [phase.key for phase in phase_table() if phase.group == group]


def commonest_other(keys: Keys, right: str | Sequence[str]) -> str:
    """Return the commonest label but the right ones, with its share of all atoms; empty if there is none."""
    wrong = Counter(keys[~np.isin(keys, right)].tolist()).most_common(1)
    return f"{wrong[0][0]} {wrong[0][1] / len(keys):.1%}" if wrong else ""


def _answer(result: PhaseResult) -> Answer:
    key = {phase.id: phase.key for phase in result.phases} | {OTHER_ID: "OTHER"}
    ids, inverse = np.unique(result.phase, return_inverse=True)
    names = np.array([key[int(number)] for number in ids], dtype=np.str_)
    return Answer(keys=names[inverse], confidence=result.confidence)
