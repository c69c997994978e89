"""Sessions, own models and scripts made with version 0.1.0 load and give what they gave then (`data/v0_1_0`).

But for verification, which is on by default since 0.2.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ovito_mace_phase import PhaseModel
from ovito_mace_phase.phases.own import own_phases, table_with

FOLDER = Path(__file__).parents[1] / "data" / "v0_1_0"
EXPECTED = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
for _state in EXPECTED["states"].values():
    for _property, _types in _state["types"].items():
        if _property.startswith("Phase"):  # types have the key as name since 0.2
            _types["OTHER"] = _types.pop("Other")
SESSIONS = sorted(path.name for path in FOLDER.glob("*.ovito"))
EACH = "phase of each atom"
CLOSE = {"rel": 1e-4, "abs": 1e-4}  # rounding of float32, see the README there
STRAY = 1e-3  # of the atoms, which may lie that near to a threshold
VERIFIED = "verified"
SINCE = {  # attributes that 0.1.0 did not write
    *(f"MacePhase.{name}" for name in ("device", "species", "unverified", "leave_out", "hints")),
    *(f"MacePhase.denoising.{name}" for name in ("last_step", "length")),
    *(f"MacePhase.settings.{name}" for name in ("verify", "rmsd_cutoff", "defects")),
}
OTHER = "MacePhase.other."
COUNTED = re.compile(r"MacePhase\.(counts|fractions)\..*")
"""Those of PTM's phases are there since 0.2 where they are 0 too."""


def printed(*arguments: str) -> dict:
    """What a script prints last, run in the folder of the old files, so that relative paths are found."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=FOLDER)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def states() -> dict:
    return printed(str(FOLDER.parents[1] / "helpers" / "old_states.py"), *SESSIONS)


@pytest.fixture(scope="module")
def script() -> dict:
    return printed(str(FOLDER.parents[1] / "helpers" / "as_in_0_1.py"), "script.py")


def same(found, expected, where: str) -> None:
    """Compare what was counted exactly but for stray atoms, numbers to rounding, all else exactly."""
    if isinstance(expected, dict):
        told = {name for name in set(found) - {EACH, VERIFIED} - SINCE if not name.startswith(OTHER)}
        told -= {name for name in told - set(expected) if found[name] == 0 and COUNTED.fullmatch(name)}
        assert told == set(expected), where
        for key, value in expected.items():
            same(found[key], value, f"{where}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for place, value in enumerate(expected):
            same(found[place], value, f"{where}/{place}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, **CLOSE), where
    elif isinstance(expected, int) and not isinstance(expected, bool) and expected > 1 / STRAY:
        assert found == pytest.approx(expected, abs=STRAY * expected), where
    else:
        assert found == expected, where


def same_phases(found: list[int], name: str) -> None:
    with np.load(FOLDER / "phases.npz") as stored:
        expected = stored[name]
    assert len(found) == len(expected)
    assert np.mean(np.array(found) != expected) <= STRAY


def test_five_sessions_were_kept():
    assert set(SESSIONS) == set(EXPECTED["states"]) == {
        "changed.ovito", "defaults.ovito", "denoised.ovito", "merged.ovito", "own_model.ovito",
    }  # fmt: skip


@pytest.mark.parametrize("name", SESSIONS)
def test_parameters_of_a_session_come_back(states, name):
    assert states[name]["parameters"] == EXPECTED["states"][name]["parameters"]


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_gives_what_it_gave(states, name):
    same(states[name], EXPECTED["states"][name], name)
    same_phases(states[name][EACH], f"states/{name}")


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_has_verified_labels(states, name):
    """Which are those of 0.1.0 or Other, but for stray atoms and those that a density threshold had made Other."""
    before = {kind: row[-1] for kind, row in EXPECTED["states"][name]["types"]["Phase"].items()}
    now = states[name][VERIFIED]
    total = sum(before.values())
    assert sum(now.values()) == total
    gained = {kind: count - before.get(kind, 0) for kind, count in now.items() if kind != "OTHER"}
    assert max(gained.values()) <= before["OTHER"] + 0.01 * total, (before, now)
    if name != "own_model.ovito":  # a random network: to its density every atom is a stranger, and none a seed
        assert sum(now.values()) - now["OTHER"] > 0.5 * (total - before["OTHER"]), (before, now)


@pytest.mark.parametrize("name", EXPECTED["script"])
def test_a_script_gives_what_it_gave(script, name):
    same(script[name], EXPECTED["script"][name], name)
    if f"script/{name}" in np.load(FOLDER / "phases.npz").files:
        same_phases(script[name][EACH], f"script/{name}")


def test_script_prints_what_was_kept(script):
    assert set(script) == set(EXPECTED["script"])


def test_an_own_model_loads():
    model = PhaseModel.load(FOLDER / "own_model")
    assert [phase.key for phase in model.phases] == [
        "OTHER", "FCC", "HCP", "BCC", "CUBIC_DIAMOND", "ROCKSALT", "CSCL", "OMEGA", "T_CARBON",
    ]  # fmt: skip
    (phase,) = own_phases(model.card)
    assert (phase.id, phase.key, phase.source) == (100000, "T_CARBON", "t_carbon.cif")
    assert table_with(model.card).by_key("T_CARBON").reference.fractional.shape == (32, 3)
    assert model.noise_scale == 0.15
    assert (model.calibration.temperature, model.calibration.log_density) == (1.2, 0.935)
