"""Numba kernels of the readout, so that a changed prior or choice of phases answers at once on frames of 100,000 atoms.

    weighted_best   argmax_c, max_c of  p_c ~ exp(l_c / T + log w_c),  and best minus second-best l
    posterior_sums  sum_a p[a, c] / w_c  of likelihoods, what one step of expectation-maximisation needs

The inner loops of the first two run over the phases of one atom, and are vectorised. What is kept of a block of logits
in the first place: `kernels_keep`; the neighbourhood prior: `kernels_local`.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from ovito_mace_phase.runtime.compiling import COMPILED, kernel
from ovito_mace_phase.runtime.exponential import LOG2_E, power_of_two


@kernel(**COMPILED)
def weighted_best(logits, inverse_temperature, log_weights, column, sure, margin):
    """Write column, probability and margin of each row; margin is huge where there is one phase alone."""
    n_rows, n_columns = logits.shape
    joint = np.empty(n_columns, dtype=np.float32)
    for row in range(n_rows):
        raw = logits[row]
        first, top = np.float32(-3e38), np.float32(-3e38)
        for c in range(n_columns):
            joint[c] = raw[c] * inverse_temperature + log_weights[c]
        for c in range(n_columns):
            first = max(first, raw[c])
            top = max(top, joint[c])
        second, ties = np.float32(-3e38), 0
        for c in range(n_columns):
            second = max(second, raw[c] if raw[c] < first else np.float32(-3e38))
            ties += raw[c] == first
        margin[row] = np.float32(0.0) if ties > 1 else first - second
        total = np.float32(0.0)
        for c in range(n_columns):
            total += power_of_two((joint[c] - top) * np.float32(LOG2_E))
        sure[row] = np.float32(1.0) / total
        best = 0
        while best < n_columns - 1 and joint[best] < top:
            best += 1
        column[row] = best


@kernel(**COMPILED)
def posterior_sums(likelihood, weights):
    """Return the sum over rows a of `likelihood[a, c] / sum_c' likelihood[a, c'] weights[c']`, (n_phases,) float64."""
    n_rows, n_columns = likelihood.shape
    sums = np.zeros(n_columns, dtype=np.float64)
    part = np.zeros(n_columns, dtype=np.float32)
    for row in range(n_rows):
        mine = likelihood[row]
        total = np.float32(0.0)
        for c in range(n_columns):
            total += mine[c] * weights[c]
        inverse = np.float32(1.0) / total
        for c in range(n_columns):
            part[c] += mine[c] * inverse
        if row % 64 == 63 or row == n_rows - 1:
            for c in range(n_columns):
                sums[c] += part[c]
                part[c] = 0
    return sums
