"""2^y for kernels, vectorised where the library's exponential is a call for every number.

    2^y = 2^k 2^f,     k the whole number next to y,   |f| <= 1/2
    2^f = sum_i p_i f^i,  i <= 5:  interpolated at the Chebyshev points of the interval, relative error below 1.1e-7

2^k is written as the bits of a float32, (k + 127) << 23, and read as one by LLVM's bitcast, which moves nothing.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numba
import numpy as np

from .bits import float_of_bits
from .compiling import COMPILED

LOG2_E = 1.4426950408889634
_LEAST = np.float32(-120.0)
_HALF = np.float32(0.5)
_P0, _P1, _P2, _P3, _P4, _P5 = (
    np.float32(p) for p in (1.00000008, 0.69314719, 0.24022107, 0.05550357, 0.00967603, 0.00133909)
)


@numba.njit(**COMPILED, inline="always")
def power_of_two(y):
    """Return 2^y, float32, of a float32 y <= 0; what is below -120 counts as -120."""
    y = y if y > _LEAST else _LEAST
    k = np.int32(y - _HALF)
    f = y - np.float32(k)
    series = _P5
    series = series * f + _P4
    series = series * f + _P3
    series = series * f + _P2
    series = series * f + _P1
    series = series * f + _P0
    return series * float_of_bits((k + np.int32(127)) << np.int32(23))  # type: ignore[call-arg]
