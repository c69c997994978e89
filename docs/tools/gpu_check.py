"""Compare the engine on a CUDA device with the CPU, and measure its speed and memory.

    python docs/tools/gpu_check.py [--small] [--out FILE.json] [--only part,part]

Every part is guarded and printed when it is done; a table comes last. About five minutes with a card, of which
compiling takes one. `--small` runs the same on frames of some thousand atoms. Stock mace-torch is timed beside it where
it is installed, without its neighbour list, on the edges that this package finds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ovito_mace_phase import classify, set_threads
from ovito_mace_phase.atoms.frame import Frame, make_frame
from ovito_mace_phase.classification.readout.keep import keep_logits
from ovito_mace_phase.lab.benchmark.measure import thermal_frame
from ovito_mace_phase.model.network.head import HeadConfig, PhaseHead
from ovito_mace_phase.model.network.model_file import NetworkConfig, load_model
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.model.registry import model_path

STARTED = time.perf_counter()
PARTS: list[Callable[[], Any]] = []


def part(function: Callable[[], Any]) -> Callable[[], Any]:
    """Put a function among the parts of the check."""
    PARTS.append(function)
    return function


def median_time(call: Callable[[], Any], turns: int = 3) -> float:
    """Return the median of the seconds a call takes, after one that does not count."""
    call()
    seconds = []
    for _ in range(turns):
        torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


def rate(n_atoms: int, call: Callable[[], Any], turns: int = 3) -> float:
    """Return atoms per second."""
    return n_atoms / median_time(call, turns)


def peak(call: Callable[[], Any]) -> float:
    """Return the memory of the device that a call takes at most, GB."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    call()
    return torch.cuda.max_memory_allocated() / 1e9


def inputs(frame: Frame) -> tuple[Any, ...]:
    """Return a frame as `classify` takes it."""
    return frame.positions, frame.species, frame.cell, frame.pbc


def loose(n: int, n_species: int, cell: np.ndarray, pbc: Any, rng: np.random.Generator) -> Frame:
    """Return n^3 atoms on a lattice, shaken hard."""
    corners = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    fractional = (corners + 0.5 + 0.5 * (rng.random((n**3, 3)) - 0.5)) / n
    return make_frame(fractional @ cell, rng.integers(0, n_species, n**3), cell, pbc)


def check_frames() -> dict[str, Frame]:
    """Return crystals, disorder in odd cells, one atom, and a gas."""
    rng = np.random.default_rng(0)
    skew = np.array([[9.0, 0.0, 0.0], [3.0, 8.0, 0.0], [-2.0, 4.0, 11.0]])
    return {
        "cu": thermal_frame("cu", 2000),
        "nacl": thermal_frame("nacl", 1500),
        "ice": thermal_frame("ice", 1500),
        "triclinic": loose(4, 3, skew, True, rng),
        "open": loose(4, 2, np.eye(3) * 11, False, rng),
        "one": make_frame(np.zeros((1, 3)), [0], np.eye(3) * 2.5, True),
        "six": loose(5, 6, np.eye(3) * 13, [True, False, True], rng),
        "gas": make_frame(rng.uniform(0, 60, (40, 3)), None, np.eye(3) * 60, [True, True, False]),
    }


@part
def about() -> dict[str, Any]:
    """Describe the card, and what it does at most."""
    x = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    y, a = torch.empty_like(x), torch.randn(8192, 8192, device="cuda")
    return {
        "card": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "device": GPU.device,
        "copy_TB_per_s": 2 * 2**30 / median_time(lambda: y.copy_(x)) / 1e12,
        "float32_TFLOP_per_s": 2 * 8192**3 / median_time(lambda: a @ a) / 1e12,
    }


@part
def same_as_cpu() -> dict[str, Any]:
    """Return the largest differences of logits, logP and score; share of the labels that differ."""
    found = {}
    for name, frame in check_frames().items():
        one, two = (classify(*inputs(frame), model=model) for model in (CPU, GPU))
        s, g = CPU.log_density_gradient(frame), GPU.log_density_gradient(frame)
        found[name] = {
            "n": len(frame),
            "logits": float(np.abs(one.logits - two.logits).max()),
            "labels": float((one.phase != two.phase).mean()),
            "confidence": float(np.abs(one.confidence - two.confidence).max()),
            "score": float(np.abs(s.gradient - g.gradient).max() / max(1e-9, np.abs(s.gradient).max())),
            "log_density": float(np.abs(s.log_density - g.log_density).max()),
        }
    return found


@part
def blocks_and_slabs() -> dict[str, Any]:
    """Compare answers from small blocks and thin slabs."""
    from ovito_mace_phase.model.engine.device import run

    frame = thermal_frame("nacl", 20000)
    a, s = GPU.logits(frame), GPU.log_density_gradient(frame)
    before = run.FORWARD_BLOCK, run.GRADIENT_BLOCK
    run.FORWARD_BLOCK = run.GRADIENT_BLOCK = 1000
    try:
        b = GPU.logits(frame, memory="20M")
        g = GPU.log_density_gradient(frame, memory="100M")
    finally:
        run.FORWARD_BLOCK, run.GRADIENT_BLOCK = before
    return {
        "logits": float(np.abs(a - b).max()),
        "score": float(np.abs(s.gradient - g.gradient).max() / np.abs(s.gradient).max()),
    }


@part
def denoised_as_cpu() -> dict[str, Any]:
    """Compare eight steps of denoising on both."""
    frame = thermal_frame("cu", 1500)
    a, b = (classify(*inputs(frame), model=model, denoise_steps=8) for model in (CPU, GPU))
    assert a.denoised is not None
    assert b.denoised is not None
    return {
        "positions": float(np.abs(a.denoised.frame.positions - b.denoised.frame.positions).max()),
        "labels": float((a.phase != b.phase).mean()),
        "steps": (len(a.denoised.steps), len(b.denoised.steps)),
    }


@part
def speed() -> dict[str, Any]:
    """Return atoms per second and memory."""
    found: dict[str, Any] = {}
    for name in ("cu", "nacl"):
        for n_atoms in SIZES:
            frame = thermal_frame(name, n_atoms)
            found[f"{name} {len(frame)}"] = {
                "classify": rate(len(frame), lambda f=frame: classify(*inputs(f), model=GPU)),
                "classify, best logits kept": rate(
                    len(frame), lambda f=frame: classify(*inputs(f), model=GPU, keep_logits=False)
                ),
                "score": rate(len(frame), lambda f=frame: GPU.log_density_gradient(f)),
                "classify_GB": peak(lambda f=frame: classify(*inputs(f), model=GPU)),
                "score_GB": peak(lambda f=frame: GPU.log_density_gradient(f)),
            }
    return found


@part
def denoising() -> dict[str, Any]:
    """Time classifying with eight steps."""
    frame = thermal_frame("cu", SIZES[-1])
    task = lambda: classify(*inputs(frame), model=GPU, denoise_steps=8)  # noqa: E731
    return {"n": len(frame), "rate": rate(len(frame), task, 2), "GB": peak(task)}


@part
def large() -> dict[str, Any]:
    """Evaluate frames of a million atoms and more."""
    found = {}
    for n_atoms in LARGE:
        frame = thermal_frame("cu", n_atoms)
        task = lambda f=frame: classify(*inputs(f), model=GPU)  # noqa: E731
        memory = peak(task)
        found[str(len(frame))] = {
            "rate": rate(len(frame), task, 1),
            "GB": memory,
            "GB of score": peak(lambda f=frame: GPU.log_density_gradient(f)),
        }
    return found


@part
def training() -> dict[str, Any]:
    """Time a training step on samples of 256 atoms side by side, two shapes of the network."""
    from ovito_mace_phase.atoms.neighbour_list import neighbour_list, side_by_side
    from ovito_mace_phase.lab.training.step import Batch, TrainableModel, training_step
    from ovito_mace_phase.runtime.threads import BlockPool

    tensors, card = load_model(model_path(None))
    config = NetworkConfig.from_card(card)
    head = PhaseHead.from_tensors(tensors, card)
    shapes = {"shipped": (tensors, config, head), "64 channels, l_max 2, 5 A": narrow(tensors, config, 64, 2, 5.0)}
    sample = thermal_frame("cu", 256)
    found = {}
    for name, (numbers, shape, whole) in shapes.items():
        edges = neighbour_list(sample.positions, sample.cell, sample.pbc, shape.r_max + 0.1)
        count = SIZES[0] // len(sample)
        n_atoms = count * len(sample)
        batch = Batch(
            edges=side_by_side([edges] * count),
            slots=np.arange(n_atoms) % 2,
            label=np.ones(n_atoms, dtype=np.int64),
            displacement=np.random.default_rng(0).normal(0.0, 0.1, (n_atoms, 3)),
            sample=np.repeat(np.arange(count), len(sample)),
        )
        model = TrainableModel(numbers, shape, whole.requires_grad_(True), "cuda")
        with BlockPool(1) as pool:
            task = lambda m=model, b=batch, p=pool: training_step(m, b, noise_scale=0.15, pool=p)  # noqa: E731
            found[name] = {"n": n_atoms, "rate": rate(n_atoms, task), "GB": peak(task)}
    return found


def narrow(
    tensors: dict[str, np.ndarray], config: NetworkConfig, channels: int, l_max: int, r_max: float
) -> tuple[dict[str, np.ndarray], NetworkConfig, PhaseHead]:
    """Return a smaller network cut out of the weights of another: its answers mean nothing, its speed does."""
    degrees, found = l_max + 1, {}
    for name, array in tensors.items():
        if name.startswith("basis"):
            nu = name.split(".")[1]
            found[name] = array[(tensors[f"basis.{nu}.monomials"] < degrees**2).all(axis=1)]
        elif name == "embedding" or ".product." in name:
            found[name] = array[..., :channels]
        elif name.endswith(f"radial.{len(config.radial_hidden)}"):
            wide = array.reshape(len(array), config.l_max + 1, config.n_channels)
            found[name] = wide[:, :degrees, :channels].reshape(len(array), -1)
        elif ".radial." in name:
            found[name] = array
        elif not name.startswith("head.") and not any(name.endswith(f"linear.{d}") for d in range(degrees, 4)):
            found[name] = array[..., :channels, :channels]
    small = dataclasses.replace(config, n_channels=channels, l_max=l_max, r_max=r_max)
    n_features = (config.n_layers + 2) * (l_max + 2) * channels
    head = PhaseHead(HeadConfig(kind="mlp", n_features=n_features, n_phases=532, n_hidden=256, n_density=64))
    return {name: np.ascontiguousarray(array) for name, array in found.items()}, small, head.eval()


@part
def mace_torch() -> dict[str, Any]:
    """Time stock mace-torch with the same weights on the card, forward, and energy with forces; ours beside it."""
    from ovito_mace_phase.model.reference.mace.stock_mace import MaceBackend

    tensors, card = load_model(model_path(None))
    config = NetworkConfig.from_card(card)
    frame = thermal_frame("cu", 16384 if len(LARGE) else 2000)
    oracle = MaceBackend(tensors, config, PhaseHead.from_tensors(tensors, card), torch.float32)
    here = CPU.network_frame(frame)
    grid = here.grid()
    given = {name: tensor.cuda() for name, tensor in oracle.inputs(grid, here.slots[grid.order]).items()}
    model = oracle.model.cuda()

    def forward() -> None:
        with torch.no_grad():
            model(given, compute_force=False)

    n_atoms = len(frame)
    best = partial(keep_logits, model=GPU, full=False)
    return {
        "n": n_atoms,
        "mace forward": rate(n_atoms, forward),
        "mace energy and forces": rate(n_atoms, lambda: model(given, compute_force=True)),
        "ours, neighbours and readout within": rate(n_atoms, lambda: best(here)),
        "ours, score": rate(n_atoms, lambda: GPU.log_density_gradient(here)),
        "ours, classify": rate(n_atoms, lambda: classify(*inputs(frame), model=GPU)),
    }


@part
def cpu_beside() -> dict[str, Any]:
    """Time the same model on all cores of the machine."""
    frame = thermal_frame("cu", SIZES[0])
    set_threads(0)
    return {"classify": rate(len(frame), lambda: classify(*inputs(frame), model=CPU), 1)}


@part
def kernels() -> dict[str, Any]:
    """Return where the device spends its time on the largest of the usual frames, ms."""
    from torch.profiler import ProfilerActivity, profile

    frame = thermal_frame("cu", SIZES[-1])
    here, found = GPU.network_frame(frame), {}
    tasks = {"forward": lambda: keep_logits(here, GPU, full=True), "score": lambda: GPU.log_density_gradient(here)}
    for name, task in tasks.items():
        task()
        with profile(activities=[ProfilerActivity.CUDA]) as record:
            task()
            torch.cuda.synchronize()
        events = sorted(record.key_averages(), key=lambda e: -e.self_device_time_total)
        found[name] = {"all": sum(e.self_device_time_total for e in events) / 1e3} | {
            e.key[:44]: round(e.self_device_time_total / 1e3, 2) for e in events[:18]
        }
    return found


def main() -> None:
    """Run the parts and print a table."""
    results: dict[str, Any] = {}
    for function in PARTS:
        if ARGUMENTS.only and function.__name__ not in ARGUMENTS.only.split(","):
            continue
        started = time.perf_counter()
        try:
            results[function.__name__] = function()
        except Exception as error:  # the other parts still count
            traceback.print_exc(limit=8)
            results[function.__name__] = f"failed: {error!r}"[:400]
        took, all_time = time.perf_counter() - started, time.perf_counter() - STARTED
        print(
            f"[{all_time:6.1f} s, {took:5.1f} s] {function.__name__}:",
            json.dumps(results[function.__name__]),
            flush=True,
        )
        if ARGUMENTS.out:
            Path(ARGUMENTS.out).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print("\n| what | measured |\n|---|---|")
    for name, result in results.items():
        for key, value in result.items() if isinstance(result, dict) else [("", result)]:
            print(f"| {name} {key} | {shown(value)} |")


def shown(value: Any) -> str:
    """Return a value with few digits."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(one)}" for key, one in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="frames of some thousand atoms")
    parser.add_argument("--out", help="write the numbers as JSON")
    parser.add_argument("--only", default="", help="names of parts, separated by commas")
    ARGUMENTS = parser.parse_args()
    SIZES = [2000, 5000] if ARGUMENTS.small else [20000, 100000]
    LARGE = [] if ARGUMENTS.small else [1_000_000, 8_000_000]
    CPU, GPU = PhaseModel.load(device="cpu"), PhaseModel.load(device="cuda")
    main()
