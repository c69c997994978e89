"""Compiled loops of the sampler: the spring matrix of a crystal, atoms pushed apart.

springs    K_ab = -k(r) [(1 - t) n n^T + t 1],  K_aa = -sum_b K_ab  (`noise`)
push       r_a <- r_a - sum_b (least - |v_ab|) / 2 * v_ab / |v_ab|,  over pairs nearer than `least`  (`disorder`)
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from ovito_mace_phase.runtime.compiling import COMPILED, kernel


@kernel(**COMPILED)
def add_springs(centre, neighbour, distance, direction, transverse, length, matrix):
    """Add the springs of stiffness (length / r)^6 of all pairs, each given from both sides, to a matrix (3 n, 3 n)."""
    block = np.empty((3, 3))
    for pair in range(len(centre)):
        a, b = 3 * centre[pair], 3 * neighbour[pair]
        square = (length / distance[pair]) ** 2
        stiffness = square * square * square
        for i in range(3):
            for j in range(3):
                block[i, j] = (1.0 - transverse) * direction[pair, i] * direction[pair, j]
            block[i, i] += transverse
        for i in range(3):
            for j in range(3):
                matrix[a + i, a + j] += stiffness * block[i, j]
                matrix[a + i, b + j] -= stiffness * block[i, j]


@kernel(**COMPILED)
def push(offsets, neighbour, vectors, least, most_turns, farthest, moved):
    """Move pairs nearer than `least` apart, all at once in every turn; adds to `moved` (n_atoms, 3), at first zero.

    Ends when no pair is that near, after `most_turns`, or when an atom has moved by more than `farthest`: pairs that
    are not in the list may be near then.

    Returns
    -------
    turns : int
    done : bool
        No pair is nearer than `least`.
    """
    n_atoms = len(offsets) - 1
    step = np.empty((n_atoms, 3))
    for turn in range(most_turns):
        near = 0
        for a in range(n_atoms):
            step[a, 0] = step[a, 1] = step[a, 2] = 0.0
            for k in range(offsets[a], offsets[a + 1]):
                b = neighbour[k]
                x = vectors[k, 0] + moved[b, 0] - moved[a, 0]
                y = vectors[k, 1] + moved[b, 1] - moved[a, 1]
                z = vectors[k, 2] + moved[b, 2] - moved[a, 2]
                square = x * x + y * y + z * z
                if square < least * least:
                    near += 1
                    distance = np.sqrt(square)
                    share = 0.5 * (distance - least) / max(distance, 1e-3)
                    step[a, 0] += share * x
                    step[a, 1] += share * y
                    step[a, 2] += share * z
        if near == 0:
            return turn, True
        way = 0.0
        for a in range(n_atoms):
            square = 0.0
            for d in range(3):
                moved[a, d] += step[a, d]
                square += moved[a, d] * moved[a, d]
            way = max(way, square)
        if way > farthest * farthest:
            return turn + 1, False
    return most_turns, False
