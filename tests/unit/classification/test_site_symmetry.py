"""Symmetry of sites: shells are mapped onto themselves, and what is left of deviations is a projection."""

from __future__ import annotations

import numpy as np
import pytest

from ovito_mace_phase.classification.geometry.site_symmetry import site_symmetries
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.phases.templates import template


@pytest.mark.parametrize("key", ["FCC", "HCP", "CUBIC_DIAMOND", "ROCKSALT", "PEROVSKITE", "SIGMA", "KFES2"])
def test_shells_are_mapped_onto_themselves(key, rng):
    found = template(phase_table().by_key(key))
    for atom, symmetry in enumerate(site_symmetries(found)):
        vectors = found.vectors[found.offsets[atom] : found.offsets[atom + 1]]
        assert any(np.allclose(one, np.eye(3)) for one in symmetry.operations)
        for operation, there in zip(symmetry.operations, symmetry.moved_to, strict=True):
            np.testing.assert_allclose(vectors @ operation.T, vectors[there], atol=2e-3)
        deviations = rng.normal(size=(3, len(vectors), 3))
        once = symmetry.allowed(deviations)
        np.testing.assert_allclose(symmetry.allowed(once), once, atol=1e-6)
        np.testing.assert_allclose(symmetry.allowed(vectors[None]), vectors[None], atol=2e-3)
        many = rng.normal(size=(2000, len(vectors), 3))
        assert (symmetry.allowed(many) ** 2).mean() == pytest.approx(symmetry.freedom, rel=0.2)


def test_high_symmetry_leaves_little():
    """Of 36 numbers in fcc one is left, the breathing of the shell; all of them where the site has no symmetry."""
    (fcc,) = site_symmetries(template(phase_table().by_key("FCC")))
    assert len(fcc.operations) == 48
    assert fcc.freedom == pytest.approx(1.0 / 36.0)
    assert max(one.freedom for one in site_symmetries(template(phase_table().by_key("KFES2")))) > 0.2
