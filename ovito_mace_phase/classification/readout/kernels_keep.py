"""What is kept of a block of logits, in one pass over each row while it is in the cache.

    best          the largest logits of an atom and their columns, best first; of equal ones the lower column
    log_density   logsumexp_c l
    log_norm      logsumexp_c l / T
    all_logits, sampled     the row itself, where it is kept

A row is looked at in chunks of 16 columns. The n-th largest of the chunks' maxima is no more than the n-th largest
logit, so the n best are in the few chunks that reach it. The exponentials of both sums are one vectorised loop.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numba
import numpy as np

from ovito_mace_phase.runtime.compiling import COMPILED, kernel
from ovito_mace_phase.runtime.exponential import LOG2_E, power_of_two

_CHUNK = 16
_NOTHING = np.float32(-1e30)  # fills the last chunk
_LESS_THAN_ANY = np.float32(-1e29)


@kernel(**COMPILED)
def keep_rows(
    logits, rows, inverse_temperature, best_columns, best, log_density, log_norm, all_logits, stride, sampled
):
    """Write what is kept of logits (n, n_phases) float32 to the rows `rows` (n,) of arrays for all atoms.

    Parameters
    ----------
    inverse_temperature : float32
    best_columns, best : (n_atoms, n_best) int16, float32
    log_density, log_norm : (n_atoms,) float32
    all_logits : (n_atoms, n_phases) float32
        Of no rows: they are not kept.
    stride : int
        Atoms that this divides go to `sampled` (n_sampled, n_phases) float32; 0: none.
    """
    n_rows, n_columns = logits.shape
    n_chunks = -(-n_columns // _CHUNK)
    padded = np.full(n_chunks * _CHUNK, _NOTHING, dtype=np.float32)
    tops, held = np.empty(n_chunks, dtype=np.float32), np.empty(best.shape[1], dtype=np.float32)
    hits = np.empty(n_chunks * _CHUNK + 1, dtype=np.int32)
    for row in range(n_rows):
        atom = rows[row]
        top = _load(logits, row, padded, tops)
        if len(all_logits):
            for c in range(n_columns):
                all_logits[atom, c] = padded[c]
        if stride > 0 and atom % stride == 0:
            for c in range(n_columns):
                sampled[atom // stride, c] = padded[c]
        _write_best(padded, tops, held, hits, best_columns, best, atom)
        _write_sums(padded, top, inverse_temperature, log_density, log_norm, atom)


@kernel(**COMPILED)
def log_sums(logits, inverse_temperature, log_density, log_norm):
    """Write logsumexp of each row of logits (n, n_phases) float32, and of the logits times `inverse_temperature`."""
    n_rows, n_columns = logits.shape
    n_chunks = -(-n_columns // _CHUNK)
    padded, tops = np.full(n_chunks * _CHUNK, _NOTHING, dtype=np.float32), np.empty(n_chunks, dtype=np.float32)
    for row in range(n_rows):
        top = _load(logits, row, padded, tops)
        _write_sums(padded, top, inverse_temperature, log_density, log_norm, row)


@numba.njit(**COMPILED)
def _load(logits, row, padded, tops):
    """Copy a row into whole chunks, write the maximum of each, and return that of all."""
    for c in range(logits.shape[1]):
        padded[c] = logits[row, c]
    top = _NOTHING
    for chunk in range(len(tops)):
        mine = padded[chunk * _CHUNK]
        for m in range(1, _CHUNK):
            mine = max(mine, padded[chunk * _CHUNK + m])
        tops[chunk] = mine
        top = max(top, mine)
    return top


@numba.njit(**COMPILED)
def _write_best(padded, tops, held, hits, columns, values, target):
    most = len(held)
    found = 0
    for chunk in range(len(tops)):
        top = tops[chunk]
        if found == most and top <= held[most - 1]:
            continue
        place = min(found, most - 1)
        while place > 0 and held[place - 1] < top:
            held[place] = held[place - 1]
            place -= 1
        held[place] = top
        found = min(found + 1, most)
    bound = held[most - 1] if found == most else _LESS_THAN_ANY
    n_hits = 0
    for chunk in range(len(tops)):
        if tops[chunk] < bound:
            continue
        for m in range(chunk * _CHUNK, (chunk + 1) * _CHUNK):
            hits[n_hits] = m
            n_hits += padded[m] >= bound
    found = 0
    for hit in range(n_hits):
        column = hits[hit]
        value = padded[column]
        if found == most and value <= values[target, most - 1]:
            continue
        place = min(found, most - 1)
        while place > 0 and values[target, place - 1] < value:
            values[target, place] = values[target, place - 1]
            columns[target, place] = columns[target, place - 1]
            place -= 1
        values[target, place] = value
        columns[target, place] = column
        found = min(found + 1, most)


@numba.njit(**COMPILED)
def _write_sums(padded, top, inverse_temperature, log_density, log_norm, target):
    plain = np.float32(LOG2_E)
    cooled = np.float32(inverse_temperature) * plain
    total, total_cooled = np.float32(0.0), np.float32(0.0)
    for c in range(len(padded)):
        x = padded[c] - top
        total += power_of_two(x * plain)
        total_cooled += power_of_two(x * cooled)
    log_density[target] = top + np.float32(np.log(total))
    log_norm[target] = top * np.float32(inverse_temperature) + np.float32(np.log(total_cooled))
