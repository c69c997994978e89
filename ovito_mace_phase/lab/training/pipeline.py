"""The whole training, in stages: start model -> head -> end-to-end -> classes once more -> calibration -> model file.

    new          a network of another shape with its head, from random weights (`new_run`); takes the place of the start
    head         a new class branch on features of the frozen network (`refit`); no density yet
    end-to-end   network and head together, with a density branch (`end_to_end`)
    classes      the class branch once more, on features of the network as it is then (`refit`)
    calibration  temperature, density threshold and floors, distances, step errors, trust in templates, scores

Calibration always comes last and writes the model. Each stage leaves its files in a folder of the run, and a stage that
is done is not done again; files that were made from something else are refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ovito_mace_phase.lab.data.structures import split_seed
from ovito_mace_phase.lab.identity import digest
from ovito_mace_phase.model.engine.evaluator import make_evaluator
from ovito_mace_phase.model.network.head import HeadConfig, PhaseHead
from ovito_mace_phase.model.registry import MODELS
from ovito_mace_phase.runtime.errors import InputError

from .calibrated_model import calibrate_and_save
from .class_head import ClassFitSettings, FeatureRows, train_classes
from .emphasis import phase_weights, with_logit_offsets
from .end_to_end import EndToEnd
from .first_stage import Sources, StartModel, TrainingData, chosen_phases, load_data, load_start
from .new_run import NewRun
from .settings import STAGES, PipelineSettings, Stage

log = logging.getLogger(__name__)
Progress = Callable[[str, float], None]


class _TimeIsUpError(Exception):
    """Raised between two pieces of work, which are stored."""


def train(
    sources: Sources, folder: Path, settings: PipelineSettings, progress: Progress, seconds: float = math.inf
) -> Path | None:
    """Train a model and write it; a run that was stopped goes on from what the folder holds.

    Parameters
    ----------
    sources : Sources
    folder : Path
        Holds the files of the stages, and the model in the end.
    settings : PipelineSettings
    progress : callable
        Called with the stage and the fraction of it that is done.
    seconds : float
        Time after which to stop, with what is done stored; calibration is not stopped.

    Returns
    -------
    Path or None
        The model, without suffix; None when the time was up before.

    Raises
    ------
    InputError
        When files are missing, stages do not fit the start, or the folder holds files of another run.
    """
    started = time.time()
    folder.mkdir(parents=True, exist_ok=True)
    start = load_start(sources.start)
    stages = checked_stages(settings.stages, start)
    phases = chosen_phases(sources.phases, None if "new" in stages else start)
    given = load_data(sources, phases, split_seed(start.card) if "training" in start.card else settings.seed)
    deadline = started + seconds

    def report(stage: str, done: float) -> None:
        progress(stage, done)
        if time.time() > deadline:
            raise _TimeIsUpError

    try:
        model = _Stages(start, given, settings, folder, report)
        for stage in stages:
            model.go_through(stage, deadline)
    except _TimeIsUpError:
        return None
    return calibrate_and_save(model.result(), given, sources, folder, settings, started, progress)


def checked_stages(stages: Sequence[str], start: StartModel) -> tuple[Stage, ...]:
    """Return the stages to go through, in their order; InputError where they do not fit the start model."""
    default = STAGES[1:] if start.head is None else STAGES[2:]
    wanted = tuple(stage for stage in STAGES if stage in (stages or default))
    unknown = set(stages) - set(STAGES)
    if unknown:
        raise InputError(f"there is no stage {', '.join(sorted(unknown))}; the stages are {', '.join(STAGES)}")
    if {"new", "head"} <= set(wanted):
        raise InputError("the stage 'new' makes a head along with its network; leave the stage 'head' out")
    if start.head is None and wanted[0] not in ("new", "head"):
        raise InputError(
            f"the stage {wanted[0]!r} needs a model with a head, but the start is a converted network; "
            "begin with the stage 'head', or with 'new'"
        )
    return wanted


class _Stages:
    """Network and head on their way through the stages."""

    head: PhaseHead

    def __init__(
        self, start: StartModel, given: TrainingData, settings: PipelineSettings, folder: Path, progress: Progress
    ) -> None:
        self.start, self.given, self.settings, self.folder, self.progress = start, given, settings, folder, progress
        self.network, self.config = start.tensors, start.config
        self.source = given.source(start.n_species)
        self.common = [column for column in range(len(given.phases)) if self.source.is_common(column)]
        if start.head is not None:
            self.head = start.head

    def go_through(self, stage: Stage, deadline: float) -> None:
        """Take network and head through one stage."""
        if stage == "head":
            self.head = self._fit(stage, self.settings.head)
        elif stage == "classes" and self.settings.classes.n_parts:
            self.head = with_logit_offsets(self._fit(stage, self.settings.classes), self.given.phases)
        elif stage == "new":
            new = self._new_run()
            if not new.run(self.folder / "new.checkpoint", deadline - time.time(), self._teller("new network")):
                raise _TimeIsUpError
            self.network, self.config, self.head = new.result()
        elif stage == "end-to-end":
            run = EndToEnd(self.network, self.config, self.head, self.source, self.settings.training)
            checkpoint = self.folder / "end_to_end.checkpoint"
            if not run.run(checkpoint, deadline - time.time(), self._teller("end to end")):
                raise _TimeIsUpError
            self.network, self.head = run.result()

    def _new_run(self) -> NewRun:
        """Return a run from random weights, or from those of the start; a start of low degree lacks the basis."""
        if not self.settings.grown:
            return NewRun(self.source, self.network, self.config, self.settings.new)
        if self.head is None:
            raise InputError("the start has no head to go on from; leave 'grown' out, or give a trained model")
        basis = load_start(MODELS["mace-phase-6"])
        begin = (self.network, self.config, self.head)
        return NewRun(self.source, basis.tensors, basis.config, self.settings.new, begin=begin)

    def result(self) -> StartModel:
        """Return what came out, with the card of the start; after the stage 'new' nothing of its weights is left."""
        card = dict(self.start.card)
        if "new" in self.settings.stages:
            card.pop("original", None)
        return StartModel(tensors=self.network, config=self.config, head=self.head, card=card)

    def _teller(self, stage: str) -> Callable[[float, str], None]:
        def tell(done: float, losses: str) -> None:
            with contextlib.suppress(_TimeIsUpError):  # the run looks at the time itself, and stores its state first
                self.progress(f"{stage}, {losses}", done)

        return tell

    def _fit(self, stage: Stage, settings: ClassFitSettings) -> PhaseHead:
        new = stage == "head"
        weights = phase_weights(self.start.card, self.given.phases, settings.emphasis)
        evaluator = make_evaluator(self.network, self.config, None if new else self.head)
        mix = self.settings.mix
        mix = dataclasses.replace(mix, pool=dataclasses.replace(mix.pool, uses=settings.uses))
        floor = None if new else self.head.floor
        rows = FeatureRows(
            evaluator=evaluator,
            draw=lambda rng: self.source.draw_any(mix, rng, weights),
            stream=lambda seed, number: self.source.stream(mix, (seed, 2 + new, number), weights),
            identity={
                "data": self.source.digest,
                "start_model": digest([self.network, self.config, floor]),
                "samples": digest([mix, weights]),
            },
        )
        shape = HeadConfig(
            n_features=evaluator.n_features,
            n_phases=len(self.given.phases),
            n_hidden=self.settings.n_hidden,
            dropout=self.settings.dropout,
        )
        report = partial(self.progress, "new head" if new else "classes once more")
        return train_classes(rows, shape if new else self.head, settings, self.folder / stage, report, self.common)
