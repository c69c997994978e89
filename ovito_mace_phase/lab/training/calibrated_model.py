"""The end of a training: a trained network and head are calibrated, scored and written as a model file.

temperature, density threshold and floors, distances, step errors, scores of every part, trust in templates
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

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
from ovito_mace_phase.lab.data.structures import Part
from ovito_mace_phase.lab.features.rows import TOGETHER, Shard, rows_of
from ovito_mace_phase.lab.samples.sampler import Sample, SampleSettings
from ovito_mace_phase.lab.samples.snapshots import strained_snapshot
from ovito_mace_phase.lab.samples.source import DRAW_BACKGROUND, SampleSource
from ovito_mace_phase.model.engine.evaluator import Evaluator, make_evaluator
from ovito_mace_phase.model.network.head import PhaseHead
from ovito_mace_phase.model.network.model_file import save_model
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.phases import Phase

from .first_stage import SLOT_ELEMENTS, Sources, StartModel, TrainingData, record
from .settings import PipelineSettings

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
Progress = Callable[[str, float], None]


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
