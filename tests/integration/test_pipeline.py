"""The shipped model in OVITO on the sample dumps, and the scripts of the documentation."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from our_threads import threads_at_work
from ovito.io import import_file

from ovito_mace_phase import MacePhaseModifier, phase_table
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.model.registry import SHIPPED as MODEL

ROOT = Path(__file__).parents[2]
DUMPS = ROOT / "sample_dumps"
SHIPPED = MODEL.with_suffix(".safetensors")
pytestmark = pytest.mark.skipif(not SHIPPED.exists(), reason="there are no shipped weights in this working tree")


@pytest.fixture(scope="module")
def model():
    return PhaseModel.load()


def pipeline(name: str, **settings):
    line = import_file(str(DUMPS / name))
    line.modifiers.append(MacePhaseModifier(**settings))
    return line


@pytest.mark.parametrize("name", ["cu_hot.dump.gz", "nacl_hot.dump.gz", "ti_alpha_omega.dump.gz"])
def test_equals_classify(name, model):
    from ovito_mace_phase.classification.classify import classify

    data = pipeline(name, prior="frame", confidence_threshold=0.3, order_parameters="FCC,ROCKSALT").compute()
    cell = np.array(data.cell[:3, :3]).T
    types = np.asarray(data.particles.particle_types)
    result = classify(
        data.particles.positions, types, cell, data.cell.pbc, model=model, prior="frame", confidence_threshold=0.3
    )
    np.testing.assert_array_equal(data.particles["Phase"], result.phase)
    np.testing.assert_array_equal(data.particles["Confidence"], result.confidence)
    np.testing.assert_array_equal(data.particles["Phase Margin"], result.margin)
    for key, count in result.counts().items():
        assert data.attributes[f"MacePhase.counts.{key}"] == count
    scores = {name.removeprefix("OP_") for name in set(data.particles.keys()) if name.startswith("OP_")}
    assert scores == {"FCC", "ROCKSALT"}
    for key in scores:
        np.testing.assert_array_equal(data.particles[f"OP_{key}"], result.order_parameter(key))


def test_part_of_the_phases_keeps_order_parameters_of_all():
    data = pipeline("cu_hot.dump.gz", phases="BCC,HCP", order_parameters="FCC,LAVES_C15").compute()
    ids = {phase_table().by_key(key).id for key in ("OTHER", "BCC", "HCP")}
    assert set(np.unique(data.particles["Phase"])) <= ids
    every = pipeline("cu_hot.dump.gz", order_parameters="FCC,LAVES_C15").compute()
    for name in ("OP_FCC", "OP_LAVES_C15"):
        np.testing.assert_array_equal(data.particles[name], every.particles[name])


def test_cancel_leaves_no_thread():
    data = import_file(str(DUMPS / "cu_solid_liquid.dump.gz")).compute()
    steps = MacePhaseModifier().modify(data, frame=0, data_cache=None)
    for _ in range(3):
        next(steps)
    steps.close()
    assert threads_at_work() == []


def test_command_line(tmp_path):
    command = [
        sys.executable,
        "-m",
        "ovito_mace_phase",
        "classify",
        str(DUMPS / "nacl_hot.dump.gz"),
        "-o",
        str(tmp_path),
    ]
    done = subprocess.run([*command, "--frames", "0"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        f"nacl_hot.{name}" for name in ("xyz", "phases.csv", "phases.png", "frame.png")
    }
    assert import_file(str(tmp_path / "nacl_hot.xyz")).num_frames == 1
    with (tmp_path / "nacl_hot.phases.csv").open() as stream:
        (row,) = [row for row in csv.DictReader(stream) if row["count"] != "0"]
    assert (row["phase"], row["count"], row["n_atoms"]) == ("ROCKSALT", "1000", "1000")


def scripts(name: str) -> list[str]:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / name).read_text(encoding="utf-8"), re.M | re.S)
    return [block for block in blocks if "import_file" in block or "bulk(" in block]


SAID = {  # patterns of what the scripts print
    ("quickstart.md", 0): r"0\.49\d+ \[",  # half of the dump is crystal
    ("quickstart.md", 1): r"\{'ROCKSALT': 216\} 0\.99",
    ("batch.md", 0): r"(?m)^   0 +0 +0\.6\d\d\n(.*\n)+  11 +\d+ +0\.000$",  # it melts
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "number"), SAID)
def test_scripts_of_the_documentation(name, number, tmp_path):
    code = scripts(name)[number].replace("sample_dumps/", f"{DUMPS.as_posix()}/")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(SAID[name, number], done.stdout), done.stdout
