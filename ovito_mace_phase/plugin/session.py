"""One frame through the network and the readout, in a worker thread, with scores kept for the next cheap change.

request -> scores (network; or from the cache) -> read_out -> phases, confidence, order parameters
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.bonds import Bonds
from ovito_mace_phase.atoms.frame import Frame, make_frame
from ovito_mace_phase.atoms.length_scale import local_spacing
from ovito_mace_phase.classification.classify import (
    FORWARD_SHARE,
    OTHER_ID,
    EvaluationSettings,
    PhaseResult,
    ReadoutSettings,
    denoised_scores,
    evaluate_scores,
    in_parts,
    read_out,
    units_of,
)
from ovito_mace_phase.classification.denoise import Denoised
from ovito_mace_phase.classification.readout.distances import distances
from ovito_mace_phase.classification.readout.frame_prior import frame_prior
from ovito_mace_phase.classification.readout.labels import label
from ovito_mace_phase.classification.readout.local_prior import local_labels
from ovito_mace_phase.classification.readout.logits import PhaseScores
from ovito_mace_phase.model import store as model_store
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.runtime.wait_for import wait_for
from ovito_mace_phase.runtime.worker import Cancelled, Progress, run_in_worker

from .logit_cache import ScoreCache, content_key

_Scores = tuple[PhaseScores, Denoised | None]
AUTO_FRACTION = 0.01
AUTO_MOST = 8


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of one frame.

    Attributes
    ----------
    frame : Frame
    species_spec : str
        See `species.merge_species`.
    length_scale : float or 'auto'
        See `classify.classify`.
    model_file, device : str
        See `model_store.get_model`.
    readout : ReadoutSettings
    denoise_steps : int
        0: no denoising.
    distances : bool
        Also give the distance to the ideal crystal for every order parameter.
    order_parameters : tuple of str or 'auto'
        Keys; 'auto' takes the phases of at least 1 % of the atoms, at most 8.
    """

    frame: Frame
    species_spec: str
    length_scale: float | Literal["auto"]
    model_file: str
    device: str
    readout: ReadoutSettings
    order_parameters: tuple[str, ...] | Literal["auto"]
    denoise_steps: int = 0
    distances: bool = False


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The answer: `order_parameters` are logits by key, `distances` lengths by key, each (n_atoms,) float32."""

    result: PhaseResult
    order_parameters: dict[str, npt.NDArray[np.float32]]
    distances: dict[str, npt.NDArray[np.float32]]
    model_name: str


def evaluate(request: Request, cache: ScoreCache) -> Generator[str | float, None, Evaluation]:
    """Evaluate a request in one worker thread; yield status texts and fractions done.

    Raises
    ------
    InputError, ModelFileError
        What the layers below raise.
    """
    times = model_store.file_times(request.model_file)
    key = content_key(
        request.frame, request.species_spec, request.length_scale, request.model_file, times, request.device
    )
    named = () if request.order_parameters == "auto" else request.order_parameters
    wanted = EvaluationSettings(
        species_spec=request.species_spec,
        length_scale=None if request.length_scale == "auto" else request.length_scale,
        phases=request.readout.phases,
        order_parameters=named,
    )
    after_key = f"{key} after {request.denoise_steps} steps"
    stored = cache.get(key, wanted)
    stored_after = cache.get(after_key, wanted) if request.denoise_steps else None
    stored_factor = cache.factor(key)

    def work(progress: Progress, cancelled: Cancelled) -> tuple[_Scores, _Scores | None, float, Evaluation]:
        model = wait_for(
            ("model", request.model_file, times, request.device),
            lambda: model_store.get_model(request.model_file, request.device),
            cancelled,
        )
        wait_for("kernels around the network", compile_kernels, cancelled)
        first, second = in_parts(progress, FORWARD_SHARE if request.denoise_steps else 1.0)
        before, factor = stored, stored_factor
        if before is None:
            units = units_of(request.frame, model, wanted, cancelled)
            factor = units.factor
            scores = evaluate_scores(
                request.frame, model, wanted, units=units, progress=first, status=progress, cancelled=cancelled
            )
            before = scores, None
        result = read_out(before[0], model, request.readout)
        after = stored_after
        if request.denoise_steps and after is None:
            after = denoised_scores(
                request.frame,
                model,
                wanted,
                request.denoise_steps,
                given=before[0],
                progress=second,
                status=progress,
                cancelled=cancelled,
            )
        if after is not None:
            result = dataclasses.replace(read_out(after[0], model, request.readout), denoised=after[1], before=result)
        shown = frequent_phases(result) if request.order_parameters == "auto" else named
        columns = {key: (after or before)[0].column(key).copy() for key in shown}
        evaluation = Evaluation(
            result=result,
            order_parameters=columns,
            distances=distances(columns, model, factor) if request.distances else {},
            model_name=str(model.card.get("name", "")),
        )
        return before, after, factor, evaluation

    n_atoms = len(request.frame)
    message = f"Denoising {n_atoms} atoms" if request.denoise_steps else f"Classifying {n_atoms} atoms"
    if stored is not None and (stored_after is not None or not request.denoise_steps):
        message = "Reading phases from stored scores"
    before, after, factor, evaluation = yield from run_in_worker(work, message)
    cache.put(key, wanted, *before, factor)
    if after is not None:
        cache.put(after_key, wanted, *after, factor)
    return evaluation


@lru_cache(maxsize=1)
def compile_kernels() -> None:
    """Compile or load what measures lengths and reads scores out; the model does so for the network."""
    frame = make_frame(np.indices((2, 2, 2)).reshape(3, -1).T, None, np.eye(3) * 2.0, True)
    local_spacing(frame)
    logits = np.zeros((len(frame), 2), dtype=np.float32)
    label(logits, Calibration(log_density=0.0), frame_prior(logits, 1.0), 0.0, None)
    alone = Bonds(order=np.zeros(1, np.int32), offsets=np.zeros(2, np.int64), neighbour=np.zeros(0, np.int32))
    local_labels(np.zeros((1, 2), dtype=np.int16), np.ones((1, 2), dtype=np.float32), alone)


def frequent_phases(result: PhaseResult) -> tuple[str, ...]:
    """Return the keys of the phases of at least 1 % of the atoms, most frequent first, at most 8, without Other."""
    names = {phase.key for phase in result.phases if phase.id != OTHER_ID}
    enough = AUTO_FRACTION * len(result.phase)
    return tuple(key for key, count in result.counts().items() if key in names and count >= enough)[:AUTO_MOST]
