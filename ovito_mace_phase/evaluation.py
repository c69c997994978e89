"""One frame through the network and the readout, in a worker thread, with logits kept for the next cheap change.

request -> logits (network; or from the cache) -> read_out -> phases, confidence, order parameters
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from . import model_store
from .classification import OTHER_ID, PhaseResult, ReadoutSettings, evaluate_logits, read_out
from .errors import InputError
from .frame import Frame
from .logit_cache import LogitCache, content_key
from .phases import Phase
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


def evaluate(request: Request, cache: LogitCache) -> Generator[str | float, None, Evaluation]:
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
    stored = cache.get(key)

    def work(progress: Progress, cancelled: Cancelled) -> tuple[npt.NDArray[np.float32], Evaluation]:
        model = model_store.get_model(request.model_file, request.device)
        logits = stored
        if logits is None:
            logits = evaluate_logits(
                request.frame,
                model,
                species_spec=request.species_spec,
                length_scale=request.length_scale,
                progress=progress,
                cancelled=cancelled,
            )
        result = read_out(logits, model, request.readout)
        keys = request.order_parameters
        scores = _columns(logits, model.phases, frequent_phases(result) if keys == "auto" else keys)
        return logits, Evaluation(result=result, order_parameters=scores, model_name=str(model.card.get("name", "")))

    message = f"Classifying {len(request.frame)} atoms" if stored is None else "Reading phases from stored scores"
    logits, evaluation = yield from run_in_worker(work, message)
    cache.put(key, logits)
    return evaluation


def frequent_phases(result: PhaseResult) -> tuple[str, ...]:
    """Return the keys of the phases of at least 1 % of the atoms, most frequent first, at most 8, without Other."""
    names = {phase.key for phase in result.phases if phase.id != OTHER_ID}
    enough = AUTO_FRACTION * len(result.phase)
    return tuple(key for key, count in result.counts().items() if key in names and count >= enough)[:AUTO_MOST]


def _columns(
    logits: npt.NDArray[np.float32], phases: tuple[Phase, ...], keys: tuple[str, ...]
) -> dict[str, npt.NDArray[np.float32]]:
    """Logits of some phases, whether or not they may be given as answers."""
    columns = {phase.key: column for column, phase in enumerate(phases)}
    for key in keys:
        if key not in columns:
            raise InputError(f"order_parameters: the model was not trained on the phase {key!r}")
    return {key: logits[:, columns[key]].copy() for key in keys}
