"""What the README says: its script and commands run, its links exist; the parameters that the docs list are there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from doc_pages import command_lines

from ovito_mace_phase import MacePhaseModifier
from ovito_mace_phase.cli.classify import classify_command
from ovito_mace_phase.cli.evaluate import evaluate_command
from ovito_mace_phase.model.registry import SHIPPED
from ovito_mace_phase.plugin.modifier import parameter_names

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PARAMETERS = (ROOT / "docs" / "gui.md").read_text(encoding="utf-8").partition("## Parameters")[2].partition("\n##")[0]
SCRIPTS = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)


@pytest.mark.skipif(not SHIPPED.with_suffix(".safetensors").exists(), reason="no shipped weights in this working tree")
@pytest.mark.parametrize("code", SCRIPTS)
def test_script(code, tmp_path):
    code = code.replace("sample_dumps/", f"{(ROOT / 'sample_dumps').as_posix()}/")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = {words[0]: float(words[-1].strip("%")) for words in map(str.split, done.stdout.splitlines()) if words}
    # two slabs of about half the atoms each, with disordered joins: see sample_dumps/README.md
    assert 38 < found["HCP"] < 44
    assert 43 < found["OMEGA"] < 48
    assert 12 < found["OTHER"] < 17
    assert 0.9 < found["mean"] <= 1.0
    labelled = (tmp_path / "labelled.xyz").read_text().splitlines()
    assert labelled[0] == "2412"
    assert "OP_OMEGA:R:1" in labelled[1]
    kinds = [line.split()[4] for line in labelled[2:]]
    assert 100 * kinds.count("OMEGA") / 2412 == pytest.approx(found["OMEGA"], abs=0.0501)


COMMANDS = [words for _, words in command_lines(ROOT / "README.md")]


@pytest.mark.skipif(not SHIPPED.with_suffix(".safetensors").exists(), reason="no shipped weights in this working tree")
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands(words, tmp_path):
    given = [str(ROOT / word) if word.startswith("sample_dumps/") else word for word in words]
    done = subprocess.run(
        [sys.executable, "-m", "ovito_mace_phase", *given], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    if "-o" in words:
        assert list((tmp_path / words[words.index("-o") + 1]).glob("*.xyz"))


def test_it_is_short():
    assert len(COMMANDS) == 5
    assert len(README.split()) <= 900


def test_script_is_short():
    assert len(SCRIPTS) == 1
    assert len(SCRIPTS[0].splitlines()) <= 12


def test_links():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert "docs/quickstart.md" in links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_parameters_are_those_of_the_modifier():
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PARAMETERS.splitlines()
        if line.startswith("|")
    ]
    rows = [row for row in rows if row[1].startswith("`")]
    traits = MacePhaseModifier().traits()
    assert {row[1].strip("`"): row[0] for row in rows} == {name: traits[name].label for name in parameter_names()}
    options = {name for option in classify_command.params for name in option.opts}
    assert {match for row in rows for match in re.findall(r"--[a-z-]+", row[2])} <= options


def test_options_are_spelled_like_the_parameters():
    rows = re.findall(r"^\| [^|]+ \| `(\w+)` \| `(--[a-z-]+)", PARAMETERS, re.M)
    assert len(rows) > 8
    spelled = {name: option for name, option in rows if name != "only_selected"}  # an expression there, a switch here
    assert spelled == {name: "--" + name.replace("_", "-") for name in spelled}


@pytest.mark.parametrize("command", [classify_command, evaluate_command], ids=["classify", "evaluate"])
def test_renamed_options_are_listed(command):
    page = (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8")
    options = {name for option in command.params for name in option.opts}
    assert command.old_names
    for old, new in command.old_names.items():
        assert new in options
        assert re.search(rf"\| `{old}` \| `{new}` \|", page), old
