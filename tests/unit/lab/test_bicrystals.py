"""Slabs side by side of `sample_dumps`: orientation, fit of the interface, places, and which atoms count."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.lab.ovito_methods import ovito_answer

FOLDER = Path(__file__).parents[3] / "sample_dumps"


@pytest.fixture
def scripts(monkeypatch):
    """The modules `bicrystals` and `make_titanium`."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("bicrystals"), importlib.import_module("make_titanium")


def test_phases_are_oriented_as_stated(scripts):
    """The basal plane of alpha, (01-11) of omega and (110) of beta are z; [11-20], [-1011] and [1-11] are x."""
    _, titanium = scripts
    for phase, plane, direction in (
        ("HCP", (0, 0, 1), (1, 0, 0)),
        ("OMEGA", (0, 1, 1), (-2, -1, 1)),
        ("BCC", (1, 1, 0), (1, -1, 1)),
    ):
        cell = np.array(titanium.crystal(phase).cell)
        normal, x = np.linalg.inv(cell) @ plane, np.array(direction) @ cell
        assert normal / np.linalg.norm(normal) == pytest.approx([0, 0, 1], abs=1e-9)
        assert x / np.linalg.norm(x) == pytest.approx([1, 0, 0], abs=1e-9)


def test_a_direction_outside_the_plane_is_refused(scripts):
    bicrystals, titanium = scripts
    with pytest.raises(ValueError, match="not in the plane"):
        bicrystals.oriented(titanium.crystal("BCC"), (1, 1, 0), (1, 1, 0))


def test_no_interface_fits(scripts):
    bicrystals, titanium = scripts
    with pytest.raises(ValueError, match="no rectangle of 10 to 12"):
        bicrystals.find_interface([titanium.crystal("HCP"), titanium.crystal("OMEGA")], 20.0, (10.0, 12.0))


@pytest.mark.parametrize("phases", [("HCP", "BCC"), ("HCP", "OMEGA", "BCC")], ids="-".join)
def test_slabs_are_the_crystals_they_are_called(phases, scripts):
    """Density and distances of the crystal, periodic across the sides; PTM agrees away from the interfaces."""
    bicrystals, titanium = scripts
    crystals = [titanium.crystal(phase) for phase in phases]
    interface = bicrystals.find_interface(crystals, 46.0, (500.0, 700.0))
    assert interface.misfit < 0.01
    assert interface.misfit >= max(interface.strains)
    atoms, owner = bicrystals.side_by_side(crystals, interface, [30.0] * len(phases), np.random.default_rng(5))
    cell = np.array(atoms.cell)
    keys = ovito_answer(make_frame(atoms.positions, None, cell, True), "PTM")
    inner = np.abs(atoms.positions[:, 2] % 30.0 - 15.0) < 9.0
    for number, (phase, crystal) in enumerate(zip(phases, crystals, strict=True)):
        mine = owner == number
        volume = cell[0, 0] * cell[1, 1] * 30.0 / mine.sum()
        assert volume == pytest.approx(crystal.get_volume() / len(crystal), rel=0.1)
        if phase != "OMEGA":  # which PTM does not know
            assert (keys[mine & inner] == phase).all()


def test_atoms_that_left_their_sites_are_found(scripts):
    """An even strain and a slide by a period are no departure; half an angstrom of one atom is."""
    _, titanium = scripts
    seed = 17
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    places = 3.0 * np.argwhere(np.ones((6, 6, 10))) + 0.5
    built = Atoms("Ti360", positions=places, cell=[18.0, 18.0, 30.0], pbc=True)
    owner = (places[:, 2] > 15).astype(int)
    moved = places + rng.uniform(-0.05, 0.05, places.shape)
    moved[7, 0] += 0.6
    moved[(places[:, 1] < 3) & (places[:, 2] > 20) & (places[:, 2] < 23), 0] += 3.0  # a row, by one site
    mean = Atoms("Ti360", scaled_positions=moved / [18.0, 18.0, 30.0], cell=[18.4, 17.8, 30.5], pbc=True)
    away = titanium.off_site(built, mean, owner)
    assert np.flatnonzero(away > titanium.SITE).tolist() == [7]
    near = titanium.near_front(mean, owner)
    layer = np.round((places[:, 2] - 0.5) / 3).astype(int)
    assert (near == np.isin(layer, [0, 4, 5, 9])).all()
