"""The examples run and say what they should; their sessions open; the notebook is valid, and its code runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ovito_mace_phase.model.registry import SHIPPED

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PRINTED = {
    "trajectory": r" 0\.0 ps FCC  6[01]\.\d%.*\n(?s:.*) 33\.0 ps FCC   0\.0%",
    "grains": r"^5 grains of ",
    "defects": r"(?s:12\.0 ps: 16 .*16\.0 ps: 16 .*20\.0 ps: 16 .*)",
    "order_parameters": r"HCP is the higher one from 29 A 61 A",
    "denoising": r"as it was  PTM calls  41\.0%.*\ndenoised   PTM calls (100\.0|99\.\d)%",
}
"""Folder: what its script prints. The answers are known from how the frames were made."""
MOST_BYTES = 300_000
LOADER = """
import sys, ovito
ovito.scene.load(sys.argv[1])
pipeline = ovito.scene.pipelines[0]
print(pipeline.compute(0).attributes["MacePhase.classified_atoms"])
"""
NOTEBOOK = ROOT / "docs" / "examples" / "trajectory.ipynb"


NEEDS_WEIGHTS = pytest.mark.skipif(
    not SHIPPED.with_suffix(".safetensors").exists(), reason="no shipped weights in this working tree"
)


def test_every_example_is_here():
    assert {path.name for path in EXAMPLES.iterdir() if path.is_dir()} == set(PRINTED)
    for name in PRINTED:
        files = list((EXAMPLES / name).iterdir())
        assert {path.name for path in files} == {f"{name}.{kind}" for kind in ("py", "ovito", "png")}
        assert sum(path.stat().st_size for path in files) < MOST_BYTES


def run(folder, *arguments):
    """Run Python in a folder; return what it printed."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@NEEDS_WEIGHTS
@pytest.mark.parametrize("name", PRINTED)
def test_example(name, tmp_path):
    printed = run(tmp_path, str(EXAMPLES / name / f"{name}.py"))
    assert re.search(PRINTED[name], printed), printed
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{name}.ovito", f"{name}.png"]


@pytest.mark.slow
@NEEDS_WEIGHTS
@pytest.mark.parametrize("name", PRINTED)
def test_session_finds_its_dump_in_any_clone(name, tmp_path):
    """It was saved elsewhere: only the path from the session to the dump is the same."""
    (tmp_path / "sample_dumps").symlink_to(ROOT / "sample_dumps", target_is_directory=True)
    folder = tmp_path / "examples" / name
    folder.mkdir(parents=True)
    shutil.copy(EXAMPLES / name / f"{name}.ovito", folder)
    assert int(run(tmp_path, "-c", LOADER, str(folder / f"{name}.ovito"))) > 900


@NEEDS_WEIGHTS
@pytest.mark.slow
def test_notebook(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    code = code.replace("Path.cwd()", f"Path({str(NOTEBOOK.parent)!r})")
    environment = os.environ | {"MPLBACKEND": "agg"}
    # by -c, as in a notebook: worker processes have no script to read again
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    solid = [float(share) for share in re.findall(r"^ *\d+ +([\d.]+)%$", done.stdout, re.M)]
    assert len(solid) == 3
    assert 55 < solid[0] < 70
    assert solid[0] > solid[1] > solid[2] == 0
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == [
        "cu_melting.phases.csv",
        "cu_melting.xyz",
        "report.html",
    ]
