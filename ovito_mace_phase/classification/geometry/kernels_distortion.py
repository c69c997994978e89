"""Numba kernel: how far the mean shell of the atoms of a crystal lies from the template; see `distortion`."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from ovito_mace_phase.runtime.compiling import COMPILED, kernel

from .kernels_matrix import times_inverse
from .kernels_nearest import MOST


@kernel(**COMPILED)
def mean_deviations(library, atoms, bounds, template, gradient, slots, vectors, square):
    """Write the square of the mean deviation in each group of atoms of one template, without what noise adds.

    Group g is atoms[bounds[g]:bounds[g + 1]]. Two atoms or more, since

        |mean r|^2 = (|sum r|^2 - sum |r|^2) / (n (n - 1))

    takes the product of different atoms alone: independent noise has none on average, so it may be negative.
    """
    total, own, count = np.empty((MOST, 3)), np.empty(MOST), np.empty(MOST, dtype=np.int64)
    one, inverse, off, shift = np.zeros((3, 3)), np.empty((3, 3)), np.empty((MOST, 3)), np.empty(3)
    for i in range(3):
        one[i, i] = 1.0
    for g in range(len(square)):
        t = template[atoms[bounds[g]]]
        begin, end = library.offsets[t], library.offsets[t + 1]
        total[:], own[:], count[:] = 0.0, 0.0, 0
        for a in atoms[bounds[g] : bounds[g + 1]]:
            times_inverse(one, gradient[a], inverse)
            shift[:] = 0.0
            points = 1
            for k in range(begin, end):
                m = slots[a, k - begin]
                if m < 0:
                    continue
                points += 1
                for i in range(3):
                    x = -library.vectors[k, i]
                    for j in range(3):
                        x += inverse[i, j] * vectors[a, m, j]
                    off[k - begin, i] = x
                    shift[i] += x
            for k in range(end - begin):
                if slots[a, k] < 0:
                    continue
                count[k] += 1
                for i in range(3):
                    x = off[k, i] - shift[i] / points
                    total[k, i] += x
                    own[k] += x * x
        square[g], held = 0.0, 0
        for k in range(end - begin):
            if count[k] > 1:
                held += 1
                mean = total[k, 0] ** 2 + total[k, 1] ** 2 + total[k, 2] ** 2
                square[g] += (mean - own[k]) / (count[k] * (count[k] - 1.0))
        square[g] /= max(1, held) * library.length[t] ** 2
