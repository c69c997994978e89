"""Kernels are compiled once for a machine: a second process finds them on the disk."""

import os
import subprocess
import sys

_PROGRAM = """
import numpy as np
from ovito_mace_phase.model.network.operations import kernels, kernels_backward

convolve, back = kernels.convolve(4, 2), kernels_backward.convolve(4, 2)
contract = kernels.contract(4)
ends, index, vectors = np.array([0, 1]), np.zeros(1, dtype=np.int64), np.array([[1.0, 0.0, 0.0]])
source, table = np.ones((1, 4), dtype=np.float32), np.ones((8, 2, 8), dtype=np.float32)
out = np.zeros((4, 1, 4), dtype=np.float32)
grid = (1.0, 1.0, 5.0)
convolve(ends, index, vectors, source, table, *grid, out)
back(ends, index, vectors, source, table, *grid, out, np.zeros((1, 3)), np.zeros((1, 4), dtype=np.float32))
contract(
    out, index, source[None], np.zeros((0, 2), dtype=np.int64), np.zeros((1, 0, 4), dtype=np.float32),
    np.zeros((0, 3), dtype=np.int64), np.zeros((1, 0, 4), dtype=np.float32), np.zeros((1, 4), dtype=np.float32),
    np.zeros((0, 1, 4), dtype=np.float32),
)
print(*(len(kernel.stats.cache_misses) for kernel in (convolve, back, contract)))
print(*(len(kernel.stats.cache_hits) for kernel in (convolve, back, contract)))
"""


def _misses_and_hits(folder):
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env=os.environ | {"NUMBA_CACHE_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [tuple(map(int, line.split())) for line in done.stdout.splitlines()]


def test_a_second_process_compiles_nothing(tmp_path):
    assert _misses_and_hits(tmp_path) == [(1, 1, 1), (0, 0, 0)]
    assert _misses_and_hits(tmp_path) == [(0, 0, 0), (1, 1, 1)]
