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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from ovito_mace_phase.lab.calibration.accuracy import NOISE_BINS, part_scores
from ovito_mace_phase.lab.calibration.density_floors import density_floors
from ovito_mace_phase.lab.calibration.distances import fit_distances
from ovito_mace_phase.lab.calibration.fit_trust import MIX, fit_trust
from ovito_mace_phase.lab.calibration.step_errors import score_errors
from ovito_mace_phase.lab.calibration.temperature import calibrate
from ovito_mace_phase.lab.data.npz import Snapshot
from ovito_mace_phase.lab.data.structures import Part, split_seed
from ovito_mace_phase.lab.features.rows import TOGETHER, Shard, rows_of
from ovito_mace_phase.lab.identity import digest
from ovito_mace_phase.lab.samples.sampler import Sample, SampleSettings
from ovito_mace_phase.lab.samples.snapshots import strained_snapshot
from ovito_mace_phase.lab.samples.source import DRAW_BACKGROUND, SampleMix, SampleSource
from ovito_mace_phase.model.engine.evaluator import Evaluator, make_evaluator
from ovito_mace_phase.model.network.head import HeadConfig, PhaseHead
from ovito_mace_phase.model.network.model_file import save_model
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.model.registry import MODELS
from ovito_mace_phase.phases import Phase
from ovito_mace_phase.runtime.errors import InputError

from .class_head import ClassFitSettings, FeatureRows, train_classes
from .emphasis import phase_weights, with_logit_offsets
from .end_to_end import EndToEnd, EndToEndSettings
from .first_stage import SLOT_ELEMENTS, Sources, StartModel, TrainingData, chosen_phases, load_data, load_start, record
from .new_run import NewRun, NewRunSettings

log = logging.getLogger(__name__)
Stage = Literal["new", "head", "end-to-end", "classes"]
STAGES: tuple[Stage, ...] = get_args(Stage)
Progress = Callable[[str, float], None]
MARGIN = 1.0
_PROVENANCE = {
    "licence": "MIT (code, MACE-MP-0), CC-BY-4.0 (training data: Materials Project)",
    "citation": [
        "Batatia et al., arXiv:2401.00096 (MACE-MP-0)",
        "Jain et al., APL Materials 1, 011002 (2013) (Materials Project)",
        "Kwon et al., arXiv:2512.11077 (method)",
    ],
    "carriers": list(SLOT_ELEMENTS),
}
_OF_A_DENSITY = ("noise_scale", "distances", "score_errors")
"""Entries of a card that a start model may have and its successor need not."""


@dataclass(frozen=True, kw_only=True)
class PipelineSettings:
    """What decides the model besides the data and the start.

    Attributes
    ----------
    stages : tuple of 'new', 'head', 'end-to-end', 'classes'
        Stages to go through; empty: all that the start needs, 'head' for a converted network alone.
    new : NewRunSettings
        Of the stage 'new'.
    grown : bool
        Whether that begins with the weights of the start, whose degree may be lower, not with random ones.
    n_hidden, dropout : int, float
        Width of the hidden layers of a new head, and its dropout in the first fit.
    head, classes : ClassFitSettings
        Of the first and of the last fit of the class branch.
    training : EndToEndSettings
        Its `mix` says how samples are drawn in all stages.
    rejected : float
        Share of the atoms of a phase, at the largest noise or at the melting temperature, that may fall below its
        density floor and so become Other; and of the crystal atoms of any source below the threshold for all phases.
    hot_weight : float
        Weight of the hot crystals of the training part in the fit of the temperature.
    per_phase, keep, background : int
        Samples of every phase, atoms of each and samples of background in each part that is scored.
    trust_samples : int
        Samples that the trust in fitted templates is learned from (`fit_trust`); 0: that of mace-phase-6.
    seed : int
        Of the split, where the start does not have one.
    name : str
    """

    stages: tuple[Stage, ...] = ()
    new: NewRunSettings = field(default_factory=NewRunSettings)
    grown: bool = False
    n_hidden: int = 512
    dropout: float = 0.1
    head: ClassFitSettings = field(
        default_factory=lambda: ClassFitSettings(
            n_samples=6000, keep=24, passes=8, first_rate=2e-3, rate=2e-3, averaged=0.5, emphasis=0.0
        )
    )
    training: EndToEndSettings = field(default_factory=EndToEndSettings)
    classes: ClassFitSettings = field(default_factory=ClassFitSettings)
    rejected: float = 0.005
    hot_weight: float = 1.0
    per_phase: int = 9
    keep: int = 24
    background: int = 300
    trust_samples: int = 3000
    seed: int = 0
    name: str = "mace-phase"

    @property
    def mix(self) -> SampleMix:
        """How samples are drawn: that of the stage that made the network."""
        return self.new.mix if "new" in self.stages else self.training.mix


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


def calibrate_and_save(
    trained: StartModel,
    given: TrainingData,
    sources: Sources,
    folder: Path,
    settings: PipelineSettings,
    started: float,
    progress: Progress,
) -> Path:
    """Calibrate and score a trained network and head, and write the model."""
    head = trained.head
    assert head is not None
    evaluator = make_evaluator(trained.tensors, trained.config, head)
    rng = np.random.default_rng([settings.training.seed, 1])
    held_out = SampleSettings.held_out(NOISE_BINS[0], NOISE_BINS[-1])
    parts: dict[str, tuple[npt.NDArray[np.float32], Shard]] = {}
    for part in ("validation", "test", "noise"):
        drawn = held_out_samples(given, part, held_out, settings, evaluator.n_slots, rng)
        if drawn:
            parts[part] = rows(evaluator, head, drawn, settings.keep, rng)
        progress(f"scores, {part}", len(parts) / 3)
    hot = hot_rows(evaluator, head, given.dynamics, given.phases, held_out, rng)
    validation = parts["validation"]
    calibration = calibrate(
        (validation[0], validation[1].label), [hot] if hot else [], settings.rejected, hot_weight=settings.hot_weight
    )
    card = {name: value for name, value in (_PROVENANCE | trained.card).items() if name not in _OF_A_DENSITY}
    entry: dict[str, Any] = {
        "temperature": calibration.temperature,
        "log_density": calibration.log_density,
        "rejected": settings.rejected,
    }
    if head.config.n_density:  # without it logP is no density: nothing to denoise with, no distances
        known = (evaluator, head, given.phases, given.structures["train"], rng)
        scale = settings.training.noise_scale
        card |= {"noise_scale": scale, "distances": fit_distances(*known)}
        floors = lowered(density_floors(*known, rejected=settings.rejected), given.phases, hot, settings.rejected)
        calibration = dataclasses.replace(calibration, floors=floors)
        entry["floors"] = {key: round(floor, 4) for key, floor in floors.items()}
        card["score_errors"] = score_errors(evaluator, given.phases, scale, given.structures, rng)
    card |= {
        "name": settings.name,
        "network": trained.config.to_card(),
        "head": dataclasses.asdict(head.config),
        "phases": [phase.key for phase in given.phases],
        "calibration": entry,
        "training": record(given, settings, sources.data, started) | {"start": trained.card.get("training")},
        "scores": {
            part: part_scores(logits, shard, given.phases, calibration.of(given.phases))
            for part, (logits, shard) in parts.items()
        },
    }
    path, tensors = folder / "mace_phase", {**trained.tensors, **head.to_tensors()}
    save_model(path, tensors, card)
    if settings.trust_samples:
        progress("trust in templates", 0.0)
        source = given.source(evaluator.n_slots, "validation")
        mix = dataclasses.replace(MIX, kinds=MIX.kinds if settings.mix.kinds else 0.0)
        trust = fit_trust(PhaseModel.load(path, device="cpu"), source, settings.trust_samples, rng, mix)
        entry["fitted"] = dataclasses.asdict(trust)
        save_model(path, tensors, card)
    return path


def held_out_samples(
    given: TrainingData,
    part: str,
    sampling: SampleSettings,
    settings: PipelineSettings,
    n_slots: int,
    rng: np.random.Generator,
) -> list[tuple[Sample, int]]:
    """Return samples of every phase and of background of a part of the split, in random order.

    The part "noise" is the phases that have no structures to test: known geometry, fresh noise.
    """
    key: Part = "validation" if part == "validation" else "test"
    structures = given.untested() if part == "noise" else given.structures[key]
    if not structures:
        return []
    source = SampleSource(given.phases, structures, [] if part == "noise" else given.melts[key], n_slots)
    jobs = [phase for phase in source.present for _ in range(settings.per_phase)]
    jobs += [] if part == "noise" else [DRAW_BACKGROUND] * settings.background
    return [source.draw(jobs[k], sampling, 0.0, rng) for k in rng.permutation(len(jobs))]


def rows(
    evaluator: Evaluator, head: PhaseHead, drawn: Sequence[tuple[Sample, int]], keep: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], Shard]:
    """Return logits (n, n_phases), and label, noise and sample of each row, of some atoms of each sample."""
    logits, fields = [], []
    for start in range(0, len(drawn), TOGETHER):
        found = rows_of(evaluator, drawn[start : start + TOGETHER], keep, rng, start)
        with torch.inference_mode():
            logits.append(head(torch.from_numpy(found["features"])).numpy())
        fields.append(found | {"features": np.zeros((0, 0), dtype=np.float16)})
    return np.concatenate(logits), Shard.joined(fields)


def hot_rows(
    evaluator: Evaluator,
    head: PhaseHead,
    snapshots: Sequence[Snapshot],
    phases: Sequence[Phase],
    sampling: SampleSettings,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int16]] | None:
    """Return logits and labels of some atoms of every snapshot."""
    column = {phase.key: k for k, phase in enumerate(phases)}
    drawn = [(strained_snapshot(one, sampling, evaluator.n_slots, rng), column[one.key]) for one in snapshots]
    if not drawn:
        return None
    logits, shard = rows(evaluator, head, drawn, 100, rng)
    return logits, shard.label


def lowered(
    floors: Mapping[str, float],
    phases: Sequence[Phase],
    hot: tuple[npt.NDArray[np.float32], npt.NDArray[np.int16]] | None,
    rejected: float,
) -> dict[str, float]:
    """Return density floors that hot crystals of these phases do not fall below by more than the share `rejected`.

    All are lower by a margin: members of a phase that differ from those trained on are less dense.
    """
    out = {key: floor - MARGIN for key, floor in floors.items()}
    if hot is None:
        return out
    logits, label = hot
    top = logits.max(axis=1)
    density = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    for column in np.unique(label[label > 0]):
        key = phases[column].key
        if key in out:
            out[key] = min(out[key], float(np.quantile(density[label == column], rejected)) - MARGIN)
    return out
