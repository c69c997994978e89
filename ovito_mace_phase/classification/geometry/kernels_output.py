"""Numba kernels: orientations of matched atoms, in the setting of the crystal that turns them least."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from ovito_mace_phase.runtime.compiling import COMPILED, kernel

from .kernels_matrix import polar


@kernel(**COMPILED)
def least_turns(library, template, gradient, quaternion, turned):
    """Write Q T as a quaternion x, y, z, w with w >= 0, and F T; T the rotation of the crystal with the largest w.

    Q is the polar factor of H = F A.
    """
    q, moment, turn = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    for atom in range(len(template)):
        t = template[atom]
        if t < 0:
            continue
        phase = library.phase[t]
        for i in range(3):
            for j in range(3):
                total = 0.0
                for m in range(3):
                    f = np.float64(gradient[atom, i, m])
                    total += f * (
                        library.spread[t, m, j] + library.square[t] * library.normal[t, m] * library.normal[t, j]
                    )
                moment[i, j] = total
        if not polar(moment, turn):
            continue
        best, chosen = -4.0, library.turn_offsets[phase]
        for k in range(library.turn_offsets[phase], library.turn_offsets[phase + 1]):
            trace = 0.0
            for i in range(3):
                for m in range(3):
                    trace += turn[i, m] * library.turns[k, m, i]
            if trace > best + 1e-9:
                best, chosen = trace, k
        for i in range(3):
            for j in range(3):
                a, b = 0.0, 0.0
                for m in range(3):
                    a += turn[i, m] * library.turns[chosen, m, j]
                    b += gradient[atom, i, m] * library.turns[chosen, m, j]
                q[i, j] = a
                turned[atom, i, j] = b
        # the largest component first, so that the division is safe
        squares = (
            1.0 + q[0, 0] - q[1, 1] - q[2, 2],
            1.0 - q[0, 0] + q[1, 1] - q[2, 2],
            1.0 - q[0, 0] - q[1, 1] + q[2, 2],
            1.0 + q[0, 0] + q[1, 1] + q[2, 2],
        )
        largest = 3
        for k in range(4):
            if squares[k] > squares[largest] + 1e-12:
                largest = k
        half = np.sqrt(squares[largest]) / 2.0
        over = 0.25 / half
        if largest == 3:
            x, y, z, w = (q[2, 1] - q[1, 2]) * over, (q[0, 2] - q[2, 0]) * over, (q[1, 0] - q[0, 1]) * over, half
        elif largest == 0:
            x, y, z, w = half, (q[0, 1] + q[1, 0]) * over, (q[0, 2] + q[2, 0]) * over, (q[2, 1] - q[1, 2]) * over
        elif largest == 1:
            x, y, z, w = (q[0, 1] + q[1, 0]) * over, half, (q[1, 2] + q[2, 1]) * over, (q[0, 2] - q[2, 0]) * over
        else:
            x, y, z, w = (q[0, 2] + q[2, 0]) * over, (q[1, 2] + q[2, 1]) * over, half, (q[1, 0] - q[0, 1]) * over
        sign = -1.0 if w < 0.0 else 1.0
        quaternion[atom, 0], quaternion[atom, 1], quaternion[atom, 2] = sign * x, sign * y, sign * z
        quaternion[atom, 3] = sign * w
