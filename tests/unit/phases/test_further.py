"""Further templates: cells of members that the reference cell does not fit, numbered and turned as it is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ovito_mace_phase.lab.phase_table import further as build
from ovito_mace_phase.lab.phase_table.templates import site_record
from ovito_mace_phase.phases import further, phase_table
from ovito_mace_phase.phases.further import templates_of
from ovito_mace_phase.phases.record import ReferenceCell
from ovito_mace_phase.phases.templates import template, template_of

TABLE = phase_table()
SEVERAL = [phase for phase in TABLE if len(templates_of(phase)) > 1]


def test_the_first_is_that_of_the_reference_cell():
    assert SEVERAL
    assert set(further._cells()) == {phase.key for phase in SEVERAL}
    for phase in TABLE:
        found = templates_of(phase)
        assert (found[0] is template(phase)) if found else template(phase) is None


def test_sites_and_species_are_numbered_as_in_the_reference_cell():
    for phase in SEVERAL:
        own, *others = templates_of(phase)
        for other in others:
            assert other.key == phase.key
            assert set(other.site) <= set(range(own.n_sites))
            of = {int(s): int(c) for s, c in zip(own.site, own.species, strict=True)}
            assert all(of[int(s)] == c for s, c in zip(other.site, other.species, strict=True)), phase.key


def test_a_phase_with_a_cell_of_its_own_has_no_other():
    phase = SEVERAL[0]
    cell = dataclasses.replace(phase.reference, cell=phase.reference.cell * np.array([1.0, 1.0, 1.02]))
    assert len(templates_of(dataclasses.replace(phase, reference=cell))) == 1


def test_the_reference_cell_turned_and_renumbered_is_found_again(rng):
    """A crystal of a phase in another setting: sites, species and frame come back."""
    phase = TABLE.by_key("PEROVSKITE")
    own, cell = template(phase), phase.reference
    order = rng.permutation(cell.n_atoms)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    codes = rng.permutation(3)
    other = ReferenceCell(cell=cell.cell @ turn, species=codes[cell.species[order]], fractional=cell.fractional[order])
    fit = build.fit_member(other, own)
    assert fit.covered
    assert fit.rmsd.max() < 1e-3
    numbers = build.numbered_as(own, site_record(other), other.species, fit)
    assert numbers is not None
    site, species = numbers
    np.testing.assert_array_equal(species, cell.species[order])
    np.testing.assert_array_equal(site, own.site[order])


def test_members_of_another_geometry_get_a_template(rng):
    """LITHARGE has a free height: members with another one are not covered, and one of them is taken."""
    phase = next(p for p in SEVERAL if p.key == "LITHARGE")
    own, cell = template(phase), phase.reference
    theirs = further._further("LITHARGE")[0]
    members = [cell]
    stored = further.read_arrays("further.npz")
    number = stored["key"].tolist().index("LITHARGE 0")
    start = int(stored["n_atoms"][:number].sum())
    rows = slice(start, start + int(stored["n_atoms"][number]))
    odd = ReferenceCell(
        cell=stored["cell"][number].astype(float),
        species=stored["species"][rows].astype(np.int64),
        fractional=stored["fractional"][rows].astype(float),
    )
    members += [odd] * build.LEAST_KIN
    found = build.further(members, own, cell)
    assert len(found) == 1
    again = template_of(phase.key, odd, found[0][2])
    assert again.site.tolist() == theirs.site.tolist()
    assert build.further(members[:-1], own, cell) == []  # a single odd one is no kind


@pytest.mark.parametrize("key", ["LARNITE", "SANGUITE", "AB2C4D_MP32_14_E_2E_4E_E"])
def test_they_are_some_of_the_phases_whose_members_differ(key):
    assert key in {phase.key for phase in SEVERAL}
