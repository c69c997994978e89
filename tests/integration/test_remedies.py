"""Atoms at the place of others, and too many species: one note, whose option can be pasted and then silences it."""

from __future__ import annotations

import re
import shlex

import numpy as np
import pytest
from command_line import rows, run
from fake_model import install
from ovito.io import export_file
from ovito.modifiers import ExpressionSelectionModifier
from pipelines import collection, fcc, pipeline

from ovito_mace_phase import MacePhaseModifier

COLUMNS = ["Particle Identifier", "Particle Type", "Position.X", "Position.Y", "Position.Z"]
OPTION = re.compile(r"To leave them out: (--select '[^']*')|start from (--species (?:'[^']*'|\S+))")


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    return install(monkeypatch)


def core_shell(rng):
    positions, cell = fcc(noise=0.05, seed=int(rng.integers(1000)))
    kinds = np.arange(len(positions)) % 2 + 1
    shells = positions + rng.normal(0, 0.03, positions.shape)
    return np.concatenate([positions, shells]), np.append(kinds, kinds + 2), cell


def doubled(rng):
    positions, cell = fcc(noise=0.05, seed=int(rng.integers(1000)))
    twice = rng.choice(len(positions), 3, replace=False)
    return np.concatenate([positions, positions[twice]]), np.ones(len(positions) + 3), cell


def many_types(rng, n_types=16, length=40.0):
    arm = rng.normal(size=(n_types, 3))
    arm *= (np.linspace(1.0, 6.0, n_types) / np.linalg.norm(arm, axis=1))[:, None]
    positions = rng.uniform(0, length, (80, 1, 3)) + arm
    return positions.reshape(-1, 3), np.tile(np.arange(n_types), 80) + 1, np.eye(3) * length


MADE = {"core_shell": core_shell, "doubled": doubled, "many_types": many_types}


def dump_of(path, positions, types, cell, frames=1):
    text = ""
    for _ in range(frames):
        data = collection(positions, cell, types=types)
        data.particles_.create_property("Particle Identifier", data=np.arange(1, len(positions) + 1))
        export_file(data, str(path), "lammps/dump", columns=COLUMNS)
        text += path.read_text()
    path.write_text(text)
    return path


def option_in(text):
    found = OPTION.search(text)
    assert found, text
    return shlex.split(found[1] or found[2])


@pytest.mark.parametrize("name", MADE)
def test_the_option_can_be_pasted(name, rng, tmp_path, capsys):
    path = dump_of(tmp_path / "a.dump", *MADE[name](rng))
    assert run("classify", path, "-o", tmp_path / "out", "--no-picture") == 0
    first = capsys.readouterr().out
    option = option_in(first)
    assert run("classify", path, "-o", tmp_path / "again", "--no-picture", *option) == 0
    second = capsys.readouterr().out
    assert not OPTION.search(second)
    if name != "many_types":
        assert first.count("note: ") == 1
        assert int(rows(tmp_path / "again" / "a.phases.csv")[0]["n_atoms"]) == 256


def test_a_selection_that_is_there_stays(rng, tmp_path, capsys):
    path = dump_of(tmp_path / "a.dump", *doubled(rng))
    assert (
        run(
            "classify", path, "-o", tmp_path / "out", "--no-picture", "--select", "Position.X < 20 || ParticleType == 1"
        )
        == 0
    )
    option = option_in(capsys.readouterr().out)
    assert option[1].startswith("(Position.X < 20 || ParticleType == 1) && ParticleIdentifier != ")
    assert run("classify", path, "-o", tmp_path / "again", "--no-picture", *option) == 0
    assert "note: " not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "expression"),
    [
        ({1: "Na", 2: "Cl", 3: "Na_s", 4: "Cl_s"}, 'ParticleType != "Na_s" && ParticleType != "Cl_s"'),
        ({1: "Na", 2: "Cl", 3: "x y", 4: '"'}, "ParticleType != 3 && ParticleType != 4"),
        ({}, "ParticleType != 3 && ParticleType != 4"),
    ],
)
def test_in_a_pipeline(names, expression, rng):
    positions, types, cell = core_shell(rng)
    made = collection(positions, cell, types=types, names=names)
    with pytest.warns(UserWarning, match="256 of 512 atoms"):
        data = pipeline(made, MacePhaseModifier()).compute()
    assert data.attributes["MacePhase.leave_out"] == expression
    chain = pipeline(made, ExpressionSelectionModifier(expression=expression), MacePhaseModifier(only_selected=True))
    again = chain.compute()
    assert again.attributes["MacePhase.classified_atoms"] == 256
    assert again.attributes["MacePhase.warnings"] == again.attributes["MacePhase.leave_out"] == ""


def test_of_a_gas_nothing_is_left_out(rng):
    middle = 20.0 * np.indices((3, 3, 3)).reshape(3, -1).T + rng.normal(0, 1.0, (27, 3))
    arm = rng.normal(size=middle.shape)
    ends = middle + 1.0 * arm / np.linalg.norm(arm, axis=1, keepdims=True)
    made = collection(np.concatenate([middle, ends]), np.eye(3) * 60.0, types=np.ones(54))
    with pytest.warns(UserWarning, match="54 of 54 atoms .* are Other: molecules"):
        data = pipeline(made, MacePhaseModifier()).compute()
    assert data.attributes["MacePhase.leave_out"] == ""


def test_notes_that_differ_by_numbers_are_told_once(rng, tmp_path, capsys):
    text = ""
    for n_doubled in (1, 2, 3):
        positions, cell = fcc(noise=0.05, seed=n_doubled)
        twice = rng.choice(len(positions), n_doubled, replace=False)
        positions = np.concatenate([positions, positions[twice]])
        text += dump_of(tmp_path / "a.dump", positions, np.ones(len(positions)), cell).read_text()
    (tmp_path / "a.dump").write_text(text)
    assert run("classify", tmp_path / "a.dump", "-o", tmp_path / "out", "--no-picture") == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert len(notes) <= 2  # one atom lies, two atoms lie
    assert any("alike in 1 more frame)" in note for note in notes)
