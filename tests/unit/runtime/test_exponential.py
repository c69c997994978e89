"""The exponential of the kernels against the library's."""

from __future__ import annotations

import numpy as np

from ovito_mace_phase.runtime.compiling import COMPILED, kernel
from ovito_mace_phase.runtime.exponential import power_of_two


@kernel(**COMPILED)
def powers(values, found):
    for k in range(len(values)):
        found[k] = power_of_two(values[k])


def test_powers_of_two(rng):
    values = np.concatenate(
        [-np.arange(121.0), -np.arange(240.0) / 2.0, rng.uniform(-120.0, 0.0, 5000), rng.uniform(-1.0, 0.0, 5000)]
    ).astype(np.float32)
    found = np.empty_like(values)
    powers(values, found)
    np.testing.assert_allclose(found, 2.0 ** values.astype(np.float64), rtol=4e-7)


def test_what_is_too_small_is_as_small_as_it_gets():
    found = np.empty(3, dtype=np.float32)
    powers(np.float32([-121.0, -1e4, -1e30]), found)
    np.testing.assert_allclose(found, 2.0**-120, rtol=4e-7)
