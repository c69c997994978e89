"""Odd but honest input works: no cell, no types, one atom, no atom, nothing selected."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from fake_model import N_SLOTS, SPLIT, install
from ovito.modifiers import ClearSelectionModifier, ExpressionSelectionModifier
from pipelines import collection, copper, fcc, pipeline

from ovito_mace_phase import MacePhaseModifier
from ovito_mace_phase.runtime.errors import InputError

POSITIONS, CELL = fcc()
N_ATOMS = len(POSITIONS)


@pytest.fixture
def fake(monkeypatch):
    return install(monkeypatch)


def compute(positions, cell=None, **keywords):
    settings = keywords.pop("settings", {})
    return pipeline(collection(positions, cell, **keywords), MacePhaseModifier(**settings)).compute()


def test_no_cell_means_open_boundaries(fake):
    with pytest.warns(UserWarning, match="no simulation cell"):
        data = compute(POSITIONS, types=np.ones(N_ATOMS))
    assert "no simulation cell" in data.attributes["MacePhase.warnings"]
    assert data.attributes["MacePhase.counts.FCC"] == (POSITIONS[:, 0] < SPLIT).sum()


def test_no_types_means_all_alike(fake):
    with pytest.warns(UserWarning, match="no types"):
        data = compute(POSITIONS, CELL)
    assert "alike" in data.attributes["MacePhase.warnings"]
    (frame,) = fake.frames
    assert len(frame.species_names) == 1
    assert not frame.species.any()


def test_many_species_can_be_merged(fake):
    types = np.arange(N_ATOMS) % (N_SLOTS + 1) + 1
    with pytest.raises(InputError, match=f"{N_SLOTS + 1} species.*auto"):
        compute(POSITIONS, CELL, types=types, settings={"species": "by name"})
    for spec, n_species in (("1,2", N_SLOTS), ("ignore", 1)):
        data = compute(POSITIONS, CELL, types=types, settings={"species": spec})
        assert len(np.unique(fake.frames[-1].species)) == n_species
        np.testing.assert_array_equal(data.particles["Phase"], np.where(POSITIONS[:, 0] < SPLIT, 1, 2))
    merged = fake.frames[0]
    alike = np.isin(types, (1, 2))
    assert set(merged.species[alike]).isdisjoint(merged.species[~alike])
    assert len(set(merged.species[alike])) == 1


@pytest.mark.parametrize("cell", [None, 20.0 * np.eye(3)])
def test_one_atom_alone(fake, cell):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = compute(np.zeros((1, 3)), cell, types=[1], pbc=(False, False, False))
    assert data.attributes["MacePhase.classified_atoms"] == 1
    assert data.particles["Phase"][...].tolist() == [1]  # the stand-in answers by x alone
    assert 0.5 < data.particles["Confidence"][0] < 1.0


@pytest.mark.parametrize("place", [POSITIONS[8], POSITIONS[8] + 0.01, POSITIONS[8] + CELL[0]])
def test_two_atoms_in_one_place(fake, place):
    positions = np.concatenate([POSITIONS, place[None]])
    with pytest.warns(UserWarning, match=r"1 atom \(1 of type Cu\) lies at the place of another.*ParticleIndex != 256"):
        data = compute(positions, CELL, types=np.ones(N_ATOMS + 1), names={1: "Cu"})
    assert len(fake.frames[-1]) == N_ATOMS
    assert data.attributes["MacePhase.classified_atoms"] == N_ATOMS + 1
    wanted = np.where(np.append(POSITIONS[:, 0], POSITIONS[8, 0]) < SPLIT, 1, 2)
    np.testing.assert_array_equal(data.particles["Phase"], wanted)
    for name in ("Confidence", "Phase Margin", "OP_FCC", "OP_HCP"):
        assert data.particles[name][-1] == data.particles[name][8]
    assert "1 atom" in data.attributes["MacePhase.warnings"]


def test_all_atoms_in_one_place(fake):
    with pytest.warns(UserWarning, match="50 of 50 atoms .* are Other"):
        data = compute(np.ones((50, 3)), CELL, types=np.arange(50) % 2 + 1)
    assert data.attributes["MacePhase.counts.OTHER"] == 50


def test_marked_regions_are_one_species(fake):
    types = np.where(POSITIONS[:, 1] < CELL[1, 1] / 2, 1, 2)
    data = compute(POSITIONS, CELL, types=types, names={1: "fixed", 2: "free"})
    assert data.attributes["MacePhase.species"] == "fixed,free"
    assert not fake.frames[-1].species.any()
    apart = compute(POSITIONS, CELL, types=types, names={1: "fixed", 2: "free"}, settings={"species": "by name"})
    assert apart.attributes["MacePhase.species"] == "fixed | free"
    assert fake.frames[-1].n_species == 2


@pytest.mark.parametrize("order_parameters", ["auto", "FCC"])
def test_no_atoms(fake, order_parameters):
    data = compute(
        np.zeros((0, 3)), 10.0 * np.eye(3), types=np.zeros(0), settings={"order_parameters": order_parameters}
    )
    assert data.attributes["MacePhase.counts.OTHER"] == 0
    assert data.attributes["MacePhase.fractions.OTHER"] == 0.0
    assert len(data.particles["Phase"]) == 0
    assert data.tables["mace-phase"].y[0] == 0


def test_selection_is_empty_or_cleared(fake):
    with pytest.warns(UserWarning, match="no atom is selected"):
        data = copper(ExpressionSelectionModifier(expression="0"), MacePhaseModifier(only_selected=True)).compute()
    assert data.attributes["MacePhase.counts.OTHER"] == N_ATOMS
    with pytest.raises(InputError, match="selection"):
        copper(ClearSelectionModifier(), MacePhaseModifier(only_selected=True)).compute()
