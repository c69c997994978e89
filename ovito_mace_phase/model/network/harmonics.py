"""Direction -> real spherical harmonics up to l = 3 as polynomials of the unit vector, (n, (l_max + 1)^2).

Component normalisation: the squares of the 2l + 1 components of one l sum to 2l + 1. Order and axes are those of
e3nn 0.4: l = 0, 1, 2, 3 in turn, m = -l .. l within each, with y as the polar axis, so that l = 1 is (x, y, z).
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

from ovito_mace_phase.runtime.errors import ModelFileError


def spherical_harmonics(unit: Tensor, l_max: int) -> Tensor:
    """Return Y[n, lm] of unit vectors (n, 3); the polynomials hold for unit length only."""
    if not 0 <= l_max <= 3:
        raise ModelFileError(f"l_max is {l_max}: spherical harmonics are written out for 0 to 3")
    x, y, z = unit.unbind(-1)
    components = [torch.ones_like(x)]
    if l_max >= 1:
        components += [sqrt(3) * x, sqrt(3) * y, sqrt(3) * z]
    if l_max >= 2:
        components += [
            sqrt(15) * x * z,
            sqrt(15) * x * y,
            sqrt(5) * (y * y - (x * x + z * z) / 2),
            sqrt(15) * y * z,
            sqrt(15) / 2 * (z * z - x * x),
        ]
    if l_max >= 3:
        across = x * x + z * z
        components += [
            sqrt(35 / 8) * x * (3 * z * z - x * x),
            sqrt(105) * x * y * z,
            sqrt(21 / 8) * x * (4 * y * y - across),
            sqrt(7) / 2 * y * (2 * y * y - 3 * across),
            sqrt(21 / 8) * z * (4 * y * y - across),
            sqrt(105) / 2 * y * (z * z - x * x),
            sqrt(35 / 8) * z * (z * z - 3 * x * x),
        ]
    return torch.stack(components, dim=-1)
