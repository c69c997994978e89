"""Hints: given where the frame calls for them, in the modifier and below the summary; silent on plain crystals."""

from __future__ import annotations

import re
import shlex

import numpy as np
import pytest
from ase.build import bulk
from command_line import rows, run
from ovito.io import export_file
from pipelines import collection, fcc, pipeline

from ovito_mace_phase import MacePhaseModifier

IN_DOUBT = "mace-phase-6"
"""Has doubts around interstitials, of which its successor has none."""
COLUMNS = ["Particle Identifier", "Particle Type", "Position.X", "Position.Y", "Position.Z"]


def hints(positions, types, cell, names=None, **settings):
    data = pipeline(collection(positions, cell, types=types, names=names), MacePhaseModifier(**settings)).compute()
    return data.attributes["MacePhase.hints"]


def interstitials(rng, share=0.03):
    positions, cell = fcc(5, lattice=3.9)
    beside = rng.choice(len(positions), int(share * len(positions)), replace=False)
    guests = positions[beside] + [1.95, 0, 0]
    both = np.concatenate([positions, guests])
    types = np.append(np.ones(len(positions)), np.full(len(guests), 2))
    return both + rng.normal(0, 0.16, both.shape), types, cell


def molecules(rng):
    middle, cell = fcc(4, lattice=5.6)
    axis = rng.normal(size=middle.shape)
    arm = 1.16 * axis / np.linalg.norm(axis, axis=1, keepdims=True)
    return np.concatenate([middle, middle + arm, middle - arm]), np.repeat([1, 2, 2], len(middle)), cell


@pytest.mark.parametrize("noise", [0.0, 0.15])
def test_a_plain_crystal_has_none(noise, rng):
    positions, cell = fcc(noise=noise, seed=int(rng.integers(1000)))
    assert hints(positions, np.ones(len(positions)), cell) == ""


@pytest.mark.parametrize(("shear", "wanted"), [(0.04, False), (0.18, True)])
def test_strain(shear, wanted, rng):
    positions, cell = fcc(5, noise=0.05, seed=int(rng.integers(1000)))
    turn = np.eye(3)
    turn[0, 1] = shear
    found = hints(positions @ turn.T, np.ones(len(positions)), cell @ turn.T)
    assert ("strained" in found) == wanted


def test_interstitials(rng):
    positions, types, cell = interstitials(rng)
    found = hints(positions, types, cell, {1: "Pd", 2: "H"}, model=IN_DOUBT)
    assert "type H fits no site" in found
    assert "--select 'ParticleType != \"H\"'" in found


def test_types_by_name(rng):
    positions, cell = fcc(5, noise=0.08, seed=int(rng.integers(1000)))
    types = rng.integers(1, 4, len(positions))
    assert "--species 1,2,3" in hints(positions, types, cell, species="by name")
    assert hints(positions, types, cell) == ""


def test_molecules_on_the_command_line(rng, tmp_path, capsys):
    positions, types, cell = molecules(rng)
    data = collection(positions, cell, types=types)
    data.particles_.create_property("Particle Identifier", data=np.arange(1, len(positions) + 1))
    export_file(data, str(tmp_path / "co2.dump"), "lammps/dump", columns=COLUMNS)
    assert run("classify", tmp_path / "co2.dump", "-o", tmp_path / "out", "--no-picture") == 0
    (hint,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("hint: ")]
    option = shlex.split(re.search(r"--select '[^']*'", hint)[0])
    assert option[1] == "ParticleType == 1"
    assert run("classify", tmp_path / "co2.dump", "-o", tmp_path / "again", "--no-picture", *option) == 0
    assert "hint: " not in capsys.readouterr().out
    first = rows(tmp_path / "again" / "co2.phases.csv")[0]
    assert (first["phase"], first["count"]) == ("FCC", "256")


def beside(rng):
    """Six cells of copper with silicon upon it, which fits and has 1.7 times the volume of an atom."""
    metal, crystal = bulk("Cu", cubic=True) * (6, 6, 6), bulk("Si", cubic=True) * (4, 4, 5)
    crystal.positions[:, :2] *= metal.cell[0, 0] / crystal.cell[0, 0]
    crystal.positions[:, 2] += metal.positions[:, 2].max() + 2.0
    both = metal + crystal
    both.set_cell([*metal.cell.lengths()[:2], both.positions[:, 2].max() + 2.0])
    return both.positions + rng.normal(0.0, 0.04, both.positions.shape), both.numbers, both.cell[:]


def test_another_crystal_than_lengths_are_measured_by(rng):
    positions, numbers, cell = beside(rng)
    types = np.where(numbers == 14, 2, 1)
    found = hints(positions, types, cell, {1: "Cu", 2: "Si"})
    assert "atoms of type Si have 1." in found
    assert "--select 'ParticleType == \"Si\"'" in found
    assert "--length-scale 2." in found
    alone = types == 2
    assert hints(positions[alone], types[alone], cell, {2: "Si"}) == ""
    length = float(found.rpartition("--length-scale ")[2])
    assert "have" not in hints(positions, types, cell, {1: "Cu", 2: "Si"}, length_scale=length)
