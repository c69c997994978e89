"""`ovito-mace-phase bench`: speed, memory and error, compared with mace-torch, PTM and CNA in one process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.classification.settings import Sampling
from ovito_mace_phase.cli.options import device_option
from ovito_mace_phase.lab.benchmark.measure import (
    FRAMES,
    Measured,
    Task,
    largest,
    machine,
    measure,
    ratio,
    thermal_frame,
)
from ovito_mace_phase.runtime.errors import InputError

BACKENDS = ("labels", "engine", "score", "training", "mace", "mace-forces", "ptm", "cna")
STOCK_ATOMS = 4000
"""Stock mace-torch takes 1.3 to 2 MB an atom: beside a larger frame it is timed on one of about this size."""
_SMALL = 250  # atoms of the frame that errors are measured on


@click.command("bench", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--sizes", default="4000,20000,100000", show_default=True, metavar="N,N,...", help="Atoms of the frames.")
@click.option("--frames", default=",".join(FRAMES), show_default=True, metavar="NAMES", help="Crystals.")
@click.option(
    "--backends",
    default=",".join(BACKENDS),
    show_default=True,
    metavar="NAMES",
    help="labels: classify; engine: with the logits of every atom; score: log-density and gradient; training: a step "
    "of the whole model; mace: stock forward pass; mace-forces: stock energy and forces; ptm, cna: OVITO.",
)
@click.option("--turns", type=click.IntRange(1), default=3, show_default=True, help="Timed repetitions.")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    default=None,
    metavar="NAME|FILE",
    help="Name of a model, or path of a model file.  [default: the shipped one]",
)
@device_option("Where all but ptm and cna run.")
@click.option(
    "--parts",
    is_flag=True,
    help="Measure only what one core does for an atom in classify, part by part, with the model and with a "
    "tiny network.",
)
@click.option("--threads", type=click.IntRange(0), default=0, metavar="N", help="Threads.  [default: all cores]")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="File for all numbers.")
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Picture: atoms per second against number of atoms."
)
def bench_command(
    sizes: str,
    frames: str,
    backends: str,
    turns: int,
    model: Path | None,
    device: str,
    parts: bool,
    threads: int,
    json_file: Path | None,
    plot: Path | None,
) -> None:
    """Measure atoms per second and memory, frame by frame, and the error against float64.

    Times include everything between positions and labels: length scale, neighbours, network, head. Those of mace-torch
    leave out its neighbour list. Ratios are medians over turns in which all were called one after the other.
    """
    from ovito_mace_phase.runtime.threads import n_threads, set_threads

    names, kinds = _names(frames, FRAMES, "--frames"), _names(backends, BACKENDS, "--backends")
    counts = _sizes(sizes)
    set_threads(threads)
    bench = _Bench(model, device)
    about = machine(("ovito-mace-phase", "torch", "mace-torch", "numba", "numpy", "ovito"))
    about |= {"threads": str(n_threads()), "device": bench.model.device, "model": bench.model.name}
    click.echo("\n".join(f"{key:16s} {value}" for key, value in about.items()))
    rows: list[dict[str, Any]] = []
    if parts:
        if bench.model.evaluator.device.type != "cpu":
            raise InputError("--parts looks at the CPU: give --device cpu")
        for name in names:
            rows += [row for count in counts for row in bench.parts(name, count, turns)]
    for name in () if parts else names:
        errors = bench.errors(thermal_frame(name, _SMALL))
        click.echo(
            f"\n{name}: error against float64 on {errors['n_atoms']} atoms: logits {errors['logits']:.1e}, "
            f"score {errors['score']:.1e} of the largest"
        )
        for count in counts:
            frame = thermal_frame(name, count)
            small = frame if len(frame) <= 1.5 * STOCK_ATOMS else thermal_frame(name, STOCK_ATOMS)
            measured = bench.run(frame, small, kinds, turns)
            rows += _rows(name, len(frame), measured, errors)
            _print(len(frame), measured)
    if json_file is not None:
        json_file.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n", encoding="utf-8")
        click.echo(f"wrote {json_file}")
    if plot is not None:
        from ovito_mace_phase.lab.evaluation.figures import plot_speed
        from ovito_mace_phase.runtime.png_text import add_text

        plot_speed(plot, rows, about["processor"])
        add_text(plot, {key: str(value) for key, value in about.items()})
        click.echo(f"wrote {plot}")


class _Bench:
    """The model, and what each backend does with a frame."""

    def __init__(self, model: Path | None, device: str) -> None:
        from ovito_mace_phase.model.network.model_file import NetworkConfig, load_model
        from ovito_mace_phase.model.phase_model import PhaseModel
        from ovito_mace_phase.model.registry import model_path

        self.model = PhaseModel.load(model, device=device)  # type: ignore[arg-type]
        self.tensors, card = load_model(model_path(model))
        self.config = NetworkConfig.from_card(card)
        self.card = card
        self._oracle: Any = None

    def run(self, frame: Frame, small: Frame, kinds: tuple[str, ...], turns: int) -> dict[str, Measured]:
        """Measure the backends, mace-torch and training on the small frame."""
        tasks = {}
        for kind in kinds:
            if kind == "training" and len(small) < _sample_size():
                continue
            given = small if kind.startswith("mace") or kind == "training" else frame
            n_atoms = len(given) - len(given) % _sample_size() if kind == "training" else len(given)
            tasks[kind] = Task(n_atoms=n_atoms, call=getattr(self, "_" + kind.replace("-", "_"))(given))
        return measure(tasks, turns)

    def parts(self, name: str, count: int, turns: int) -> list[dict[str, Any]]:
        """Print and return the parts of classify, of the model and of a network of almost no size."""
        from ovito_mace_phase.classification.classify import classify_frame
        from ovito_mace_phase.classification.settings import Settings
        from ovito_mace_phase.lab.benchmark.cut_network import SMALLEST, cut_model
        from ovito_mace_phase.lab.benchmark.parts import measure_parts

        frame = thermal_frame(name, count)
        models = {"model": self.model, "smallest": cut_model(self.model, self.tensors, SMALLEST)}
        settings = {"model": Settings(sampling="off"), "smallest": Settings(verify="off")}  # its labels mean nothing
        found = {
            kind: measure_parts(lambda: classify_frame(frame, model, settings[kind]), len(frame), turns)  # noqa: B023
            for kind, model in models.items()
        }
        click.echo(f"\n{name}, {len(frame):,} atoms, one thread: us an atom    {self.model.name}   almost no size")
        for part in sorted({*found["model"], *found["smallest"]}, key=lambda part: -found["model"].get(part, 0.0)):
            columns = "".join(f"{found[kind].get(part, 0.0):14.2f}" for kind in models)
            click.echo(f"    {part:40s}{columns}")
        return [{"frame": name, "n_atoms": len(frame), "network": kind, "parts": one} for kind, one in found.items()]

    def errors(self, frame: Frame) -> dict[str, float]:
        """Compare the engine with plain torch in float64."""
        from ovito_mace_phase.model.network.head import PhaseHead
        from ovito_mace_phase.model.reference.logits import reference_scores

        here = self.model.network_frame(frame)
        factor = here.factor
        head = PhaseHead.from_tensors(self.tensors, self.card)
        exact = reference_scores(
            self.tensors, self.config, head, frame.positions * factor, frame.cell * factor, frame.pbc, here.slots
        )
        logits, score = self.model.logits(frame), self.model.log_density_gradient(frame)
        return {
            "n_atoms": len(frame),
            "logits": largest(logits - exact.logits),
            "score": largest(score.gradient / factor - exact.gradient) / largest(exact.gradient),
        }

    def _labels(self, frame: Frame, sampling: Sampling = "auto") -> Callable[[], Any]:
        from ovito_mace_phase.classification.classify import classify_frame
        from ovito_mace_phase.classification.settings import Settings

        return lambda: classify_frame(frame, self.model, Settings(sampling=sampling))

    def _engine(self, frame: Frame) -> Callable[[], Any]:
        return self._labels(frame, "off")

    def _score(self, frame: Frame) -> Callable[[], Any]:
        return lambda: self.model.log_density_gradient(frame)

    def _training(self, frame: Frame) -> Callable[[], Any]:
        """Return a training step on the frame, cut into samples of some 250 atoms that are put side by side."""
        from ovito_mace_phase.atoms.neighbour_list import neighbour_list, side_by_side
        from ovito_mace_phase.lab.training.step import Batch, TrainableModel, training_step
        from ovito_mace_phase.model.network.head import PhaseHead
        from ovito_mace_phase.runtime.threads import BlockPool

        sample = thermal_frame("cu", _SMALL)
        count = len(frame) // len(sample)
        edges = neighbour_list(sample.positions, sample.cell, sample.pbc, self.config.r_max + 0.1)
        n_atoms = count * len(sample)
        batch = Batch(
            edges=side_by_side([edges] * count),
            slots=np.arange(n_atoms) % 2,
            label=np.ones(n_atoms, dtype=np.int64),
            displacement=np.random.default_rng(0).normal(0.0, 0.1, (n_atoms, 3)),
            sample=np.repeat(np.arange(count), len(sample)),
        )
        head = PhaseHead.from_tensors(self.tensors, self.card).requires_grad_(True)
        device = self.model.evaluator.device
        model = TrainableModel(self.tensors, self.config, head, device)
        n_threads = None if device.type == "cpu" else 1

        def step() -> None:
            with BlockPool(n_threads) as pool:
                training_step(model, batch, noise_scale=0.15, pool=pool)

        return step

    def _mace_inputs(self, frame: Frame) -> tuple[Any, dict[str, Any]]:
        import torch

        from ovito_mace_phase.model.network.head import PhaseHead
        from ovito_mace_phase.model.reference.mace.stock_mace import MaceBackend

        here = self.model.network_frame(frame)
        grid = here.grid()
        if self._oracle is None:
            head = PhaseHead.from_tensors(self.tensors, self.card)
            self._oracle = MaceBackend(self.tensors, self.config, head, torch.float32)
        device, inputs = self.model.evaluator.device, self._oracle.inputs(grid, here.slots[grid.order])
        return self._oracle.model.to(device), {name: tensor.to(device) for name, tensor in inputs.items()}

    def _mace(self, frame: Frame) -> Callable[[], Any]:
        import torch

        network, inputs = self._mace_inputs(frame)

        def forward() -> Any:
            with torch.no_grad():
                return _finished(network(inputs, compute_force=False))

        return forward

    def _mace_forces(self, frame: Frame) -> Callable[[], Any]:
        network, inputs = self._mace_inputs(frame)
        return lambda: _finished(network(inputs, compute_force=True))

    def _ptm(self, frame: Frame) -> Callable[[], Any]:
        from ovito.modifiers import PolyhedralTemplateMatchingModifier

        return _ovito_task(frame, PolyhedralTemplateMatchingModifier)

    def _cna(self, frame: Frame) -> Callable[[], Any]:
        from ovito.modifiers import CommonNeighborAnalysisModifier

        return _ovito_task(frame, CommonNeighborAnalysisModifier)


def _finished(result: Any) -> Any:
    """Return a result once a GPU has it."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result


def _sample_size() -> int:
    """Return the atoms of a sample of `training`."""
    return len(thermal_frame("cu", _SMALL))


def _ovito_task(frame: Frame, modifier: Any) -> Callable[[], Any]:
    """Return a call that evaluates a new pipeline with one modifier."""
    from ovito.data import DataCollection, Particles, SimulationCell
    from ovito.pipeline import Pipeline, StaticSource

    data = DataCollection()
    particles = Particles()
    particles.create_property("Position", data=frame.positions)
    data.objects.append(particles)
    cell = SimulationCell(pbc=(bool(frame.pbc[0]), bool(frame.pbc[1]), bool(frame.pbc[2])))
    cell[...] = np.column_stack([frame.cell.T, np.zeros(3)])
    data.objects.append(cell)

    def run() -> Any:
        pipeline = Pipeline(source=StaticSource(data=data))
        pipeline.modifiers.append(modifier())
        return pipeline.compute()

    return run


def _rows(name: str, n_atoms: int, measured: dict[str, Measured], errors: dict[str, float]) -> list[dict[str, Any]]:
    return [
        {
            "frame": name,
            "n_atoms": one.n_atoms,
            "beside": n_atoms,
            "backend": kind,
            "atoms_per_second": one.rate,
            "seconds": list(one.seconds),
            "peak_bytes": one.peak_bytes,
            "ratios": {other: ratio(two, one) for other, two in measured.items() if other != kind},
            "error_logits": errors["logits"] if kind == "engine" else None,
            "error_score": errors["score"] if kind == "score" else None,
        }
        for kind, one in measured.items()
    ]


def _print(n_atoms: int, measured: dict[str, Measured]) -> None:
    """One line for each backend, with the ratios that matter."""
    pairs = {"labels": ("ptm", "cna"), "engine": ("mace", "ptm", "cna"), "score": ("mace-forces",)}
    click.echo(f"  {n_atoms:,} atoms")
    for kind, one in measured.items():
        memory = "" if one.peak_bytes is None else f"{one.peak_bytes / 1e6:8.0f} MB"
        ratios = "   ".join(
            f"{ratio(measured[other], one):.3g} x {other}" for other in pairs.get(kind, ()) if other in measured
        )
        size = "" if one.n_atoms == n_atoms else f"(on {one.n_atoms:,} atoms)"
        click.echo(f"    {kind:12s} {one.rate:>10,.0f} atoms/s {memory}   {ratios}{size}".rstrip())
    sys.stdout.flush()


def _names(text: str, known: Any, option: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    for name in names:
        if name not in known:
            raise InputError(f"{option}: there is no {name!r}; choose among {', '.join(known)}")
    if not names:
        raise InputError(f"{option}: name at least one of {', '.join(known)}")
    return names


def _sizes(text: str) -> list[int]:
    try:
        counts = [int(float(part)) for part in text.split(",") if part.strip()]
    except ValueError:
        raise InputError(f"--sizes must be numbers separated by commas, not {text!r}") from None
    if not counts or min(counts) < 1:
        raise InputError(f"--sizes must name at least one positive number of atoms, not {text!r}")
    return counts
