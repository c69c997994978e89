"""Compiled kernels: announced when they are not there yet; a read-only install works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from engine_tools import evaluator

import ovito_mace_phase
from ovito_mace_phase.model.engine import warm_up as module

SCRIPT = """
import sys; sys.path.insert(0, {folder!r})
import numpy as np, ovito_mace_phase
assert ovito_mace_phase.__file__.startswith({folder!r}), ovito_mace_phase.__file__
from ovito_mace_phase.atoms.cell_grid import make_grid, _find_pairs
grid = make_grid(np.random.rand(50, 3) * 10, np.eye(3) * 10, np.ones(3, bool), 3.0)
print(len(grid.pairs(0, 50)[1]) > 0, type(_find_pairs._cache).__name__)
"""


@pytest.mark.parametrize("writable", [True, False])
def test_install_that_cannot_be_written(tmp_path, writable):
    """A file in the place of every cache folder keeps numba from writing there, whoever the user is."""
    folder = tmp_path / "site"
    package = folder / "ovito_mace_phase"
    shutil.copytree(
        Path(ovito_mace_phase.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__", "weights")
    )
    if not writable:
        for place in [package, *(path for path in package.rglob("*") if path.is_dir())]:
            (place / "__pycache__").write_text("taken")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "XDG"))}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "HOME": str(tmp_path / "home")}
    if not writable:
        (tmp_path / "home").write_text("no folder")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(folder=str(folder))], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "FunctionCache" if writable else "NullCache"]


def test_a_long_compilation_is_announced(monkeypatch):
    said = []
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    monkeypatch.setattr(module, "_said", threading.Event())
    monkeypatch.setattr(module, "forward", lambda *_, **__: time.sleep(0.3))
    module.warm_up(evaluator(), 1, status=said.append)
    assert said == [module.MESSAGE]
    module.warm_up(evaluator(), 1, status=said.append)
    assert said == [module.MESSAGE, module.FURTHER]
    monkeypatch.setattr(module, "forward", lambda *_, **__: None)
    module.warm_up(evaluator(), 1, status=said.append)
    time.sleep(0.1)
    assert len(said) == 2
