"""From a model with a head to one that is a density: end-to-end training, calibration, scores, model file.

start model -> `EndToEnd` -> temperature, density threshold, distances -> scores on held-out samples -> file and record
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ovito_mace_phase.lab.calibration.accuracy import part_scores
from ovito_mace_phase.lab.calibration.density_floors import density_floors
from ovito_mace_phase.lab.calibration.distances import fit_distances
from ovito_mace_phase.lab.calibration.step_errors import score_errors
from ovito_mace_phase.lab.data.structures import split_seed
from ovito_mace_phase.lab.samples.sampler import Sample, SampleLaw
from ovito_mace_phase.lab.samples.snapshots import Snapshot, strained_snapshot
from ovito_mace_phase.lab.samples.source import BACKGROUND, SampleSource
from ovito_mace_phase.model.engine.evaluator import Evaluator, make_evaluator
from ovito_mace_phase.model.network.head import PhaseHead
from ovito_mace_phase.model.network.model_file import NetworkConfig, load_model, save_model
from ovito_mace_phase.phases import Phase

from .class_head import RefitSettings, refit_classes
from .emphasis import as_rare_as_met, emphasis
from .end_to_end import EndToEnd, EndToEndSettings
from .feature_rows import Shard, rows_of
from .first_stage import Sources, TrainingData, load_data, record, untested
from .fit import calibrate

log = logging.getLogger(__name__)
MARGIN = 1.0
_TOGETHER = 24
_CHUNK = 8192


@dataclass(frozen=True, kw_only=True)
class WholeSettings:
    """What decides the model besides the training itself.

    Attributes
    ----------
    training : EndToEndSettings
    refit : RefitSettings
        Of the classes, afterwards.
    rejected : float
        Share of the atoms of a phase, at the largest noise or at the melting temperature, that may fall below its
        density floor and so become Other; and of the crystal atoms of any source below the threshold for all phases.
    hot_weight : float
        Of the hot crystals of the training part in the fit of the temperature.
    per_phase, keep, background : int
        Samples of every phase, atoms of each and samples of background in each part that is scored.
    name : str
    """

    training: EndToEndSettings
    refit: RefitSettings = field(default_factory=RefitSettings)
    rejected: float = 0.005
    hot_weight: float = 1.0
    per_phase: int = 9
    keep: int = 24
    background: int = 300
    name: str = "mace-phase"


def train_whole(
    sources: Sources,
    folder: Path,
    settings: WholeSettings,
    progress: Callable[[str, float], None],
    seconds: float = math.inf,
) -> Path | None:
    """Train a model end to end from `sources.backbone`, a model with a head, and write it.

    Parameters
    ----------
    sources : Sources
    folder : Path
        Holds checkpoint and model; a run that was stopped goes on from it.
    settings : WholeSettings
    progress : callable
        Called with the stage and the fraction of it that is done.
    seconds : float
        Time after which to stop, with a checkpoint.

    Returns
    -------
    Path or None
        The model, without suffix; None when the time was up before the steps were done.
    """
    started = time.time()
    folder.mkdir(parents=True, exist_ok=True)
    tensors, start_card = load_model(sources.backbone)
    given = load_data(sources, split_seed(start_card))  # or systems tested then would be trained on now
    config = NetworkConfig.from_card(start_card)
    head = PhaseHead.from_tensors(tensors, start_card)
    network = {name: array for name, array in tensors.items() if not name.startswith("head.")}
    n_carriers = len(config.elements)
    source = training_source(given, n_carriers)
    run = EndToEnd(network, config, head, source, settings.training)
    if not run.run(folder / "end_to_end.checkpoint", seconds, lambda done, text: progress(text, done)):
        return None
    return finish(run, given, sources, start_card, folder, settings, started, progress)


def training_source(given: TrainingData, n_carriers: int) -> SampleSource:
    """Return where the samples of the training part come from."""
    return SampleSource(
        given.phases,
        given.structures["train"],
        given.melts["train"],
        n_carriers,
        given.dynamics,
        given.unlisted["train"],
    )


def finish(
    run: EndToEnd,
    given: TrainingData,
    sources: Sources,
    start_card: dict[str, Any],
    folder: Path,
    settings: WholeSettings,
    started: float,
    progress: Callable[[str, float], None],
) -> Path:
    """Calibrate and score what a run has come to, and write the model."""
    network, head = run.result()
    config = run.model.config
    evaluator = make_evaluator(network, config, head)
    if settings.refit.n_parts:
        run.emphasis = emphasis(start_card, given.phases, settings.refit.emphasis)
        head = refit_classes(
            evaluator,
            head,
            run.draw,
            settings.refit,
            folder / "refit",
            lambda done: progress("classes once more", done),
            [column for column in range(len(given.phases)) if run.source.is_common(column)],
        )
        head = as_rare_as_met(head, given.phases)
        evaluator = make_evaluator(network, config, head)
    rng = np.random.default_rng([settings.training.seed, 1])
    plain = dataclasses.replace(
        settings.training.law, hot_share=0.0, any_carriers=-1.0, vacancies=0.0, surfaces=0.0, correlated=0.0
    )
    parts: dict[str, tuple[npt.NDArray[np.float32], Shard]] = {}
    for part in ("validation", "test", "noise"):
        structures = untested(given) if part == "noise" else given.structures[part]  # type: ignore[index]
        melts = [] if part == "noise" else given.melts[part]  # type: ignore[index]
        if structures:
            source = SampleSource(given.phases, structures, melts, evaluator.n_carriers)
            jobs = [phase for phase in source.present for _ in range(settings.per_phase)]
            jobs += [] if part == "noise" else [BACKGROUND] * settings.background
            drawn = [source.draw(jobs[k], plain, 0.0, rng) for k in rng.permutation(len(jobs))]
            parts[part] = rows(evaluator, head, drawn, settings.keep, rng)
        progress(f"scores, {part}", len(parts) / 3)
    hot = hot_rows(evaluator, head, given.dynamics, given.phases, plain, rng)
    validation = parts["validation"]
    calibration = calibrate(
        (validation[0], validation[1].label), [hot] if hot else [], settings.rejected, hot_weight=settings.hot_weight
    )
    known = (evaluator, head, given.phases, given.structures["train"], rng)
    distances = fit_distances(*known)
    floors = lowered(density_floors(*known, rejected=settings.rejected), given.phases, hot, settings.rejected)
    calibration = dataclasses.replace(calibration, floors=floors)
    card = dict(start_card) | {
        "name": settings.name,
        "network": config.to_card(),
        "head": dataclasses.asdict(head.config),
        "noise_scale": settings.training.noise_scale,
        "score_errors": score_errors(evaluator, given.phases, settings.training.noise_scale, given.structures, rng),
        "calibration": {
            "temperature": calibration.temperature,
            "log_density": calibration.log_density,
            "rejected": settings.rejected,
            "floors": {key: round(floor, 4) for key, floor in floors.items()},
        },
        "distances": distances,
        "training": record(given, settings, sources.data, started) | {"start": start_card.get("training")},
        "scores": {
            part: part_scores(logits, shard, given.phases, calibration.of(given.phases))
            for part, (logits, shard) in parts.items()
        },
    }
    path = folder / "mace_phase"
    save_model(path, {**network, **head.to_tensors()}, card)
    return path


def rows(
    evaluator: Evaluator, head: PhaseHead, drawn: Sequence[tuple[Sample, int]], keep: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], Shard]:
    """Return logits (n, n_phases), and label, noise and sample of each row, of some atoms of each sample."""
    logits, fields = [], []
    for start in range(0, len(drawn), _TOGETHER):
        found = rows_of(evaluator, drawn[start : start + _TOGETHER], keep, rng, start, np.float32)
        with torch.inference_mode():
            logits.append(head(torch.from_numpy(found.pop("features"))).numpy())
        fields.append(found)
    joined = {name: np.concatenate([one[name] for one in fields]) for name in fields[0]}
    return np.concatenate(logits), Shard(features=np.zeros((0, 0), dtype=np.float16), **joined)


def hot_rows(
    evaluator: Evaluator,
    head: PhaseHead,
    snapshots: Sequence[Snapshot],
    phases: Sequence[Phase],
    law: SampleLaw,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int16]] | None:
    """Return logits and labels of some atoms of every snapshot."""
    column = {phase.key: k for k, phase in enumerate(phases)}
    drawn = [
        (strained_snapshot(one, law, evaluator.n_carriers, rng), 0 if one.phase is None else column[one.phase])
        for one in snapshots
    ]
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
