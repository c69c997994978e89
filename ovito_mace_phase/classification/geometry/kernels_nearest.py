"""Numba kernels: the neighbour that lies nearest to a place, with vector instructions.

    m = argmin_m |u_m - p|^2 + extra (species of m is not the wanted one) + taken_m

The neighbours of one atom lie by component, padded to a multiple of LANES. A square's bits, read as a whole number,
keep the order of squares, so that its last eight can hold m: the least of these numbers tells the neighbour, to three
parts in 10^5 of the square.
"""
# mypy: disable-error-code="no-untyped-def, call-arg"

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.runtime.bits import bits_of_float
from ovito_mace_phase.runtime.compiling import COMPILED, kernel

LANES = 16
MOST = 256
"""Neighbours that can be told apart."""
_FAR, _TAKEN = np.float32(1e6), np.float32(1e30)
_NUMBER = np.int32(MOST - 1)
_SQUARE = np.int32(~(MOST - 1))

Float32 = npt.NDArray[np.float32]


class Around(NamedTuple):
    """Neighbours of one atom, nearest first.

    Attributes
    ----------
    vectors : (3, K) float32
    species : (K,) int32
    taken : (K,) float32
        Added to the square of each while places are filled.
    """

    vectors: Float32
    species: npt.NDArray[np.int32]
    taken: Float32


@kernel(**COMPILED)
def memory_for(most):
    """Return memory for the neighbours of an atom, at most so many."""
    size = (most + LANES - 1) // LANES * LANES
    return Around(
        np.empty((3, size), dtype=np.float32),
        np.empty(size, dtype=np.int32),
        np.empty(size, dtype=np.float32),
    )


@kernel(**COMPILED)
def lay_out(around, n, vectors, neighbour, species):
    """Write the n nearest neighbours of an atom, `vectors` (K, 3), `neighbour` (K,), `species` (n_atoms,)."""
    for m in range(n):
        for i in range(3):
            around.vectors[i, m] = vectors[m, i]
        around.species[m] = species[neighbour[m]]
    for m in range(n, len(around.species)):
        for i in range(3):
            around.vectors[i, m] = _FAR
        around.species[m] = -1


@kernel(**COMPILED, forceinline=True)
def free_all(around):
    """Let every neighbour be found again."""
    around.taken[:] = np.float32(0.0)


@kernel(**COMPILED, forceinline=True)
def take_nearest(around, x, y, z, wanted, extra):
    """Return the neighbour nearest to a place, which is not found again.

    One of another species than `wanted` counts as farther away, by `extra` in the square; -1 wants none.
    """
    x, y, z, extra = np.float32(x), np.float32(y), np.float32(z), np.float32(extra)
    u, species, taken = around.vectors, around.species, around.taken
    if wanted == -1:
        extra = np.float32(0.0)
    kind, least = np.int32(wanted), np.int32(2147483647)
    for m in range(u.shape[1]):
        a, b, c = u[0, m] - x, u[1, m] - y, u[2, m] - z
        other = extra if species[m] != kind else np.float32(0.0)
        square = a * a + b * b + c * c + (taken[m] + other)
        least = min(least, np.int32((bits_of_float(square) & _SQUARE) | np.int32(m)))
    best = least & _NUMBER
    taken[best] = _TAKEN
    return best
