"""Hydrogens of ices that white noise has moved away from their oxygen still go with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ovito.io import import_file

from ovito_mace_phase import classify, phase_table

DUMP = Path(__file__).parents[2] / "sample_dumps" / "ice_ih.dump.gz"
NOISE = 0.13  # A, on top of the heat of the dump: one in thirty hydrogens is farther from its oxygen than 1.2 A


def test_hydrogens_follow_the_nearest_oxygen(rng):
    """The oxygen fits the net, so its molecule is ice."""
    data = import_file(str(DUMP)).compute()
    names = np.array([data.particles["Particle Type"].type_by_id(i).name for i in data.particles["Particle Type"]])
    positions = data.particles.positions[...] + rng.normal(0.0, NOISE, (data.particles.count, 3))
    result = classify(positions, names, np.asarray(data.cell)[:, :3].T, tuple(map(bool, data.cell.pbc)))
    ice = result.phase == phase_table().by_key("ICE_IH").id
    assert ice[names == "O"].mean() > 0.99
    assert ice[names == "H"].mean() > 0.98
