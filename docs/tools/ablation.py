"""What each ingredient of the model brings, on a small budget that is the same for all.

A phase head on frozen features of MACE-MP-0 small, 8,000 samples, 8 passes. All are tested on the same samples of
held-out chemical systems, every phase counting alike, white noise and noise as an elastic network has it. No molecular
dynamics, no melts.

    ovito-mace-phase convert 2023-12-10-mace-128-L0_energy_epoch-249.model -o mace_mp_0_small
    python docs/tools/ablation.py --data mp_labelled.npz --backbone mace_mp_0_small -o ablation
"""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

import click
import numpy as np
import torch

from ovito_mace_phase.lab.data.structures import CrystalStructure
from ovito_mace_phase.lab.features.rows import TOGETHER, Shard, rows_of
from ovito_mace_phase.lab.features.whitening import whiten
from ovito_mace_phase.lab.samples.sampler import Sample, SampleSettings
from ovito_mace_phase.lab.samples.source import SampleSource
from ovito_mace_phase.lab.training.class_head import ClassFitSettings, fit_classes, new_head
from ovito_mace_phase.lab.training.first_stage import (
    SLOT_ELEMENTS,
    Sources,
    TrainingData,
    chosen_phases,
    load_data,
    load_start,
)
from ovito_mace_phase.model.engine.evaluator import Evaluator, make_evaluator
from ovito_mace_phase.model.network.head import HeadConfig, PhaseHead
from ovito_mace_phase.model.network.model_file import NetworkConfig, load_model

Drawn = list[tuple[Sample, int]]
N_TRAIN, KEEP, PER_PHASE = 8000, 24, 2
WHITE = SampleSettings.held_out(0.0, 0.15)
TESTS = {"white": WHITE, "like phonons": dataclasses.replace(WHITE, correlated=1.0)}
FIT = ClassFitSettings(passes=8, first_rate=2e-3, rate=2e-3, averaged=0.5)


def numbers_of(structure: CrystalStructure) -> list[int]:
    """Return the atomic number of each species code."""
    return [int(z) for z in structure.system.split("-")]


def known(structures: list[CrystalStructure]) -> list[CrystalStructure]:
    """Return those whose elements are known: entries of the Materials Project."""
    return [one for one in structures if not one.system.startswith(("reference", "ice")) and one.system[0].isdigit()]


def draw_many(source: SampleSource, settings: list[SampleSettings], phases: list[int], seed: int) -> Drawn:
    """Return one sample for each phase and its settings."""
    rng = np.random.default_rng(seed)
    return [source.draw(phase, one, 0.0, rng) for phase, one in zip(phases, settings, strict=True)]


def real(drawn: Drawn, systems: list[list[int]], elements: list[int]) -> Drawn:
    """Return the samples with their elements in place of anonymous species."""
    row = {z: k for k, z in enumerate(elements)}
    return [
        (dataclasses.replace(sample, slots=np.array([row[z] for z in numbers])[sample.frame.species]), label)
        for (sample, label), numbers in zip(drawn, systems, strict=True)
    ]


def shard_of(evaluator: Evaluator, drawn: Drawn, path: Path) -> Path:
    """Write features of the samples, unless they are there."""
    if not path.is_file():
        rng = np.random.default_rng(0)
        starts = range(0, len(drawn), TOGETHER)
        Shard.joined([rows_of(evaluator, drawn[k : k + TOGETHER], KEEP, rng, k) for k in starts]).save(path, {})
    return path


def accuracy(head: PhaseHead, shard: Shard) -> float:
    """Return the share of atoms right, every phase counting alike."""
    with torch.inference_mode():
        answer = np.concatenate(
            [head(torch.from_numpy(rows.astype(np.float32))).argmax(1).numpy() for rows in _blocks(shard.features)]
        )
    count = np.bincount(shard.label)
    right = np.bincount(shard.label, weights=answer == shard.label, minlength=len(count))
    return float((right[count > 0] / count[count > 0]).mean())


def _blocks(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + 8192] for start in range(0, len(rows), 8192)]


def train_head(
    train: Path, tests: dict[str, Path], n_phases: int, folder: Path, columns: slice | None = None
) -> dict[str, float]:
    """Train a head on some columns of the features of a shard; return its accuracy on each test."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = slice(None) if columns is None else columns

    def cut(path: Path) -> Shard:
        shard = Shard.load(path)
        return dataclasses.replace(shard, features=np.ascontiguousarray(shard.features[:, columns]))

    shard = cut(train)
    rows = torch.from_numpy(shard.features[::3].astype(np.float32))
    whitening = whiten(rows, rows.mean(0), rows.std(0) + 1e-4, rows.shape[1] // 2)
    white = folder / "white.npz"
    whitening.apply(shard).save(white, {})
    config = HeadConfig(n_features=rows.shape[1], n_phases=n_phases, dropout=0.1)
    head = fit_classes(new_head(config, whitening, 0), whitening, [white], FIT, folder / "fit.checkpoint")
    found = {name: accuracy(head, cut(path)) for name, path in tests.items()}
    white.unlink()
    return found


def heads(given: TrainingData, sources: Sources, folder: Path, report) -> None:
    """Train the heads and report on each."""
    start = load_start(sources.start)
    evaluator, config = make_evaluator(start.tensors, start.config, None), start.config
    structures = {part: known(given.structures[part]) for part in ("train", "test")}
    train, test = (SampleSource(given.phases, structures[part], [], len(SLOT_ELEMENTS)) for part in ("train", "test"))
    present = [phase for phase in test.present if phase in train.present]
    rng = np.random.default_rng(1)
    phases = [int(phase) for phase in rng.choice(train.present, N_TRAIN)]
    tested = [phase for phase in present for _ in range(PER_PHASE)]
    tests = {
        name: shard_of(evaluator, draw_many(test, [one] * len(tested), tested, 2), folder / f"test {name}.npz")
        for name, one in TESTS.items()
    }
    base = draw_many(train, [SampleSettings()] * N_TRAIN, phases, 3)
    path = shard_of(evaluator, base, folder / "train.npz")
    n_phases, width = len(given.phases), config.n_channels * (config.l_max + 2)
    found = train_head(path, tests, n_phases, folder / "mlp")
    report("MLP head", found)
    found = train_head(path, tests, n_phases, folder / "one", columns=slice(0, width))
    report("first layer of the network alone", found)
    found = train_head(path, tests, n_phases, folder / "two", columns=slice(0, 2 * width))
    report("both layers, no means over neighbours", found)
    drawn = draw_many(train, [dataclasses.replace(SampleSettings(), correlated=0.0)] * N_TRAIN, phases, 3)
    found = train_head(shard_of(evaluator, drawn, folder / "train white.npz"), tests, n_phases, folder / "w")
    report("trained on white noise alone", found)
    found = with_elements(given, sources, folder, train, test, phases, tested)
    report("real elements", found)


def with_elements(
    given: TrainingData,
    sources: Sources,
    folder: Path,
    train: SampleSource,
    test: SampleSource,
    phases: list[int],
    tested: list[int],
) -> dict[str, float]:
    """Train a head on the features of the network with the elements as they are."""
    tensors, card = load_model(sources.start)
    config = NetworkConfig.from_card(card)
    tensors = {name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in tensors.items()}
    evaluator = make_evaluator(tensors, config, None)

    def drawn(source: SampleSource, settings: SampleSettings, wanted: list[int], seed: int) -> Drawn:
        systems: list[list[int]] = []
        inner = source.structure

        def remember(phase, share, rng):
            structure = inner(phase, share, rng)
            systems.append(numbers_of(structure))
            return structure

        source.structure = remember  # type: ignore[method-assign]
        samples, rng = [], np.random.default_rng(seed)
        for phase in wanted:
            samples.append(source.draw(phase, settings, 0.0, rng))
            del systems[len(samples) - 1 : -1]  # of samples that were drawn again
        source.structure = inner  # type: ignore[method-assign]
        return real(samples, systems, list(config.elements))

    tests = {
        name: shard_of(evaluator, drawn(test, one, tested, 2), folder / f"real test {name}.npz")
        for name, one in TESTS.items()
    }
    path = shard_of(evaluator, drawn(train, SampleSettings(), phases, 3), folder / "real train.npz")
    return train_head(path, tests, len(given.phases), folder / "real")


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--backbone", type=click.Path(path_type=Path), required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def main(data: Path, backbone: Path, output: Path) -> None:
    """Train all variants, print and write their scores; about half an hour on two cores."""
    output.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=output / "ablation.log", level=logging.INFO, format="%(asctime)s %(message)s")
    sources = Sources(data=data, start=backbone)
    given = load_data(sources, chosen_phases(()), 0)
    results: dict[str, dict[str, float]] = {}

    def report(name: str, found: dict[str, float]) -> None:
        results[name] = found
        print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in found.items()), flush=True)
        (output / "ablation.json").write_text(json.dumps(results, indent=1), encoding="utf-8")

    heads(given, sources, output, report)


if __name__ == "__main__":
    main()
