"""Metals with defects: forces are slopes, minimised frames are at rest and hold the defects they are named after."""

from __future__ import annotations

import numpy as np
import pytest

from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.lab.crystals import close_packed, cubic
from ovito_mace_phase.lab.metal_defects import metal_frames, polycrystal
from ovito_mace_phase.lab.metals import METALS, Forces, heated, minimised
from ovito_mace_phase.lab.ovito_methods import ovito_answer


def block(metal, scale=1.0, times=3):
    if metal.lattice == "HCP":
        positions, cell, _ = close_packed([1, 2] * times, (times + 1, times), metal.spacing * scale)
    else:
        positions, cell = cubic(metal.lattice, times, metal.spacing * scale)
    return make_frame(positions, None, cell, True)


@pytest.mark.parametrize("symbol", METALS)
def test_forces_are_the_slope_of_the_energy(symbol, rng):
    frame = block(METALS[symbol])
    positions = frame.positions + rng.normal(0.0, 0.1, frame.positions.shape)
    energy = Forces(METALS[symbol], frame)
    _, forces = energy(positions)
    along = rng.normal(size=positions.shape)
    slope = (energy(positions + 1e-5 * along)[0] - energy(positions - 1e-5 * along)[0]) / 2e-5
    assert slope == pytest.approx(-(forces * along).sum(), rel=1e-5)
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-9)


@pytest.mark.parametrize("symbol", METALS)
def test_the_lattice_is_the_one_of_least_energy(symbol):
    metal = METALS[symbol]
    scales = np.linspace(0.94, 1.06, 13)
    frames = [block(metal, scale) for scale in scales]
    energy = [Forces(metal, frame)(frame.positions)[0] for frame in frames]
    assert abs(scales[int(np.argmin(energy))] - 1.0) < 0.015


def test_a_shaken_crystal_comes_to_rest_and_heat_has_its_temperature(rng):
    metal = METALS[str(rng.choice(list(METALS)))]
    frame = block(metal, times=4)
    shaken = make_frame(frame.positions + rng.normal(0.0, 0.05, frame.positions.shape), None, frame.cell, True)
    still = minimised(metal, shaken, force=0.005)
    energy = Forces(metal, frame)
    assert np.abs(energy(still.positions)[1]).max() < 0.005
    assert energy(still.positions)[0] == pytest.approx(energy(frame.positions)[0], abs=0.01)
    temperature = 0.1 * metal.melting  # higher, the springs of W and Mo are no longer harmonic: 1.25 times as much
    warm = heated(metal, frame, temperature, rng)
    half = 1.5 * 8.617e-5 * temperature  # of potential energy, an atom
    assert energy(warm.positions)[0] - energy(frame.positions)[0] == pytest.approx(half * len(frame), rel=0.4)


def test_grains_are_apart_and_fill_the_box(rng):
    metal = METALS["Cu"]
    frame = polycrystal(metal, 8.0, 3, rng)
    near = neighbour_list(frame.positions, frame.cell, frame.pbc, 0.74 * metal.spacing)
    assert near.n_edges == 0
    density = len(frame) * metal.spacing**3 / np.sqrt(2.0) / np.linalg.det(frame.cell)
    assert 0.8 < density < 1.02  # grains of eight spacings are boundary for the most part


def test_frames_hold_what_they_are_named_after(rng):
    """Of every frame a crystal is left by CNA, and a defect in it; faults are layers of hcp, nothing else."""
    found = {}
    for metal in metal_frames(rng, small=True):
        keys = ovito_answer(metal.frame, "CNA")[metal.counted]
        found[metal.kind] = {key: int((keys == key).sum()) for key in ("FCC", "HCP", "BCC", "OTHER")}
    assert len(found) == 19
    faults = found.pop("stacking faults, fcc")
    assert faults["OTHER"] == faults["BCC"] == 0 < faults["HCP"] < faults["FCC"]
    for kind, counts in found.items():
        assert counts[kind[-3:].upper()] > 20, (kind, counts)
        # in fcc a dislocation is two partials and a fault of hcp, which in a small cell may reach from one to the next
        assert counts["OTHER"] + (counts["HCP"] if kind.endswith("dislocation, fcc") else 0) > 0, (kind, counts)
