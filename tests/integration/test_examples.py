"""The example notebook is valid, and its code runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ovito_mace_phase.model.registry import SHIPPED

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "examples" / "trajectory.ipynb"


@pytest.mark.skipif(not SHIPPED.with_suffix(".safetensors").exists(), reason="no shipped weights in this working tree")
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
