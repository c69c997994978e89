"""The whole training of a phase head, in stages that each leave a file and are skipped when it exists.

labelled structures, reference cells, ices, melts -> split -> shards -> head -> calibration -> model file and record
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import logging
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.lab.calibration.accuracy import part_scores
from ovito_mace_phase.lab.data.ices import ice_structures
from ovito_mace_phase.lab.data.structures import (
    CrystalStructure,
    Part,
    load_labelled,
    load_unlisted,
    part_of,
    reference_structures,
    split,
)
from ovito_mace_phase.lab.samples.disorder import load_melts
from ovito_mace_phase.lab.samples.snapshots import Snapshot, read_snapshots
from ovito_mace_phase.model.engine.evaluator import Evaluator, make_evaluator
from ovito_mace_phase.model.network.head import HeadConfig, HeadKind
from ovito_mace_phase.model.network.model_file import NetworkConfig, load_model, save_model
from ovito_mace_phase.model.reference.mace.convert import select_elements
from ovito_mace_phase.phases import Phase, phase_table
from ovito_mace_phase.runtime.errors import InputError

from .dynamics import dynamics_shard
from .feature_rows import Shard, ShardLaw, ShardMaker
from .fit import FitSettings, calibrate, fit_head, shard_logits
from .whitening import Whitening, fit_whitening, fold

log = logging.getLogger(__name__)
CARRIERS = (8, 14, 29, 12, 22, 17)
"""Rows of MACE-MP-0 that serve as anonymous species: O, Si, Cu, Mg, Ti, Cl."""
ShardName = Part | Literal["noise"]
"""Parts of the split, and the structures of phases that have none to test: known geometry, fresh noise."""
Progress = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Everything that decides the weights, besides the data.

    Attributes
    ----------
    n_shards : int
        Training shards; each is one afresh drawn set of samples.
    n_dynamics : int
        Training shards drawn from the molecular dynamics snapshots, where there are any.
    head : 'mlp' or 'metric'
    n_hidden : int
    rejected : float
        Share of crystal atoms, held-out or hot, whose density may fall below the threshold for Other.
    """

    n_shards: int = 16
    n_dynamics: int = 4
    law: ShardLaw = field(default_factory=ShardLaw)
    head: HeadKind = "mlp"
    n_hidden: int = 512
    dropout: float = 0.1
    fit: FitSettings = field(default_factory=FitSettings)
    rejected: float = 0.001
    seed: int = 0
    name: str = "mace-phase"


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where training reads from.

    Attributes
    ----------
    data : Path
        Labelled structures, npz.
    backbone : Path
        Converted MACE network (`ovito-mace-phase convert`).
    melts, dynamics : Path or None
        Folders of snapshots: what is no crystal, and hot crystals of known phase.
    """

    data: Path
    backbone: Path
    melts: Path | None = None
    dynamics: Path | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Structures, background and crystals of prototypes that are no class of each part of the split; the classes."""

    phases: tuple[Phase, ...]
    structures: dict[Part, list[CrystalStructure]]
    melts: dict[Part, list[list[Frame]]]
    dynamics: list[Snapshot]
    unlisted: dict[Part, list[list[CrystalStructure]]]
    seed: int


def load_data(sources: Sources, seed: int) -> TrainingData:
    """Read everything there is to train on and split it by chemical system."""
    phases = tuple(phase for phase in phase_table() if phase.key == "OTHER" or phase.reference is not None)
    labelled = load_labelled(sources.data, phases)
    parts = split(labelled, reference_structures(phases, labelled), len(phases), seed)
    for part, structures in ice_structures(phases).items():
        parts[part].extend(structures)
    background: dict[Part, list[list[Frame]]] = {"train": [], "validation": [], "test": []}
    for system, frames in load_melts(sources.melts).items():
        background[part_of(f"melt {system.split('_')[1]}", seed)].append(frames)
    snapshots = [] if sources.dynamics is None else read_snapshots(sources.dynamics)
    unlisted = load_unlisted(sources.data, phases, seed)
    return TrainingData(
        phases=phases, structures=parts, melts=background, dynamics=snapshots, unlisted=unlisted, seed=seed
    )


def carrier_network(backbone: Path) -> tuple[Evaluator, dict[str, Any], NetworkConfig, dict[str, Any]]:
    """Read a converted network and keep the rows of the carriers; returns network, float32 tensors, config and card."""
    tensors, card = load_model(backbone)
    tensors, config = select_elements(tensors, NetworkConfig.from_card(card), CARRIERS)
    tensors = {name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in tensors.items()}
    return make_evaluator(tensors, config, None), tensors, config, card


def train(sources: Sources, folder: Path, settings: TrainSettings, progress: Progress) -> Path:
    """Train a head and write the model.

    Parameters
    ----------
    sources : Sources
    folder : Path
        Holds shards, checkpoint, log and the model; a run that was stopped goes on from it.
    settings : TrainSettings
    progress : callable
        Called with the stage and the fraction of it that is done.

    Returns
    -------
    Path
        The model, without suffix.
    """
    started = time.time()
    folder.mkdir(parents=True, exist_ok=True)
    given = load_data(sources, settings.seed)
    network, tensors, config, network_card = carrier_network(sources.backbone)
    shards = make_shards(given, network, folder, settings, progress)
    whitening = fit_whitening(shards["train"])
    head_config = HeadConfig(
        kind=settings.head,
        n_features=whitening.matrix.shape[1],
        n_phases=len(given.phases),
        n_hidden=settings.n_hidden,
        dropout=settings.dropout,
    )
    head = fit_head(
        head_config,
        _whitened(shards["train"], whitening, progress),
        settings.fit,
        folder / "head.checkpoint",
        lambda done, loss: progress(f"fit the head, loss {loss:.3f}", done),
    )
    head = fold(head, whitening)
    hot = [path for path in shards["train"] if path.name.startswith("dynamics")]
    validation, *warm = [
        (shard_logits(head, shard), shard.label) for shard in map(Shard.load, (shards["validation"][0], *hot))
    ]
    calibration = calibrate(validation, warm, settings.rejected)
    card = {
        "name": settings.name,
        "licence": "MIT (code, MACE-MP-0), CC-BY-4.0 (training data: Materials Project)",
        "citation": [
            "Batatia et al., arXiv:2401.00096 (MACE-MP-0)",
            "Jain et al., APL Materials 1, 011002 (2013) (Materials Project)",
            "Kwon et al., arXiv:2512.11077 (method)",
        ],
        "network": config.to_card(),
        "original": network_card.get("original"),
        "carriers": list(CARRIERS),
        "head": dataclasses.asdict(head.config),
        "phases": [phase.key for phase in given.phases],
        "calibration": {
            "temperature": calibration.temperature,
            "log_density": calibration.log_density,
            "rejected": settings.rejected,
        },
        "training": record(given, settings, sources.data, started),
        "scores": {
            name: part_scores(shard_logits(head, shard), shard, given.phases, calibration)
            for name, paths in shards.items()
            if name != "train" and paths
            for shard in (Shard.load(paths[0]),)
        },
    }
    path = folder / "mace_phase"
    save_model(path, {**tensors, **head.to_tensors()}, card)
    return path


def make_shards(
    given: TrainingData, network: Evaluator, folder: Path, settings: TrainSettings, progress: Progress
) -> dict[ShardName, list[Path]]:
    """Make the shards that are not there yet; each is written complete, so that processes may share the work."""
    identity = hashlib.sha256(
        repr(
            (
                settings.law,
                settings.seed,
                [phase.key for phase in given.phases],
                {part: len(items) for part, items in given.structures.items()},
            )
        ).encode()
    ).hexdigest()[:12]
    store = folder / f"shards-{identity}"
    store.mkdir(exist_ok=True)
    plain = dataclasses.replace(
        settings.law.sample, hot_share=0.0, any_carriers=-1.0, vacancies=0.0, surfaces=0.0, correlated=0.0
    )
    held_out = dataclasses.replace(settings.law, sample=plain, surplus=3, alloy_share=0.0)
    out: dict[ShardName, list[Path]] = {"train": [], "validation": [], "test": [], "noise": []}
    plan: Sequence[tuple[ShardName, ShardLaw, int]] = [
        ("validation", held_out, 1),
        ("test", held_out, 1),
        ("train", settings.law, settings.n_shards),
        ("noise", dataclasses.replace(held_out, background=0), 1 if untested(given) else 0),
    ]
    for k, (part, law, count) in enumerate(plan):
        structures = untested(given) if part == "noise" else given.structures[part]
        if not structures and part != "noise":
            raise InputError(f"no structures in the part {part!r} of the split; the data file is too small")
        maker = ShardMaker(network, given.phases, structures, given.melts["train" if part == "noise" else part])
        for number in range(count):
            path = store / f"{part}_{number:03d}.npz"
            if not path.is_file():
                stage = f"shard {number + 1} of {count} ({part})"
                maker.make(law, settings.seed * 3 + k, number, partial(progress, stage)).save(path)
                log.info("wrote %s", path.name)
            out[part].append(path)
    for number in range(settings.n_dynamics if given.dynamics else 0):
        path = store / f"dynamics_{number:03d}.npz"
        if not path.is_file():
            report = partial(progress, f"dynamics shard {number + 1} of {settings.n_dynamics}")
            noise = settings.law.sample
            dynamics_shard(network, given.phases, given.dynamics, noise, settings.seed + 7, number, report).save(path)
        out["train"].append(path)
    return out


def _whitened(shards: Sequence[Path], whitening: Whitening, progress: Progress) -> list[Path]:
    """Write the whitened copies of shards that are not there yet; it is these the head is trained on."""
    out = []
    for k, path in enumerate(shards):
        copy = path.with_name(f"white_{path.name}")
        if not copy.is_file():
            whitening.apply(Shard.load(path)).save(copy)
        progress("whiten the features", (k + 1) / len(shards))
        out.append(copy)
    return out


def untested(given: TrainingData) -> list[CrystalStructure]:
    """Training structures of the phases of which the test part has none."""
    tested = {structure.phase for structure in given.structures["test"]}
    return [structure for structure in given.structures["train"] if structure.phase not in tested]


def record(given: TrainingData, settings: Any, data: Path, started: float) -> dict[str, Any]:
    """Return the training record for the model card; `settings` is a dataclass."""
    import torch

    return {
        "settings": dataclasses.asdict(settings),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "seconds_of_last_call": round(time.time() - started),
        "data": {
            "file": data.name,
            "sha256": hashlib.sha256(data.read_bytes()).hexdigest(),
            "structures": {part: len(items) for part, items in given.structures.items()},
            "melts": {part: len(items) for part, items in given.melts.items()},
            "dynamics": sorted({snapshot.name.rsplit("_", 1)[0] for snapshot in given.dynamics}),
        },
        "machine": {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.cuda.is_available()},
        "split": "by chemical system (hash), see docs/training.md",
        "split_seed": given.seed,
    }
