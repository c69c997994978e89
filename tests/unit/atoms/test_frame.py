"""Frame checks, length normalisation, species: what comes before the network."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.atoms.length_scale import TARGET_VOLUME, length_factor, local_spacing
from ovito_mace_phase.atoms.species import assign_slots, merge_species
from ovito_mace_phase.runtime.errors import InputError


def frame_of(atoms, species=None, pbc=True):
    return make_frame(atoms.positions, atoms.numbers if species is None else species, atoms.cell[:], pbc)


def rattled(atoms, rng, sigma=0.1):
    atoms = atoms.copy()
    atoms.positions += rng.normal(0, sigma, atoms.positions.shape)
    return atoms


@pytest.mark.parametrize(
    ("positions", "species", "cell", "pbc", "words"),
    [
        ([[0, 0, np.nan]], [1], None, None, ["NaN", "index 0"]),
        ([[0, 0]], [1], None, None, ["(n_atoms, 3)"]),
        ([[0, 0, 0]], [1, 2], None, None, ["types", "(1,)"]),
        ([[0, 0, 0]], [1.5], None, None, ["fractional"]),
        ([[0, 0, 0]], [1], None, True, ["need a cell"]),
        ([[0, 0, 0]], [1], np.zeros((3, 3)), True, ["degenerate"]),
        ([[0, 0, 0]], [1], [[1, 0, 0], [2, 0, 0], [0, 0, 1]], True, ["degenerate"]),
        ([[0, 0, 0]], [1], [[1, 0, 0], [0, np.inf, 0], [0, 0, 1]], True, ["finite"]),
        ([["a", 0, 0]], [1], None, None, ["numbers"]),
    ],
)
def test_bad_input_is_named(positions, species, cell, pbc, words):
    with pytest.raises(InputError) as caught:
        make_frame(positions, species, cell, pbc)
    for word in words:
        assert word in str(caught.value)


def test_two_atoms_at_the_same_place():
    crystal = bulk("Cu", cubic=True) * (3, 3, 3)
    crystal.positions[7] = crystal.positions[50] + 1e-3
    with pytest.raises(InputError, match=r"index 7 and 50.*same place"):
        local_spacing(frame_of(crystal))


def test_empty_frame_and_single_atom():
    assert len(make_frame(np.zeros((0, 3)), [], None, None)) == 0
    alone = make_frame([[0, 0, 0]], [1], None, None)
    assert length_factor(local_spacing(alone)) == 1.0


@pytest.mark.parametrize("symbol", ["Cu", "Fe", "Mg", "Si", "Po"])
def test_unit_density(symbol):
    """The factor brings one atom to about the target volume: exactly is not asked, the same in training and use is."""
    crystal = bulk(symbol, a=None if symbol != "Po" else 3.35) * (4, 4, 4)
    factor = length_factor(local_spacing(frame_of(crystal)))
    assert crystal.get_volume() / len(crystal) * factor**3 == pytest.approx(TARGET_VOLUME, rel=0.25)


def test_length_factor_scales_and_ignores_vacuum(rng):
    crystal = rattled(bulk("Cu", cubic=True) * (6, 6, 6), rng)
    bulk_factor = length_factor(local_spacing(frame_of(crystal)))
    larger = crystal.copy()
    larger.set_cell(larger.cell * 2.5, scale_atoms=True)
    assert length_factor(local_spacing(frame_of(larger))) == pytest.approx(bulk_factor / 2.5, rel=1e-9)
    slab = crystal.copy()
    slab.cell[2] *= 6
    assert length_factor(local_spacing(frame_of(slab))) == pytest.approx(bulk_factor, rel=0.05)
    assert length_factor(local_spacing(frame_of(crystal, pbc=False))) == pytest.approx(bulk_factor, rel=0.10)


def test_supercell_and_shift_do_not_change_the_factor(rng):
    crystal = rattled(bulk("NaCl", "rocksalt", a=5.6, cubic=True) * (2, 2, 2), rng)
    factor = length_factor(local_spacing(frame_of(crystal)))
    shifted = crystal.copy()
    shifted.positions += rng.normal(0, 30, 3)
    assert length_factor(local_spacing(frame_of(shifted))) == pytest.approx(factor, rel=1e-9)
    assert length_factor(local_spacing(frame_of(crystal * (2, 1, 2)))) == pytest.approx(factor, rel=1e-3)


def test_merge_species():
    frame = make_frame(np.arange(12).reshape(4, 3), ["Na", "Cl", "K", "Cl"], None, None)
    assert merge_species(frame, None) is frame
    assert merge_species(frame, "ignore").n_species == 1
    merged = merge_species(frame, "Na,K")
    assert merged.n_species == 2
    assert merged.species[0] == merged.species[2] != merged.species[1]
    with pytest.raises(InputError, match=r"'Br'.*Cl, K, Na"):
        merge_species(frame, "Na,Br")
    with pytest.raises(InputError, match="twice"):
        merge_species(frame, "Na,K Na")


def test_carriers_do_not_depend_on_the_numbering(rng):
    crystal = rattled(bulk("NaCl", "rocksalt", a=5.6, cubic=True) * (3, 3, 3), rng)
    names = np.where(rng.uniform(size=len(crystal)) < 0.1, "X", np.array(crystal.get_chemical_symbols()))
    renamed = np.array([{"Na": "7", "Cl": "1", "X": "3"}[name] for name in names])
    slots = [
        assign_slots(frame, 6, local_spacing(frame)) for frame in (frame_of(crystal, names), frame_of(crystal, renamed))
    ]
    np.testing.assert_array_equal(*slots)
    assert set(slots[0]) == {0, 1, 2}


def test_too_many_species():
    frame = make_frame(np.random.default_rng(0).uniform(0, 9, (9, 3)), range(9), None, None)
    with pytest.raises(InputError, match=r"9 species.*`species`"):
        assign_slots(frame, 6, np.ones(9))
