"""Methods of others in `evaluate`: what they get, what is right for them, what is refused."""

from __future__ import annotations

import sys
import textwrap

import numpy as np
import pytest
from pipelines import fcc

from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.cli import main
from ovito_mace_phase.lab.evaluation.labels import Answer, group_of
from ovito_mace_phase.lab.evaluation.methods import method_of
from ovito_mace_phase.lab.evaluation.mistakes import Tally
from ovito_mace_phase.lab.evaluation.registry import load
from ovito_mace_phase.lab.evaluation.report import SuiteSettings
from ovito_mace_phase.lab.ovito_methods import FINDS, ovito_answer
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.model.registry import SHIPPED
from ovito_mace_phase.runtime.errors import InputError

CODE = """
import numpy as np

def other(positions, types, cell, pbc):
    assert positions.shape == (len(types), 3) and cell.shape == (3, 3) and pbc.shape == (3,)
    return np.full(len(positions), "OTHER")

def sure(positions, types, cell, pbc):
    positions += 100.0
    return ["fcc"] * len(types), np.linspace(0.0, 1.0, len(types))

def blind(positions, types, cell, pbc):
    return ["FCC"] * len(types)

blind.finds = {"FCC"}

def short(positions, types, cell, pbc):
    return ["FCC"]

def numbers(positions, types, cell, pbc):
    return np.ones(len(types), dtype=int)

def unknown(positions, types, cell, pbc):
    return ["NO_SUCH_PHASE"] * len(types)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module in the current folder, which Python forgets again."""
    (tmp_path / "their_method.py").write_text(textwrap.dedent(CODE))
    monkeypatch.chdir(tmp_path)
    yield "their_method"
    sys.modules.pop("their_method", None)


@pytest.fixture
def frame():
    positions, cell = fcc(noise=0.02, seed=1)
    return make_frame(positions, np.zeros(len(positions), dtype=int), cell, True)


def test_a_function_of_the_current_folder(module, frame):
    path = list(sys.path)
    other, sure = method_of(f"{module}:other").answer(frame), method_of(f"{module}:sure").answer(frame)
    assert sys.path == path
    assert set(other.keys) == {"OTHER"}
    assert np.isnan(other.confidence).all()
    assert set(sure.keys) == {"FCC"}
    assert (sure.confidence[0], sure.confidence[-1]) == (0.0, 1.0)
    before = frame.positions.copy()
    method_of(f"{module}:sure").answer(frame)
    assert (frame.positions == before).all()


def test_what_is_right(module):
    theirs, blind, matching = method_of(f"{module}:other"), method_of(f"{module}:blind"), method_of("PTM")
    assert theirs.right("L1_2") == group_of("L1_2")
    assert blind.right("L1_2") == matching.right("L1_2") == ["FCC"]
    assert (blind.right("CSCL"), matching.right("CSCL")) == (None, ["BCC"])
    assert matching.right("LAVES_C15") is None
    assert matching.right("ICE_IH") is None  # its oxygens alone are on a lattice
    assert {method.right("OTHER")[0] for method in (theirs, blind, matching)} == {"OTHER"}


@pytest.mark.parametrize("name", FINDS)
def test_methods_of_ovito(name, frame):
    answer = method_of(name).answer(frame)
    expected = ovito_answer(frame, name)
    assert (answer.keys == np.where(expected == "ICO", "OTHER", expected)).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PTN", "give MODULE:FUNCTION, or one of PTM 0.1, PTM, CNA"),
        ("no_such_module:function", "cannot load the method"),
        ("their_method:nothing", "cannot load the method"),
    ],
)
def test_no_such_method(module, text, message):
    with pytest.raises(InputError, match=message):
        method_of(text)


@pytest.mark.parametrize(
    ("name", "message"), [("short", r"shape \(1,\) for 256"), ("numbers", "keys of phases"), ("unknown", "NO_SUCH")]
)
def test_unusable_labels(module, frame, name, message):
    with pytest.raises(InputError, match=message):
        method_of(f"{module}:{name}").answer(frame)


def test_other_suites_refuse_methods(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", "defects", "--method", "PTM", "-o", str(tmp_path / "out")])
    assert caught.value.code == 2
    assert "--method is for the suite field alone" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_a_confidence_nothing_is_said_of_it():
    tally = Tally()
    keys = np.array(["FCC", "BCC", "OTHER", "FCC"])
    tally.add("row", {"theirs": Answer(keys=keys, confidence=np.full(4, np.nan, dtype=np.float32))}, "FCC")
    found = tally.numbers()["row"]["theirs"]
    assert (found["right"], found["Other"], found["wrong"]) == (0.5, 0.25, 0.25)
    assert np.isnan(found["sure and wrong"])
    assert np.isnan(found["ece"])
    assert tally.table(also=["theirs"]).rows[0][-1] == "-"


@pytest.mark.slow
@pytest.mark.skipif(not SHIPPED.with_suffix(".safetensors").exists(), reason="no shipped weights in this working tree")
def test_field_scores_others_on_the_same_frames(module):
    """One that says Other everywhere is right where there is no crystal, and nowhere else."""
    names = (f"{module}:other", "PTM 0.1")
    found = load("field")(PhaseModel.load(), SuiteSettings(quick=True, methods=names))
    beside = found.numbers["beside"]
    assert set(beside) == {f"{name}: {what}" for name in names for what in ("crystals", "no crystal")}
    assert beside[f"{names[0]}: no crystal"][names[0]]["right"] == 1.0
    assert beside[f"{names[0]}: crystals"][names[0]]["Other"] == 1.0
    for row, columns in beside.items():
        assert columns["default"]["atoms"] == columns[row.rpartition(":")[0]]["atoms"] > 0
    every = sum(kind["default"]["atoms"] for kind in found.numbers["mistakes"].values())
    assert sum(beside[f"{names[0]}: {what}"][names[0]]["atoms"] for what in ("crystals", "no crystal")) == every
    assert 0 < sum(beside[f"PTM 0.1: {what}"]["PTM 0.1"]["atoms"] for what in ("crystals", "no crystal")) < every
    assert found.tables[0].title.startswith("Beside other methods")
