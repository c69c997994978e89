"""Triton kernels of the readout: what `classification/readout` does, one program per atom.

read_out   l_c = E + log softmax_c z (or z), the best few of the phases considered, logsumexp of l and l / T, the
           logits of single phases, of every k-th atom, or all of them
spread, agreement   a sweep over the neighbours and the confidence it ends with, see `local_prior`
"""
# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["n_considered", "stride", "n_keys", "n_atoms"])
def read_out(
    classes,
    density,
    neighbours,
    order,
    place_of,
    alone,
    keys,
    best_columns,
    best,
    log_density,
    log_norm,
    sampled,
    columns,
    logits,
    n_phases,
    n_considered,
    stride,
    n_keys,
    n_atoms,
    temperature_of,
    HAS_DENSITY: tl.constexpr,
    FULL: tl.constexpr,
    N_BEST: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write what is kept of a row of `classes` (z) to the place `order` says.

    `neighbours` are their numbers: an atom without any has the logits `alone`. `place_of` (n_phases,) is the place of a
    phase among those considered, -1 for none.
    """
    row = tl.program_id(0).to(tl.int64)
    atom = tl.load(order + row).to(tl.int64)
    c = tl.arange(0, BLOCK)
    within = c < n_phases
    lowest = float("-inf")
    x = tl.load(classes + row * n_phases + c, mask=within, other=lowest).to(tl.float32)
    if HAS_DENSITY:
        top = tl.max(x, axis=0)
        total = tl.sum(tl.exp(x - top), axis=0)
        x = x + (tl.load(density + row).to(tl.float32) - top - tl.log(total))
    is_alone = tl.load(neighbours + row) == 0
    x = tl.where(is_alone, tl.load(alone + c, mask=within, other=lowest), x)
    if FULL:
        tl.store(logits + atom * n_phases + c, x, mask=within)
    for key in range(0, n_keys):
        wanted = tl.load(keys + key)
        tl.store(columns + key * n_atoms.to(tl.int64) + atom, tl.sum(tl.where(c == wanted, x, 0.0), axis=0))
    place = tl.load(place_of + c, mask=within, other=-1)
    counted = place >= 0
    x = tl.where(counted, x, lowest)
    if atom % stride == 0:
        tl.store(sampled + (atom // stride) * n_considered + place, x, mask=counted)
    top = tl.max(x, axis=0)
    inverse = tl.load(temperature_of)
    tl.store(log_density + atom, top + tl.log(tl.sum(tl.exp(x - top), axis=0)))
    tl.store(log_norm + atom, top * inverse + tl.log(tl.sum(tl.exp((x - top) * inverse), axis=0)))
    for k in tl.static_range(N_BEST):
        value = tl.max(x, axis=0)
        at = tl.min(tl.where((x == value) & counted, c, BLOCK), axis=0)
        chosen = c == at
        tl.store(best + atom * N_BEST + k, value)
        tl.store(best_columns + atom * N_BEST + k, tl.sum(tl.where(chosen, place, 0), axis=0).to(tl.int16))
        x = tl.where(chosen, lowest, x)
        counted = counted & (chosen == 0)


@triton.jit(do_not_specialize=["n_atoms"])
def spread(columns, own, present, offsets, neighbour, following, n_atoms, N: tl.constexpr, ATOMS: tl.constexpr):
    """Write `p[a, k] ~ p0[a, k] (w[a, k] + floor)`; as `kernels_local` does. `columns` (n_atoms, N) int32."""
    atom = tl.program_id(0) * ATOMS + tl.arange(0, ATOMS)
    within = atom < n_atoms
    first = tl.load(offsets + atom, mask=within, other=0)
    count = (tl.load(offsets + atom + 1, mask=within, other=0) - first).to(tl.int32)
    k = tl.arange(0, N)
    at = atom[:, None] * N + k[None, :]
    mask = within[:, None]
    mine = tl.load(columns + at, mask=mask, other=-1)
    p0 = tl.load(own + at, mask=mask, other=0.0)
    weight = tl.load(present + at, mask=mask, other=0.0)
    for bond in range(0, tl.max(count, axis=0)):
        there = within & (bond < count)
        other = tl.load(neighbour + first + bond, mask=there, other=0)
        for m in tl.static_range(N):
            theirs = tl.load(columns + other * N + m, mask=there, other=-2)
            p = tl.load(present + other * N + m, mask=there, other=0.0)
            weight += tl.where(theirs[:, None] == mine, p[:, None], 0.0)
    best = tl.load(own + atom * N, mask=within, other=0.0)
    found = p0 * (weight / (count + 1).to(tl.float32)[:, None] + 1e-7)
    found = tl.where(p0 < (1e-3 * best)[:, None], 0.0, found)
    rival = tl.zeros([ATOMS], dtype=tl.float32)
    if N > 1:
        rival = tl.load(own + atom * N + 1, mask=within, other=0.0)
    sole = rival < 1e-3 * best
    total = tl.sum(found, axis=1)
    found = found / tl.where(total > 0.0, total, 1.0)[:, None]
    found = tl.where(sole[:, None], tl.where(k[None, :] == 0, 1.0, 0.0), found)
    tl.store(following + at, found, mask=mask)


@triton.jit(do_not_specialize=["n_atoms"])
def agreement(columns, own, present, offsets, neighbour, place, sure, n_atoms, N: tl.constexpr, ATOMS: tl.constexpr):
    """Write the place of the label and the mean of its p0 over the atom and the neighbours that have it too.

    `columns` and `own` (n_atoms, N), `present` the last weights; see `kernels_local.agreement`.
    """
    atom = tl.program_id(0) * ATOMS + tl.arange(0, ATOMS)
    within = atom < n_atoms
    first = tl.load(offsets + atom, mask=within, other=0)
    count = (tl.load(offsets + atom + 1, mask=within, other=0) - first).to(tl.int32)
    best = first_largest(present, atom, within, N, ATOMS)
    label = tl.load(columns + atom * N + best, mask=within, other=-1)
    total = tl.load(own + atom * N + best, mask=within, other=0.0)
    voices = tl.full([ATOMS], 1, dtype=tl.int32)
    for bond in range(0, tl.max(count, axis=0)):
        there = within & (bond < count)
        other = tl.load(neighbour + first + bond, mask=there, other=0)
        theirs = first_largest(present, other, there, N, ATOMS)
        same = there & (tl.load(columns + other * N + theirs, mask=there, other=-2) == label)
        total += tl.where(same, tl.load(own + other * N + theirs, mask=there, other=0.0), 0.0)
        voices += same.to(tl.int32)
    tl.store(place + atom, best.to(tl.int8), mask=within)
    tl.store(sure + atom, total / voices.to(tl.float32), mask=within)


@triton.jit
def first_largest(values, atom, within, N: tl.constexpr, ATOMS: tl.constexpr):
    """Return the place of the largest of each row of `values` (n, N), the first of equals."""
    best = tl.zeros([ATOMS], dtype=tl.int32)
    most = tl.load(values + atom * N, mask=within, other=0.0)
    for k in tl.static_range(1, N):
        value = tl.load(values + atom * N + k, mask=within, other=0.0)
        better = value > most
        best = tl.where(better, k, best)
        most = tl.where(better, value, most)
    return best
