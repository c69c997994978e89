"""`ovito-mace-phase doctor`: a sound machine passes; whatever is broken is named with a remedy, and the status is 1."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest
from command_line import run

from ovito_mace_phase.cli.checks import answers, computer, kernels, model, ovito_module, packages
from ovito_mace_phase.model.network import model_file
from ovito_mace_phase.model.registry import SHIPPED
from ovito_mace_phase.runtime import memory, threads

pytestmark = pytest.mark.skipif(
    not SHIPPED.with_suffix(".safetensors").exists(), reason="no shipped weights in this working tree"
)
MOST_SECONDS = 20


def states(findings):
    return [finding.state for finding in findings]


def wrong(findings):
    """The one finding that is wrong; it says what to do."""
    (found,) = [finding for finding in findings if finding.state == "wrong"]
    return found


@pytest.fixture
def stored():
    with np.load(answers.FILE) as file:
        return dict(file)


def changed(stored, folder, **values):
    np.savez(folder / "answers.npz", **stored | values)
    return folder / "answers.npz"


def test_sound(capsys):
    assert run("doctor", "--device", "cpu") == 0
    text = capsys.readouterr().out
    for word in ("program", "Python", "packages", "model", "threads", "memory", "GPU", "OVITO", "answers", "kernels"):
        assert f"\n{word}" in "\n" + text
    assert "all is well" in text
    assert "WRONG" not in text


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell the time of child processes")
def test_as_a_process_with_compiled_kernels_it_is_quick():
    import resource  # not on Windows

    command = [sys.executable, "-m", "ovito_mace_phase", "doctor", "--device", "cpu"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before  # of the processor, whatever else runs
    assert done.returncode == 0, done.stdout + done.stderr
    if ", none had to be compiled" in done.stdout:
        assert seconds < MOST_SECONDS


def test_status_and_remedy_when_something_is_wrong(capsys, monkeypatch):
    monkeypatch.setenv(threads.VARIABLE, "many")
    assert run("doctor", "--device", "cpu") == 1
    text = capsys.readouterr().out
    assert "WRONG: the environment variable OVITO_MACE_PHASE_THREADS is 'many'" in text
    assert "remedy: unset OVITO_MACE_PHASE_THREADS" in text
    assert "wrong (" in text.splitlines()[-1]


@pytest.mark.parametrize("package", ["torch", "packaging.requirements"])
def test_a_package_that_cannot_be_imported_ends_one_check_and_not_the_others(package, capsys, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("ovito_mace_phase.cli.checks")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    assert run("doctor", "--device", "cpu") == 1
    lines = capsys.readouterr().out.splitlines()
    assert any("WRONG: could not be looked at: ModuleNotFoundError" in line and package in line for line in lines)
    assert any(line.startswith("OVITO") for line in lines)
    assert any(line.startswith("model") for line in lines)
    assert "remedy: " in "".join(lines)


def test_stored_answers_are_of_the_shipped_model(stored):
    """A new model needs new ones: `python docs/tools/doctor_answers.py`."""
    assert str(stored["sha256"]) == model_file.read_card(SHIPPED)["sha256"]


def test_another_model_is_not_compared(tmp_path, stored):
    found = wrong(answers.check_answers("cpu", changed(stored, tmp_path, sha256=np.array("0" * 64))))
    assert "another model" in found.text
    assert "install" in found.remedy


def test_one_wrong_label(tmp_path, stored, rng):
    phase = stored["copper.phase"].copy()
    phase[rng.integers(len(phase))] += 1
    found = wrong(answers.check_answers("cpu", changed(stored, tmp_path, **{"copper.phase": phase})))
    assert f"copper: {len(phase) - 1} of {len(phase)} labels" in found.text
    assert "__pycache__" in found.remedy


def test_weights_that_are_a_little_off(tmp_path, monkeypatch, rng):
    """As of a library that rounds: TF32 keeps ten bits, so every weight is off by up to 1/2048."""
    from ovito_mace_phase.classification import classify as module
    from ovito_mace_phase.model.phase_model import PhaseModel

    tensors, card = model_file.load_model(SHIPPED)
    off = {
        name: (value * (1 + rng.uniform(-1, 1, value.shape) / 2048)).astype(value.dtype) if "linear" in name else value
        for name, value in tensors.items()
    }
    assert any((off[name] != tensors[name]).any() for name in tensors)
    model_file.save_model(tmp_path / "rounded", off, card)
    rounded = PhaseModel.load(tmp_path / "rounded", device="cpu")
    monkeypatch.setattr(module, "get_model", lambda *_: rounded)
    found = [finding for finding in answers.check_answers("cpu") if finding.state == "wrong"]
    assert found
    assert all("logits within" in finding.text and finding.remedy for finding in found)


def test_numbers_that_are_none(monkeypatch):
    def broken(positions, types, cell, keys, **_):
        return {"phase": np.zeros(len(positions)), "rmsd": np.zeros(len(positions)), "logits": np.full((1, 1), np.nan)}

    monkeypatch.setattr(answers, "answers_of", broken)
    assert states(answers.check_answers("cpu")) == ["wrong", "wrong"]


def test_damaged_model(tmp_path, rng):
    for path in model_file.model_paths(SHIPPED):
        shutil.copy(path, tmp_path / path.name)
    numbers, _ = model_file.model_paths(tmp_path / SHIPPED.name)
    content = bytearray(numbers.read_bytes())
    content[rng.integers(len(content) // 2, len(content))] ^= 1
    numbers.write_bytes(content)
    found = wrong(model.check_model(str(tmp_path / SHIPPED.name)))
    assert "damaged" in found.text
    assert "again" in found.remedy


def test_missing_and_old_packages(monkeypatch):
    real = metadata.version
    monkeypatch.setattr(
        metadata, "requires", lambda name: ["numpy>=2", "no-such-package>=1.5", "spglib>=9; extra == 'x'"]
    )
    monkeypatch.setattr(metadata, "version", lambda name: "1.26.4" if name == "numpy" else real(name))
    found = [finding for finding in packages.check_packages() if finding.state == "wrong"]
    assert [finding.text for finding in found] == ["numpy is 1.26.4, needed is numpy>=2", "no-such-package is missing"]
    assert 'pip install "no-such-package>=1.5"' in found[1].remedy


def test_development_versions_fit(monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda name: ["torch>=2.5"])
    monkeypatch.setattr(metadata, "version", lambda name: "2.14.0.dev20260901+cpu")
    assert "wrong" not in states(packages.check_packages())


def test_folder_that_is_not_installed(monkeypatch):
    def none(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", none)
    assert states(packages.check_packages())[-1] == "note"


def test_variables_that_cannot_be_used(monkeypatch):
    monkeypatch.setenv(memory.VARIABLE, "lots")
    found = wrong(computer.check_computer())
    assert "'lots' is no amount of memory" in found.text
    assert memory.VARIABLE in found.remedy


def test_more_threads_than_cores(monkeypatch):
    monkeypatch.setenv(threads.VARIABLE, "4096")
    assert states(computer.check_computer())[0] == "note"


def test_card_that_does_not_compute(monkeypatch):
    import torch

    def fails(*_, **__):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Old card")
    monkeypatch.setattr(torch, "ones", fails)
    found = wrong(computer.check_computer())
    assert (
        found.text == "Old card does not compute: CUDA error: no kernel image is available for execution on the device"
    )
    assert "--device cpu" in found.remedy


def test_ovito_that_cannot_be_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "ovito", None)
    found = wrong(ovito_module.check_ovito())
    assert "cannot be imported" in found.text
    assert "pip install" in found.remedy


def test_modifier_that_is_not_registered(monkeypatch):
    monkeypatch.setattr(metadata, "entry_points", lambda group: [])
    (found,) = ovito_module.check_ovito()
    assert found.state == "note"
    assert "ovitos -m pip" in found.remedy


class _Kernel:
    def __init__(self, path, hits, misses):
        self.stats = type("Stats", (), {"cache_path": path, "cache_hits": {1: hits}, "cache_misses": {1: misses}})


@pytest.mark.parametrize(
    ("path", "hits", "misses", "state", "text"),
    [
        ("here", 3, 0, "fine", "3 loaded from disk, none had to be compiled"),
        ("here", 1, 2, "fine", "1 loaded, 2 compiled now and kept for the next time"),
        (None, 0, 2, "note", "every process compiles again"),
        (None, 0, 0, "fine", "none was called"),
    ],
)
def test_kernels(tmp_path, monkeypatch, path, hits, misses, state, text):
    folder = None if path is None else str(tmp_path / path)
    monkeypatch.setattr(kernels, "kernels", lambda: [_Kernel(folder, hits, misses)])
    (found,) = kernels.check_kernels()
    assert found.state == state
    assert text in found.text


def test_kernels_in_a_folder_that_is_locked(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "kernels", lambda: [_Kernel(str(tmp_path / "there"), 0, 2)])
    monkeypatch.setattr(kernels.os, "access", lambda *_: False)
    (found,) = kernels.check_kernels()
    assert found.state == "note"
    assert "NUMBA_CACHE_DIR" in found.remedy
