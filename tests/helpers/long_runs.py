"""Long trajectories of few atoms, and runs of the command that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from pipelines import fcc

TESTS = Path(__file__).parent


def long_dump(path: Path, n_frames: int) -> Path:
    """A LAMMPS dump of 32 atoms that drift along x."""
    corner, cell = fcc(2)
    rng = np.random.default_rng(1)
    with path.open("w") as stream:
        for frame in range(n_frames):
            positions = corner + 0.02 * rng.standard_normal(corner.shape) + [6.0 * frame / n_frames, 0, 0]
            stream.write(f"ITEM: TIMESTEP\n{10 * frame}\nITEM: NUMBER OF ATOMS\n{len(positions)}\n")
            stream.write("ITEM: BOX BOUNDS pp pp pp\n" + 3 * f"0.0 {cell[0, 0]}\n")
            stream.write("ITEM: ATOMS id type x y z\n")
            for number, (x, y, z) in enumerate(positions):
                stream.write(f"{number + 1} 1 {x:.6f} {y:.6f} {z:.6f}\n")
    return path


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(TESTS / "fake_command.py"), "classify", *map(str, arguments)]


def start(*arguments: object, seconds: float = 0.0) -> subprocess.Popen[str]:
    environment = os.environ | {"FAKE_SECONDS": str(seconds)}
    return subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


def n_finished(work: Path) -> int:
    return len(list(work.glob("frame_*.zip"))) if work.is_dir() else 0


def kill_after(job: subprocess.Popen[str], work: Path, n_frames: int, delay: float) -> None:
    """Kill a run without warning once so many frames more are finished; see that its workers end too."""
    import psutil

    goal, deadline = n_finished(work) + n_frames, time.monotonic() + 240
    while n_finished(work) < goal and job.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(delay)
    assert job.poll() is None, job.communicate()[0]
    workers = psutil.Process(job.pid).children(recursive=True)
    job.send_signal(signal.SIGKILL)
    job.communicate()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
