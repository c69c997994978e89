"""3 x 3 algebra of the template kernels against numpy and scipy."""

from __future__ import annotations

import numpy as np
from scipy.linalg import polar

from ovito_mace_phase.classification.geometry import kernels_matrix as kernels


def test_matrices(rng):
    for _ in range(100):
        m, s = rng.normal(size=(2, 3, 3))
        product, rotation = np.empty((3, 3)), np.empty((3, 3))
        assert np.isclose(kernels.determinant(m), np.linalg.det(m))
        s = s @ s.T + 0.1 * np.eye(3)
        kernels.times_inverse(m, s, product)
        np.testing.assert_allclose(product, m @ np.linalg.inv(s), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(kernels.eigenvalues(s), np.linalg.eigvalsh(s), rtol=1e-6, atol=1e-6)
        near = np.eye(3) + 0.1 * rng.normal(size=(3, 3))
        assert kernels.polar(near, rotation)
        np.testing.assert_allclose(rotation, polar(near)[0], atol=1e-7)
        stretches = np.log(np.linalg.svd(near, compute_uv=False))
        assert np.isclose(kernels.deviatoric_strain(near), abs(stretches - stretches.mean()).max(), atol=1e-6)
    assert kernels.eigenvalues(2.0 * np.eye(3)) == (2.0, 2.0, 2.0)
    assert kernels.deviatoric_strain(1.1 * np.eye(3)) == 0.0
