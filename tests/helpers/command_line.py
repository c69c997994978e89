"""The command line called from tests: its exit code, its tables, dumps for it to read."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from ovito.io import export_file
from pipelines import collection, fcc

from ovito_mace_phase.cli import main

COLUMNS = ["Particle Identifier", "Particle Type", "Position.X", "Position.Y", "Position.Z"]


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code


def dump(path: Path, n_frames: int = 1) -> Path:
    """A LAMMPS dump of fcc copper that drifts along x, so that the fake model sees less FCC in every frame."""
    text = ""
    for number in range(n_frames):
        positions, cell = fcc(noise=0.02, seed=number)
        positions[:, 0] += 2.0 * number
        data = collection(positions, cell, types=np.ones(256))
        data.particles_.create_property("Particle Identifier", data=np.arange(1, 257))
        data.attributes["Timestep"] = 100 * number
        export_file(data, str(path), "lammps/dump", columns=COLUMNS)
        text += path.read_text()
    path.write_text(text)
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))
