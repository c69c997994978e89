"""`ovito-mace-phase bench`: every backend on one small frame, numbers and picture written; frames as they should be."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ovito_mace_phase import classify
from ovito_mace_phase.cli import main
from ovito_mace_phase.lab.benchmark import measure as benchmark
from ovito_mace_phase.lab.benchmark.cut_network import SMALLEST, Shape, cut_model, cut_network
from ovito_mace_phase.model.network.model_file import load_model
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.model.registry import model_path


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["bench", *map(str, arguments)])
    return ended.value.code


@pytest.mark.slow
def test_all_backends(tmp_path, capsys):
    numbers, picture = tmp_path / "speed.json", tmp_path / "speed.png"
    options = ("--sizes", "260", "--frames", "nacl", "--turns", 1, "--json", numbers, "--plot", picture)
    assert run(*options) == 0
    text = capsys.readouterr().out
    assert "x mace" in text
    assert "error against float64" in text
    found = json.loads(numbers.read_text())
    kinds = {row["backend"] for row in found["rows"]}
    assert kinds == {"labels", "engine", "score", "training", "mace", "mace-forces", "ptm", "cna"}
    assert len(found["rows"]) == len(kinds)
    for row in found["rows"]:
        assert row["n_atoms"] >= (250 if row["backend"] == "training" else 260)  # whole samples of 252
        assert row["atoms_per_second"] == pytest.approx(row["n_atoms"] / min(row["seconds"]), rel=1e-3)
        if row["backend"] == "engine":
            assert row["error_logits"] < 1e-2  # float32, logits to -90
            assert row["ratios"]["mace"] > 1
        if row["backend"] == "score":
            assert row["error_score"] < 1e-3
    assert found["machine"]["torch"]
    assert picture.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--sizes", "many"), "many"),
        (("--sizes", "0"), "positive"),
        (("--frames", "gold"), "gold"),
        (("--backends", "lammps"), "lammps"),
    ],
)
def test_bad_options(options, words, capsys):
    assert run(*options) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("name", benchmark.FRAMES)
def test_frames(name):
    frame = benchmark.thermal_frame(name, 700)
    assert 700 <= len(frame) < 1500
    assert len(frame) * 13.0 == pytest.approx(abs(np.linalg.det(frame.cell)))
    result = classify(frame.positions, frame.species, frame.cell, frame.pbc)
    assert result.fractions()[benchmark.FRAMES[name]] > 0.95


def test_peak_memory_sees_what_a_call_takes():
    found = benchmark.peak_memory(lambda: np.ones(20_000_000))
    assert found is None or 100e6 < found < 400e6


def test_ratio_is_taken_within_turns():
    slow = benchmark.Measured(n_atoms=5, seconds=(2.0, 20.0, 4.0), peak_bytes=None)
    fast = benchmark.Measured(n_atoms=10, seconds=(1.0, 10.0, 1.0), peak_bytes=None)
    assert benchmark.ratio(slow, fast) == 4.0
    assert fast.rate == 10.0


def test_parts_add_up(tmp_path, capsys):
    numbers = tmp_path / "parts.json"
    assert run("--parts", "--frames", "cu", "--sizes", "300", "--turns", 1, "--json", numbers) == 0
    assert "head, first matrix" in capsys.readouterr().out
    found = {row["network"]: row["parts"] for row in json.loads(numbers.read_text())["rows"]}
    for parts in found.values():
        together = parts.pop("together")
        assert sum(parts.values()) == pytest.approx(together)
        assert all(spent > 0 for name, spent in parts.items() if name != "rest")
        assert parts["rest"] < 0.8 * together
    assert found["smallest"]["head, first matrix"] < 0.5 * found["model"]["head, first matrix"]


def test_cut_network_is_the_network_where_nothing_is_cut():
    """The same shape gives the same features; a smaller one is evaluated like any other."""
    model, (tensors, _) = PhaseModel.load(device="cpu"), load_model(model_path(None))
    config = model.evaluator.weights.config
    whole = Shape(n_channels=config.n_channels, l_max=config.l_max, r_max=config.r_max, n_hidden=8, n_density=0)
    cut, same = cut_network(tensors, config, whole)
    assert same == config
    for name, tensor in cut.items():
        np.testing.assert_array_equal(tensor, tensors[name])
    frame = benchmark.thermal_frame("nacl", 300)
    small = cut_model(model, tensors, SMALLEST)
    assert small.logits(frame).shape == (len(frame), len(model.phases))
