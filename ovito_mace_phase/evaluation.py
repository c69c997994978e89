"""One frame through the network and the readout, in a worker thread, with scores kept for the next cheap change.

request -> scores (network; or from the cache) -> read_out -> phases, confidence, order parameters
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from . import model_store
from .classification import (
    OTHER_ID,
    EvaluationSettings,
    PhaseResult,
    ReadoutSettings,
    evaluate_scores,
    read_out,
)
from .frame import Frame
from .score_cache import ScoreCache, content_key
from .scores import PhaseScores
from .worker import Cancelled, Progress, run_in_worker

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


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The answer: `order_parameters` are logits by key, each (n_atoms,) float32."""

    result: PhaseResult
    order_parameters: dict[str, npt.NDArray[np.float32]]
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
    stored = cache.get(key, wanted)

    def work(progress: Progress, cancelled: Cancelled) -> tuple[PhaseScores, Evaluation]:
        model = model_store.get_model(request.model_file, request.device)
        scores = stored
        if scores is None:
            scores = evaluate_scores(
                request.frame, model, wanted, progress=progress, status=progress, cancelled=cancelled
            )
        result = read_out(scores, model, request.readout)
        shown = frequent_phases(result) if request.order_parameters == "auto" else named
        columns = {key: scores.column(key).copy() for key in shown}
        name = str(model.card.get("name", ""))
        return scores, Evaluation(result=result, order_parameters=columns, model_name=name)

    message = f"Classifying {len(request.frame)} atoms" if stored is None else "Reading phases from stored scores"
    scores, evaluation = yield from run_in_worker(work, message)
    cache.put(key, wanted, scores)
    return evaluation


def frequent_phases(result: PhaseResult) -> tuple[str, ...]:
    """Return the keys of the phases of at least 1 % of the atoms, most frequent first, at most 8, without Other."""
    names = {phase.key for phase in result.phases if phase.id != OTHER_ID}
    enough = AUTO_FRACTION * len(result.phase)
    return tuple(key for key, count in result.counts().items() if key in names and count >= enough)[:AUTO_MOST]
