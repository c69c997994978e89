"""Stacking faults for training: labels as common neighbour analysis has them, geometry that closes on itself."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.lab.data.structures import reference_structures
from ovito_mace_phase.lab.samples.sampler import SampleSettings
from ovito_mace_phase.lab.samples.source import SampleSource
from ovito_mace_phase.lab.samples.stackings import FAMILIES, random_stacking, random_word, stacked
from ovito_mace_phase.phases import phase_table


def ovito_says_hexagonal(stacking):
    """OVITO's own label of every atom, on 3 x 3 x 1 cells since its methods need large ones."""
    from ovito.io.ase import ase_to_ovito
    from ovito.modifiers import CommonNeighborAnalysisModifier, IdentifyDiamondModifier
    from ovito.pipeline import Pipeline, StaticSource

    atoms = Atoms(numbers=stacking.species + 1, scaled_positions=stacking.fractional, cell=stacking.cell, pbc=True)
    pipeline = Pipeline(source=StaticSource(data=ase_to_ovito(atoms.repeat((3, 3, 1)))))
    two = len(stacking.family.basis) > 1
    pipeline.modifiers.append(IdentifyDiamondModifier() if two else CommonNeighborAnalysisModifier())
    found = np.array(pipeline.compute().particles["Structure Type"])[: len(atoms)]
    assert set(found) <= ({1, 4} if two else {1, 2})
    return found == (4 if two else 2)


@pytest.mark.parametrize("draw", range(8))
def test_layers_are_what_ovito_says(draw, rng):
    stacking = random_stacking(np.random.default_rng([int(rng.integers(2**31)), draw]))
    np.testing.assert_array_equal(ovito_says_hexagonal(stacking), stacking.hexagonal)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_c_is_cubic_and_all_h_hexagonal(family):
    for word, hexagonal in (("c" * 9, False), ("h" * 10, True)):
        assert (ovito_says_hexagonal(stacked(word, family)) == hexagonal).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_neighbours_are_one_distance_apart_and_the_density_is_one(family, rng):
    stacking = stacked(random_word(rng), family)
    n_atoms = len(stacking.species)
    assert abs(np.linalg.det(stacking.cell)) / n_atoms == pytest.approx(13.0)
    edges = neighbour_list(stacking.fractional @ stacking.cell, stacking.cell, np.ones(3, bool), 3.4)
    nearest = np.sort(np.linalg.norm(edges.vectors, axis=1))
    n_bonds = n_atoms * (12 if len(family.basis) == 1 else 4)
    assert nearest[:n_bonds].std() < 1e-9


def test_words_go_on_periodically(rng):
    for _ in range(50):
        word = random_word(rng)
        assert 9 <= len(word) <= 12
        assert word.count("h") % 2 == 0
        assert {"h", "c"} == set(word)


def test_samples_have_a_label_for_every_atom(rng):
    phases = tuple(phase for phase in phase_table() if phase.key == "OTHER" or phase.stacking)
    source = SampleSource(phases, reference_structures(phases, []), [], 6)
    assert source.has_stackings
    seen = set()
    for _ in range(12):
        sample, label = source.stacking(SampleSettings(vacancies=1.0), rng)
        assert len(sample.label) == len(sample.frame) == len(sample.displacement)
        assert label in sample.label
        seen |= {phases[column].key for column in sample.label}
    assert {"FCC", "HCP"} <= seen
    few = tuple(phase for phase in phases if phase.key != "HCP")
    assert not SampleSource(few, reference_structures(few, []), [], 6).has_stackings
