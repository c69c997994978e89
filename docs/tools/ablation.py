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
from ovito_mace_phase.lab.training.fit import FitSettings, fit_head

from ovito_mace_phase.lab.data.structures import CrystalStructure
from ovito_mace_phase.lab.samples.sampler import Sample, SampleLaw
from ovito_mace_phase.lab.samples.source import SampleSource
from ovito_mace_phase.lab.training.feature_rows import Shard, rows_of
from ovito_mace_phase.lab.training.first_stage import CARRIERS, Sources, TrainingData, carrier_network, load_data
from ovito_mace_phase.lab.training.whitening import Whitening, fit_whitening
from ovito_mace_phase.model.engine.evaluator import Evaluator, make_evaluator
from ovito_mace_phase.model.network.head import HeadConfig, PhaseHead
from ovito_mace_phase.model.network.model_file import NetworkConfig, load_model

Drawn = list[tuple[Sample, int]]
N_TRAIN, KEEP, PER_PHASE = 8000, 24, 2
CALM = SampleLaw(hot_share=0.0, any_carriers=-1.0, vacancies=0.0, surfaces=0.0)
TESTS = {
    "white": dataclasses.replace(CALM, correlated=0.0),
    "like phonons": dataclasses.replace(CALM, correlated=1.0),
}


def numbers_of(structure: CrystalStructure) -> list[int]:
    """Return the atomic number of each species code."""
    return [int(z) for z in structure.system.split("-")]


def known(structures: list[CrystalStructure]) -> list[CrystalStructure]:
    """Return those whose elements are known: entries of the Materials Project."""
    return [one for one in structures if not one.system.startswith(("reference", "ice")) and one.system[0].isdigit()]


def draw_many(source: SampleSource, laws: list[SampleLaw], phases: list[int], seed: int) -> Drawn:
    """Return one sample for each phase and law."""
    rng = np.random.default_rng(seed)
    return [source.draw(phase, law, 0.0, rng) for phase, law in zip(phases, laws, strict=True)]


def real(drawn: Drawn, systems: list[list[int]], elements: list[int]) -> Drawn:
    """Return the samples with their elements in place of anonymous species."""
    row = {z: k for k, z in enumerate(elements)}
    return [
        (dataclasses.replace(sample, carrier=np.array([row[z] for z in numbers])[sample.frame.species]), label)
        for (sample, label), numbers in zip(drawn, systems, strict=True)
    ]


def shard_of(evaluator: Evaluator, drawn: Drawn, path: Path) -> Path:
    """Write features of the samples, unless they are there."""
    if not path.is_file():
        rng = np.random.default_rng(0)
        parts = [rows_of(evaluator, drawn[k : k + 24], KEEP, rng, k) for k in range(0, len(drawn), 24)]
        Shard(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]}).save(path)
    return path


def accuracy(head: PhaseHead, shard: Shard, whitening: Whitening | None = None) -> float:
    """Return the share of atoms right, every phase counting alike."""
    shard = whitening.apply(shard) if whitening else shard
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
    train: Path, tests: dict[str, Path], n_phases: int, folder: Path, kind: str = "mlp", columns: slice | None = None
) -> dict[str, float]:
    """Train a head on a shard; return its accuracy on each test."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = slice(None) if columns is None else columns

    def cut(path: Path) -> Shard:
        shard = Shard.load(path)
        return dataclasses.replace(shard, features=np.ascontiguousarray(shard.features[:, columns]))

    plain, white = folder / "plain.npz", folder / "white.npz"
    cut(train).save(plain)
    whitening = fit_whitening([plain])
    whitening.apply(Shard.load(plain)).save(white)
    config = HeadConfig(kind=kind, n_features=whitening.matrix.shape[1], n_phases=n_phases, dropout=0.1)
    head = fit_head(config, [white], FitSettings(epochs=8), folder / "checkpoint")
    found = {name: accuracy(head, cut(path), whitening) for name, path in tests.items()}
    plain.unlink()
    white.unlink()
    return found


def heads(given: TrainingData, sources: Sources, folder: Path, report) -> None:
    """Train the heads and report on each."""
    evaluator, _, config, _ = carrier_network(sources.backbone)
    structures = {part: known(given.structures[part]) for part in ("train", "test")}
    train, test = (SampleSource(given.phases, structures[part], [], len(CARRIERS)) for part in ("train", "test"))
    present = [phase for phase in test.present if phase in train.present]
    rng = np.random.default_rng(1)
    phases = [int(phase) for phase in rng.choice(train.present, N_TRAIN)]
    tested = [phase for phase in present for _ in range(PER_PHASE)]
    tests = {
        name: shard_of(evaluator, draw_many(test, [law] * len(tested), tested, 2), folder / f"test {name}.npz")
        for name, law in TESTS.items()
    }
    base = draw_many(train, [SampleLaw()] * N_TRAIN, phases, 3)
    path = shard_of(evaluator, base, folder / "train.npz")
    n_phases, width = len(given.phases), config.n_channels * (config.l_max + 2)
    found = train_head(path, tests, n_phases, folder / "mlp")
    report("MLP head", found)
    found = train_head(path, tests, n_phases, folder / "metric", kind="metric")
    report("metric head", found)
    found = train_head(path, tests, n_phases, folder / "one", columns=slice(0, width))
    report("first layer of the network alone", found)
    found = train_head(path, tests, n_phases, folder / "two", columns=slice(0, 2 * width))
    report("both layers, no means over neighbours", found)
    drawn = draw_many(train, [dataclasses.replace(SampleLaw(), correlated=0.0)] * N_TRAIN, phases, 3)
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
    tensors, card = load_model(sources.backbone)
    config = NetworkConfig.from_card(card)
    tensors = {name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in tensors.items()}
    evaluator = make_evaluator(tensors, config, None)

    def drawn(source: SampleSource, law: SampleLaw, wanted: list[int], seed: int) -> Drawn:
        systems: list[list[int]] = []
        inner = source.structure

        def remember(phase, share, rng):
            structure = inner(phase, share, rng)
            systems.append(numbers_of(structure))
            return structure

        source.structure = remember  # type: ignore[method-assign]
        samples, rng = [], np.random.default_rng(seed)
        for phase in wanted:
            samples.append(source.draw(phase, law, 0.0, rng))
            del systems[len(samples) - 1 : -1]  # of samples that were drawn again
        source.structure = inner  # type: ignore[method-assign]
        return real(samples, systems, list(config.elements))

    tests = {
        name: shard_of(evaluator, drawn(test, law, tested, 2), folder / f"real test {name}.npz")
        for name, law in TESTS.items()
    }
    path = shard_of(evaluator, drawn(train, SampleLaw(), phases, 3), folder / "real train.npz")
    return train_head(path, tests, len(given.phases), folder / "real")


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--backbone", type=click.Path(path_type=Path), required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def main(data: Path, backbone: Path, output: Path) -> None:
    """Train all variants, print and write their scores; about half an hour on two cores."""
    output.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=output / "ablation.log", level=logging.INFO, format="%(asctime)s %(message)s")
    sources = Sources(data=data, backbone=backbone)
    given = load_data(sources, 0)
    results: dict[str, dict[str, float]] = {}

    def report(name: str, found: dict[str, float]) -> None:
        results[name] = found
        print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in found.items()), flush=True)
        (output / "ablation.json").write_text(json.dumps(results, indent=1), encoding="utf-8")

    heads(given, sources, output, report)


if __name__ == "__main__":
    main()
