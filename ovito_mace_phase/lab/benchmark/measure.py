"""Speed and memory of evaluations, measured side by side in one process.

    each turn calls every task once, so that a slow moment of the machine affects all of them; the best turn counts, and
    for the ratio of two tasks the median over turns

Frames are crystals of the phase table in network units with Gaussian displacements. Nothing here knows OVITO or mace:
tasks are callables.
"""

from __future__ import annotations

import gc
import platform
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame, make_frame
from ovito_mace_phase.atoms.length_scale import TARGET_VOLUME
from ovito_mace_phase.lab.crystals import repeat
from ovito_mace_phase.phases import phase_table

FRAMES = {"cu": "FCC", "nacl": "ROCKSALT", "ice": "ICE_IH"}
SIGMA = 0.10
"""Displacement per component, network units (A at 13 A^3 per atom); 0.065 of the nearest-neighbour distance of fcc."""
_SAMPLING = 0.002  # s between two looks at the memory in use


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One task on a frame of `n_atoms`: seconds of every turn, and the memory it took above what was in use (bytes)."""

    n_atoms: int
    seconds: tuple[float, ...]
    peak_bytes: int | None

    @property
    def rate(self) -> float:
        """Atoms per second in the fastest turn."""
        return self.n_atoms / min(self.seconds)


@dataclass(frozen=True, kw_only=True)
class Task:
    """Something to time: a call that works on `n_atoms`."""

    n_atoms: int
    call: Callable[[], Any]


def thermal_frame(name: str, n_atoms: int, seed: int = 0) -> Frame:
    """Return a crystal of about `n_atoms` atoms in an orthorhombic or hexagonal cell, with displacements.

    Parameters
    ----------
    name : str
        A key of `FRAMES`.
    n_atoms : int
        The frame has at least this many, in as near a cube as whole cells give.
    """
    reference = phase_table().by_key(FRAMES[name]).reference
    if reference is None:
        raise ValueError(f"{name} has no reference cell")
    per_cell = reference.n_atoms
    unit = reference.cell * (TARGET_VOLUME * per_cell / abs(np.linalg.det(reference.cell))) ** (1.0 / 3.0)
    lengths = np.linalg.norm(unit, axis=1)
    side = (n_atoms * TARGET_VOLUME) ** (1.0 / 3.0)
    times = np.maximum(1, np.round(side / lengths)).astype(int)
    while per_cell * times.prod() < n_atoms:
        times[np.argmin(times * lengths)] += 1
    cell, fractional, species = repeat(unit, reference.fractional, reference.species, times)
    positions = fractional @ cell
    positions += np.random.default_rng(seed).normal(0.0, SIGMA, positions.shape)
    return make_frame(positions, species, cell, True)


def measure(tasks: Mapping[str, Task], turns: int) -> dict[str, Measured]:
    """Call every task once to warm up and then once a turn; memory is watched in a turn of its own."""
    for task in tasks.values():
        task.call()
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(turns):
        for name, task in tasks.items():
            started = time.perf_counter()
            task.call()
            seconds[name].append(time.perf_counter() - started)
    return {
        name: Measured(n_atoms=task.n_atoms, seconds=tuple(seconds[name]), peak_bytes=peak_memory(task.call))
        for name, task in tasks.items()
    }


def ratio(slow: Measured, fast: Measured) -> float:
    """Return how many times more atoms per second `fast` works on: the median over turns."""
    return float(np.median(np.array(slow.seconds) / np.array(fast.seconds)) * fast.n_atoms / slow.n_atoms)


def peak_memory(task: Callable[[], Any]) -> int | None:
    """Return the most memory that a call took above what was in use before, in bytes; None where it cannot be read."""
    before = resident()
    if before is None:
        return None
    gc.collect()
    before = resident() or before
    most = [before]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(_SAMPLING):
            most[0] = max(most[0], resident() or 0)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        result = task()
        most[0] = max(most[0], resident() or 0)  # what is returned counts, however busy the machine
        del result
    finally:
        stop.set()
        watcher.join()
    return most[0] - before


def resident() -> int | None:
    """Return the memory of this process, bytes."""
    try:
        text = Path("/proc/self/statm").read_text(encoding="ascii")
    except OSError:
        return None
    import resource

    return int(text.split()[1]) * resource.getpagesize()


def machine(packages: Sequence[str]) -> dict[str, str]:
    """Return processor, system and versions of packages."""
    found = {"processor": _processor(), "system": platform.platform(), "python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()


def largest(difference: npt.NDArray[Any]) -> float:
    """Return the largest absolute value, 0 for nothing."""
    return float(np.abs(difference).max()) if difference.size else 0.0
