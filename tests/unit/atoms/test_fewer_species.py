"""More species than the network tells apart: the most alike count as one."""

from __future__ import annotations

import numpy as np
import pytest

from ovito_mace_phase.atoms.fewer_species import at_most
from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.atoms.network_frame import network_frame
from ovito_mace_phase.atoms.sites import find_sites
from ovito_mace_phase.runtime.errors import TooManySpeciesError

LENGTH = 40.0


def molecules(rng, n_types, n_molecules=150, twins=False):
    """Atoms of type k at its own distance from the middle of a molecule; `twins`: the last two lie side by side."""
    middle = rng.uniform(0, LENGTH, (n_molecules, 3))
    arm = rng.normal(size=(n_types, 3))
    far = np.linspace(1.0, 6.0, n_types)
    if twins:
        far[-1] = far[-2]
        arm[-1] = arm[-2] + 0.08 * np.linalg.norm(arm[-2]) * rng.normal(size=3)
    arm *= (far / np.linalg.norm(arm, axis=1))[:, None]
    positions = (middle[:, None] + arm).reshape(-1, 3)
    return make_frame(positions, np.tile(np.arange(n_types), n_molecules), np.eye(3) * LENGTH, True)


@pytest.mark.parametrize("n_types", [7, 16])
def test_as_many_groups_as_wanted_and_every_type_once(n_types, rng):
    frame = molecules(rng, n_types)
    for most in (6, 2, 1):
        groups = at_most(frame, most)
        assert len(groups) <= most
        assert sorted(code for group in groups for code in group) == list(range(n_types))


def test_the_most_alike_are_joined(rng):
    """The twins, or one of them with another that happens to lie beside both."""
    groups = at_most(molecules(rng, 9, twins=True), 6)
    joined = [group for group in groups if {7, 8} & set(group)]
    assert any(len(group) > 1 for group in joined)


def test_the_order_of_the_atoms_does_not_matter(rng):
    frame = molecules(rng, 8)
    order = rng.permutation(len(frame))
    turned = make_frame(frame.positions[order], frame.species[order], frame.cell, True)
    assert at_most(frame, 3) == at_most(turned, 3)


def test_only_auto_merges(rng):
    frame = molecules(rng, 16)

    def normalise(left):
        return network_frame(left, r_max=6.0, n_slots=6)

    sites, here = find_sites(frame, normalise, automatic=True)
    assert here.frame.n_species <= 6
    assert "16 species, of which the network tells 6 apart" in " ".join(sites.notes)
    with pytest.raises(TooManySpeciesError, match=r"16 species .* tells 6 apart.*auto"):
        find_sites(frame, normalise, automatic=False)
