"""Labels of the atoms of a frame as phase keys: by default, by the network alone with each prior, after denoising."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.atoms.species import merge_species
from ovito_mace_phase.classification.denoise import Denoised
from ovito_mace_phase.classification.readout.labels import OTHER_ID
from ovito_mace_phase.classification.result import PhaseResult
from ovito_mace_phase.classification.settings import PRIORS, Settings
from ovito_mace_phase.classification.stages import denoised, logits_of, network_frame_of, result_of
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.phases import phase_table

Keys = npt.NDArray[np.str_]
Mask = npt.NDArray[np.bool_]
DEFAULT = "default"
"""The labels that a user gets: settings as they are, verified by templates."""
NETWORK = PRIORS[0]
"""The network alone with the default prior."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Phase keys (n_atoms,) and confidence (n_atoms,) float32."""

    keys: Keys
    confidence: npt.NDArray[np.float32]

    def of(self, inside: Mask) -> Answer:
        """Return the answer for some of the atoms."""
        return Answer(keys=self.keys[inside], confidence=self.confidence[inside])


def columns(denoise_steps: int = 0) -> list[str]:
    """Return the names of the answers of `predict`."""
    names = (DEFAULT, *PRIORS)
    return [*names, *(f"denoised, {name}" for name in names if denoise_steps > 0)]


def predict(
    frame: Frame, model: PhaseModel, *, denoise_steps: int = 0, species: str | None = "auto"
) -> dict[str, Answer]:
    """Label a frame by default and by the network alone with each prior; again after denoising if there are steps."""
    return predict_and_denoise(frame, model, denoise_steps=denoise_steps, species=species)[0]


def predict_and_denoise(
    frame: Frame, model: PhaseModel, *, denoise_steps: int, species: str | None = "auto"
) -> tuple[dict[str, Answer], Denoised | None]:
    """Return what `predict` does, and the denoised frame if there are steps; the network is evaluated once a frame."""
    settings = Settings(denoise_steps=denoise_steps, species=species)
    kept = logits_of(network_frame_of(merge_species(frame, species), model, settings), model, settings)
    after = denoised(kept, model, settings) if denoise_steps > 0 else None
    wanted = {DEFAULT: Settings()} | {prior: Settings(prior=prior, verify="off") for prior in PRIORS}
    found = {name: answer_of(result_of(kept, model, one)) for name, one in wanted.items()}
    if after is None:
        return found, None
    again = {f"denoised, {name}": answer_of(result_of(kept, model, one, after)) for name, one in wanted.items()}
    return found | again, after[0]


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


def answer_of(result: PhaseResult) -> Answer:
    """Return the labels of a result as keys."""
    key = {phase.id: phase.key for phase in result.phases} | {OTHER_ID: "OTHER"}
    ids, inverse = np.unique(result.phase, return_inverse=True)
    names = np.array([key[int(number)] for number in ids], dtype=np.str_)
    return Answer(keys=names[inverse], confidence=result.confidence)
