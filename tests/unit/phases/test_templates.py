"""Templates of the phases: the file belongs to the table, and the vectors to the reference cells."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ovito_mace_phase.lab.phase_table.ices import ICES
from ovito_mace_phase.lab.phase_table.sheets import SHEETS
from ovito_mace_phase.lab.phase_table.templates import site_record
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.phases.record import ReferenceCell
from ovito_mace_phase.phases.shells import MOST_FEW, MOST_MANY, neighbours, spans
from ovito_mace_phase.phases.symmetry import site_record as own_record
from ovito_mace_phase.phases.templates import _stored, template

TABLE = phase_table()
WITHOUT = {"OTHER", "ICO"}
NETS = {ice.key for ice in ICES}
FLAT = {"GRAPHENE", "MONO_HEXAGONAL", "MONO_SQUARE", "MONO_KAGOME", "MONO_ROCKSALT", "MONO_BN"}
PTM_SHELLS = {"FCC": 12, "HCP": 12, "BCC": 14, "CUBIC_DIAMOND": 16}


def drawn(rng, number):
    return [str(key) for key in rng.choice([p.key for p in TABLE if p.key not in WITHOUT], number, replace=False)]


def test_every_phase_has_a_template():
    assert {phase.key for phase in TABLE if template(phase) is None} == WITHOUT
    assert {phase.key for phase in TABLE if (t := template(phase)) is not None and t.net} == NETS
    assert {phase.key for phase in TABLE if (t := template(phase)) is not None and t.planar} == FLAT <= set(SHEETS)
    assert {phase.key for phase in TABLE if (t := template(phase)) is not None and t.sheet} == set(SHEETS)


def test_a_phase_of_another_cell_has_its_own():
    phase = TABLE.by_key("FCC")
    cell = dataclasses.replace(phase.reference, cell=phase.reference.cell * np.array([1.0, 1.0, 1.02]))
    other = template(dataclasses.replace(phase, reference=cell))
    assert len(other.rotations) == 8  # tetragonal
    assert len(template(phase).rotations) == 24


def test_the_file_is_what_spglib_says(rng):
    for key in [*drawn(rng, 12), "ICE_IH", "GRAPHENE", "MONO_MOS2_2H"]:
        found = site_record(TABLE.by_key(key).reference, net=key in NETS, directions=2 if key in SHEETS else 3)
        stored = _stored()[key]
        for name in ("site", "wyckoff", "size", "seed", "rotations"):
            np.testing.assert_array_equal(stored[name], found[name], err_msg=f"{key} {name}")
        assert stored["handed"] == found["handed"]


@pytest.mark.parametrize("key", PTM_SHELLS)
def test_shells_are_those_of_ptm(key):
    assert np.diff(template(TABLE.by_key(key)).offsets).tolist() == [PTM_SHELLS[key]] * len(
        template(TABLE.by_key(key)).site
    )


def test_vectors_lead_from_atom_to_atom(rng):
    for key in drawn(rng, 15):
        phase, found = TABLE.by_key(key), template(TABLE.by_key(key))
        size = np.diff(found.offsets)
        assert size.min() >= MOST_FEW
        assert size.max() <= MOST_MANY
        cell = phase.reference
        counted = np.flatnonzero(_stored()[key]["site"] >= 0)
        atom, image, vectors = neighbours(cell.cell, cell.fractional[counted], int(size.max()))
        n_atoms = len(counted)
        assert spans(atom, image, size[:n_atoms], 2 if key in SHEETS else 3), key
        scale = np.linalg.norm(vectors[0, 0]) / np.linalg.norm(found.vectors[0])
        for a in range(n_atoms):
            rows = slice(found.offsets[a], found.offsets[a + 1])
            np.testing.assert_allclose(found.vectors[rows] * scale, vectors[a, : size[a]], atol=1e-9)
            # what a neighbour is called has a neighbour that leads back
            for row in range(rows.start, rows.stop):
                there = found.neighbour[row]
                back = found.vectors[found.offsets[there] : found.offsets[there + 1]]
                longest = np.linalg.norm(back, axis=1).max()
                gap = np.linalg.norm(back + found.vectors[row], axis=1).min()
                assert gap < 1e-6 or np.linalg.norm(found.vectors[row]) > longest - 1e-6, key


def test_rotations_are_those_of_the_crystal(rng):
    for key in [*drawn(rng, 10), "FCC", "HCP"]:
        found = template(TABLE.by_key(key))
        turns = found.rotations
        np.testing.assert_allclose(turns[0], np.eye(3), atol=1e-9)
        np.testing.assert_allclose(turns @ np.swapaxes(turns, 1, 2), np.broadcast_to(np.eye(3), turns.shape), atol=2e-3)
        assert (np.linalg.det(turns) > 0).all()
        # the neighbours of some atom, turned, are the neighbours of an atom alike
        first = found.vectors[: found.offsets[1]]
        alike = np.flatnonzero(found.site == found.site[0])
        for turn in turns:
            moved = first @ turn.T
            gaps = [
                max(
                    np.linalg.norm(found.vectors[found.offsets[b] : found.offsets[b + 1]] - v, axis=1).min()
                    for v in moved
                )
                for b in alike
            ]
            assert min(gaps) < 5e-3, key


def test_counts_of_turns_and_sites():
    turns = {
        key: len(template(TABLE.by_key(key)).rotations) for key in ("FCC", "HCP", "BCC", "ROCKSALT", "ALPHA_QUARTZ")
    }
    assert turns == {"FCC": 24, "HCP": 12, "BCC": 24, "ROCKSALT": 24, "ALPHA_QUARTZ": 6}
    a15 = template(TABLE.by_key("A15"))
    assert sorted(a15.multiplicity.tolist()) == [2, 6]
    assert sorted(set(a15.wyckoff.tolist())) == ["a", "c"] or sorted(set(a15.wyckoff.tolist())) == ["a", "d"]
    quartz = template(TABLE.by_key("ALPHA_QUARTZ"))
    assert len(quartz.site) == 2 * TABLE.by_key("ALPHA_QUARTZ").reference.n_atoms  # both hands


def test_symmetry_without_spglib(rng):
    """As spglib finds it, in any cell of the crystal, and so a phase that a model brings along has a template too."""
    usual = ("FCC", "HCP", "SC", "ROCKSALT", "ALPHA_QUARTZ", "A15", "GRAPHITE_AB", "PEROVSKITE")
    for key in [*usual, *(k for k in drawn(rng, 8) if k not in NETS and k not in SHEETS)]:
        cell = TABLE.by_key(key).reference
        stored = _stored()[key]
        mixed = np.array([[1, 0, 0], [int(rng.integers(-1, 2)), 1, 0], [0, int(rng.integers(-1, 2)), 1]])
        other = ReferenceCell(
            cell=mixed @ cell.cell, species=cell.species, fractional=cell.fractional @ np.linalg.inv(mixed)
        )
        found = own_record(other)
        assert len(found["rotations"]) == len(stored["rotations"]), key
        assert found["handed"] == stored["handed"], key
        assert found["seed"].sum() == stored["seed"].sum(), key
        assert len(np.unique(found["site"])) == len(np.unique(stored["site"])), key
        mine = dataclasses.replace(TABLE.by_key(key), key="MY_PHASE", id=100_000, reference=other)
        turns = template(mine).rotations
        apart = np.abs(turns[:, None] - template(TABLE.by_key(key)).rotations[None]).max(axis=(2, 3)).min(axis=1)
        assert apart.max() < 1e-2, key
