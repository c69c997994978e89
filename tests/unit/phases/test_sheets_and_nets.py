"""Sheets, oxygen nets and crystals made by hand: their cells, and that they are what they are called."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ovito_mace_phase.atoms.network_frame import network_frame
from ovito_mace_phase.classification.geometry.fits import fit_frame
from ovito_mace_phase.classification.geometry.library import make_library
from ovito_mace_phase.classification.geometry.proposals import propose
from ovito_mace_phase.lab.crystals import repeated
from ovito_mace_phase.lab.phase_table.cells import space_group, standard_primitive
from ovito_mace_phase.lab.phase_table.families import EXACT, fitted
from ovito_mace_phase.lab.phase_table.groups import same_structure
from ovito_mace_phase.lab.phase_table.ices import ICES, oxygen_net
from ovito_mace_phase.lab.phase_table.nets import PREFIX
from ovito_mace_phase.lab.phase_table.sheets import LAYERS, PLANES, SHEETS, VACUUM, layer_cell
from ovito_mace_phase.phases import Phase, phase_table
from ovito_mace_phase.phases.record import ReferenceCell
from ovito_mace_phase.phases.shells import neighbours
from ovito_mace_phase.phases.templates import template

TABLE = phase_table()
ONE_SPECIES = [p for p in TABLE if p.n_species == 1 and p.reference is not None and p.key not in SHEETS]


def nearest(cell: ReferenceCell) -> np.ndarray:
    return np.linalg.norm(neighbours(cell.cell, cell.fractional, 1)[2][:, 0], axis=1)


@pytest.mark.parametrize("ice", ICES, ids=lambda ice: ice.key)
def test_oxygen_alone_is_one_phase(ice):
    net = standard_primitive(oxygen_net(TABLE.by_key(ice.key).reference), 1e-3)
    named = TABLE.by_key(ice.alone or PREFIX + ice.key)
    assert same_structure(net, named.reference)
    assert [p.key for p in ONE_SPECIES if same_structure(net, p.reference)] == [named.key]
    assert space_group(named.reference) == ice.space_group


@pytest.mark.parametrize("key", SHEETS)
def test_a_sheet_repeats_in_two_directions(key):
    cell = TABLE.by_key(key).reference
    np.testing.assert_allclose(cell.cell[:2, 2], 0.0, atol=1e-6)
    np.testing.assert_allclose(cell.cell[2, :2], 0.0, atol=1e-6)
    thickness = np.ptp(cell.positions[:, 2])
    assert cell.cell[2, 2] - thickness == pytest.approx(VACUUM, abs=1e-4)
    assert thickness < 9.0
    whole = standard_primitive(cell, 1e-3)
    assert whole.n_atoms == cell.n_atoms  # no smaller cell
    assert np.linalg.norm(cell.cell[:2], axis=1).max() < 8.0


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.key)
def test_a_layer_keeps_its_bonds_and_lies_anywhere(layer, rng):
    bulk, sheet = TABLE.by_key(layer.bulk).reference, TABLE.by_key(layer.key).reference
    assert np.bincount(sheet.species).tolist() == (np.bincount(bulk.species) * sheet.n_atoms // bulk.n_atoms).tolist()
    np.testing.assert_allclose(np.unique(nearest(sheet).round(3)), np.unique(nearest(bulk).round(3)), atol=2e-3)
    moved = dataclasses.replace(bulk, fractional=(bulk.fractional + rng.uniform(size=3)) % 1.0)
    again = layer_cell(moved, layer.axis)
    assert again.n_atoms == sheet.n_atoms
    np.testing.assert_allclose(np.sort(nearest(again)), np.sort(nearest(sheet)), atol=2e-3)
    np.testing.assert_allclose(np.ptp(again.positions[:, 2]), np.ptp(sheet.positions[:, 2]), atol=2e-3)


def test_lattices_in_a_plane():
    counts = {}
    for plane in PLANES:
        cell = TABLE.by_key(plane.key).reference
        vectors = neighbours(cell.cell, cell.fractional, 8)[2]
        distance = np.linalg.norm(vectors[0], axis=1)
        counts[plane.key] = int((distance < 1.01 * distance[0]).sum())
    wanted = {"MONO_HEXAGONAL": 6, "MONO_SQUARE": 4, "MONO_KAGOME": 4, "MONO_ROCKSALT": 4, "MONO_SILICENE": 3}
    assert counts == wanted
    silicene = TABLE.by_key("MONO_SILICENE").reference
    assert nearest(silicene)[0] == pytest.approx(2.25, abs=0.01)  # Angstrom, Cahangirov et al.


def test_layers_of_unequal_atoms_are_an_error():
    with pytest.raises(ValueError, match="unequal"):
        layer_cell(TABLE.by_key("LAOAGS").reference, 2)


def test_a15_and_garnets():
    tungsten, a15 = TABLE.by_key("BETA_W").reference, TABLE.by_key("A15").reference
    assert same_structure(tungsten, dataclasses.replace(a15, species=np.zeros_like(a15.species)))
    garnet, yag = TABLE.by_key("GARNET"), TABLE.by_key("GARNET_YAG")
    np.testing.assert_array_equal(garnet.reference.fractional, yag.reference.fractional)
    assert sorted(np.bincount(yag.reference.species).tolist()) == [12, 20, 48]
    assert yag.n_species == 3
    alike = dict(zip(garnet.reference.species.tolist(), yag.reference.species.tolist(), strict=True))
    assert alike[0] == alike[3]  # a and d
    assert len(set(alike.values())) == 3


def test_a_sheet_fits_itself_and_no_other():
    """Each site of a sheet with the templates of all sheets; kagome is a part of the hexagonal lattice."""
    for n_species in (1, 2):
        group = [TABLE.by_key(key) for key in SHEETS if TABLE.by_key(key).n_species == n_species]
        templates = [template(phase) for phase in group]
        library = make_library(templates)
        for place, phase in enumerate(group):
            found = fitted(phase, templates, library)[:, :, 0].max(axis=0)
            assert found[place] < 1e-6, phase.key
            for k in np.flatnonzero(found < EXACT):
                assert k == place or crowded(phase, group[k]), (phase.key, group[k].key)


def crowded(crystal: Phase, other: Phase) -> bool:
    """Tell whether a template fits a crystal with an atom too many at every site: some sites of its lattice."""
    cell = crystal.reference
    frame = network_frame(repeated(cell.cell, cell.fractional, cell.species, 8.0), r_max=6.0, n_slots=8)
    n_atoms = len(frame)
    tried = propose((other,), np.zeros(n_atoms, np.int64), np.zeros((n_atoms, 1), np.int16))
    return bool(fit_frame(frame, tried, np.ones(n_atoms, np.float32)).crowded.all())
