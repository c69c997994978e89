"""What each ingredient of the model brings, on a small budget that is the same for all.

Heads: a phase head on frozen features of MACE-MP-0 small, 8,000 samples, 8 passes. End to end: 150 steps of 2,000 atoms
that start from the head of `train`'s kind made here. All are tested on the same samples of held-out chemical systems,
every phase counting alike, white noise and noise as an elastic network has it. No molecular dynamics, no melts.

    ovito-mace-phase convert 2023-12-10-mace-128-L0_energy_epoch-249.model -o mace_mp_0_small
    python docs/tools/ablation.py --data mp_labelled.npz --backbone mace_mp_0_small -o ablation
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from pathlib import Path

import click
import numpy as np
import torch

from ovito_mace_phase.engine.evaluator import Evaluator, make_evaluator
from ovito_mace_phase.engine.training import TrainableModel, scores
from ovito_mace_phase.head import HeadConfig, PhaseHead
from ovito_mace_phase.network.weights import NetworkConfig, load_model
from ovito_mace_phase.threads import BlockPool
from ovito_mace_phase.training.batches import make_batch
from ovito_mace_phase.training.end_to_end import EndToEnd, EndToEndSettings
from ovito_mace_phase.training.fit import FitSettings, fit_head
from ovito_mace_phase.training.run import CARRIERS, Sources, TrainingData, carrier_network, load_data
from ovito_mace_phase.training.sampler import Sample, SampleLaw
from ovito_mace_phase.training.shards import Shard, rows_of
from ovito_mace_phase.training.source import SampleSource
from ovito_mace_phase.training.structures import CrystalStructure
from ovito_mace_phase.training.whitening import Whitening, fit_whitening, fold

Drawn = list[tuple[Sample, int]]
N_TRAIN, KEEP, PER_PHASE, SIGMA = 8000, 24, 2, 0.10
CALM = SampleLaw(hot_share=0.0, any_carriers=-1.0, vacancies=0.0, surfaces=0.0)
TESTS = {
    "white": dataclasses.replace(CALM, correlated=0.0),
    "like phonons": dataclasses.replace(CALM, correlated=1.0),
}
STEPS = EndToEndSettings(n_steps=150, warm_up=20, network_rate=3e-4, average=0.97, surplus=1.0, dynamics=0.0)
RUNS = {
    "fine-tuned": STEPS,
    "frozen": dataclasses.replace(STEPS, network_rate=0.0),
    "no score loss": dataclasses.replace(STEPS, score_weight=0.0),
    "white noise alone": dataclasses.replace(STEPS, law=dataclasses.replace(STEPS.law, correlated=0.0)),
    "tied carriers": STEPS,
}
log = logging.getLogger(__name__)


class Tied(EndToEnd):
    """A run in which all species share the weights of the network; only their embeddings differ."""

    def advance(self, batch, pool):
        """Make one step, then average over the species."""
        found = super().advance(batch, pool)
        with torch.no_grad():
            for name, tensor in self._trained().items():
                if tensor.ndim == 3 and len(tensor) == len(CARRIERS):
                    tensor.copy_(tensor.mean(0, keepdim=True).expand_as(tensor))
                    self.average[name].copy_(self.average[name].mean(0, keepdim=True).expand_as(tensor))
        return found


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
) -> tuple[dict[str, float], PhaseHead]:
    """Train a head on a shard; return its accuracy on each test and the head on plain features."""
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
    return found, fold(head, whitening)


def heads(given: TrainingData, sources: Sources, folder: Path, report) -> PhaseHead:
    """Train the heads; return the plain one."""
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
    found, head = train_head(path, tests, n_phases, folder / "mlp")
    report("MLP head", found)
    found, _ = train_head(path, tests, n_phases, folder / "metric", kind="metric")
    report("metric head", found)
    found, _ = train_head(path, tests, n_phases, folder / "one", columns=slice(0, width))
    report("first layer of the network alone", found)
    found, _ = train_head(path, tests, n_phases, folder / "two", columns=slice(0, 2 * width))
    report("both layers, no means over neighbours", found)
    drawn = draw_many(train, [dataclasses.replace(SampleLaw(), correlated=0.0)] * N_TRAIN, phases, 3)
    found, _ = train_head(shard_of(evaluator, drawn, folder / "train white.npz"), tests, n_phases, folder / "w")
    report("trained on white noise alone", found)
    found = with_elements(given, sources, folder, train, test, phases, tested)
    report("real elements", found)
    return head


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
    return train_head(path, tests, len(given.phases), folder / "real")[0]


def end_to_end(given: TrainingData, sources: Sources, head: PhaseHead, folder: Path, report) -> None:
    """Train network and head together in several ways."""
    _, tensors, config, _ = carrier_network(sources.backbone)
    structures = {part: given.structures[part] for part in ("train", "test")}
    source = SampleSource(given.phases, structures["train"], [], len(CARRIERS), (), given.unlisted["train"])
    test = SampleSource(given.phases, known(structures["test"]), [], len(CARRIERS))
    tested = test.present[::2]
    for name, settings in RUNS.items():
        run = (Tied if name.startswith("tied") else EndToEnd)(tensors, config, head, source, settings)
        started = time.time()
        run.run(folder / f"{name}.checkpoint")
        log.info("%s: %.0f s", name, time.time() - started)
        network, trained = run.result()
        evaluator, model = make_evaluator(network, config, trained), TrainableModel(network, config, trained)
        found = {}
        for kind, law in TESTS.items():
            labelled = draw_many(test, [law] * len(tested), tested, 4)
            path = folder / "rows.npz"
            path.unlink(missing_ok=True)
            found[kind] = accuracy(trained, Shard.load(shard_of(evaluator, labelled, path)))
            fixed = dataclasses.replace(law, sigma=(SIGMA, SIGMA))
            found[f"left, {kind}"] = left_over(model, draw_many(test, [fixed] * len(tested), tested, 5))
        report(name, found)


def left_over(model: TrainableModel, drawn: Drawn) -> float:
    """Return the median over samples of the rms displacement after one denoising step over the one before."""
    ratios = []
    with BlockPool() as pool:
        for start in range(0, len(drawn), 24):
            batch = make_batch(drawn[start : start + 24], model.config.r_max)
            after = batch.displacement + STEPS.noise_scale**2 * scores(model, batch, pool)
            for k in np.unique(batch.sample):
                mine = batch.sample == k
                rms = [np.sqrt(((d - d.mean(0)) ** 2).sum()) for d in (after[mine], batch.displacement[mine])]
                ratios.append(rms[0] / rms[1])
    return float(np.median(ratios))


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--backbone", type=click.Path(path_type=Path), required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def main(data: Path, backbone: Path, output: Path) -> None:
    """Train all variants, print and write their scores; about an hour on two cores."""
    output.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=output / "ablation.log", level=logging.INFO, format="%(asctime)s %(message)s")
    sources = Sources(data=data, backbone=backbone)
    given = load_data(sources, 0)
    results: dict[str, dict[str, float]] = {}

    def report(name: str, found: dict[str, float]) -> None:
        results[name] = found
        print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in found.items()), flush=True)
        (output / "ablation.json").write_text(json.dumps(results, indent=1), encoding="utf-8")

    end_to_end(given, sources, heads(given, sources, output, report), output, report)


if __name__ == "__main__":
    main()
