"""Triton kernels of the forward pass: one program per centre, channels across lanes, edges a few at a time.

    convolve    A[lm, a, c] = sum_b R_lc(r_ab) Y_lm(r_ab) source[b, c]; without a source the sums of phi_q Y_lm over the
                neighbours of one species, one program per centre and species
    contract    B[a, c]     = sum_nu sum_m k_nu[z_a, m, c] prod over i in m of A[i, a, c]
    invariants  P[a, l, c]  = sum_m A[lm, a, c]^2 / (2 l + 1), and A itself for l = 0
    means       m[a, c]     = sum_b w(r_ab) v[b, c] / sum_b w(r_ab),   w = (1 - r^2 / r_max^2)^3, 1 for a itself
    standardise x = g(f) - mean: what the head reads

Shapes as in `kernels.py`; nothing of size n_edges x channels is ever in memory. The row of a neighbour in the arrays of
sources is `index - shift`, plus `ring` where that is negative: sources of a slab that runs over a periodic boundary.
"""
# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl

from .triton_edges import degree_2, degree_3, hermite, knot_of, load_edges, spline_row


@triton.jit
def row_of(index, shift, ring):
    """Return the row of a neighbour."""
    row = index.to(tl.int64) - shift
    return tl.where(row < 0, row + ring, row)


@triton.jit
def folded(values, FOLD: tl.constexpr):
    """Return the sum over the edges, (1, channels), or every edge by itself, (edges, channels)."""
    return tl.sum(values, axis=0)[None, :] if FOLD else values


@triton.jit(do_not_specialize=["n_centres", "n_knots", "shift", "ring"])
def convolve(
    offsets,
    index,
    vectors,
    source,
    lookup,
    table,
    scale_of,
    out,
    n_centres,
    n_knots,
    channels,
    shift,
    ring,
    HAS_SOURCE: tl.constexpr,
    LOOKUP: tl.constexpr,
    L: tl.constexpr,
    FOLD: tl.constexpr,
    EDGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write A of the first kind to out (n_lm, n_centres, channels), of the second to out (n_lm, n_centres, s q).

    `lookup` gives the row of `source` (with a source) or the species (without) of the neighbour; LOOKUP 1: by its
    number, 2: by the edge, 0: rows by `shift` and `ring`. `scale_of` holds scale, stretch and cutoff. FOLD adds
    up the edges taken together at once, which is good where one thread has them all.
    """
    s3: tl.constexpr = 1.7320508075688772
    centre = tl.program_id(0).to(tl.int64)
    species = tl.program_id(1)
    kind: tl.constexpr = table.dtype.element_ty
    scale, stretch, r_max = tl.load(scale_of), tl.load(scale_of + 1), tl.load(scale_of + 2)
    c = tl.arange(0, BLOCK)
    within = c < channels
    ROWS: tl.constexpr = 1 if FOLD else EDGES
    width = channels * (L + 1) if HAS_SOURCE else channels
    first, last = tl.load(offsets + centre), tl.load(offsets + centre + 1)
    a0 = tl.zeros([ROWS, BLOCK], dtype=kind)
    if L >= 1:
        a1 = tl.zeros([ROWS, BLOCK], dtype=kind)
        a2 = tl.zeros([ROWS, BLOCK], dtype=kind)
        a3 = tl.zeros([ROWS, BLOCK], dtype=kind)
    if L >= 2:
        a4 = tl.zeros([ROWS, BLOCK], dtype=kind)
        a5 = tl.zeros([ROWS, BLOCK], dtype=kind)
        a6 = tl.zeros([ROWS, BLOCK], dtype=kind)
        a7 = tl.zeros([ROWS, BLOCK], dtype=kind)
        a8 = tl.zeros([ROWS, BLOCK], dtype=kind)
    if L >= 3:
        a9 = tl.zeros([ROWS, BLOCK], dtype=kind)
        a10 = tl.zeros([ROWS, BLOCK], dtype=kind)
        a11 = tl.zeros([ROWS, BLOCK], dtype=kind)
        a12 = tl.zeros([ROWS, BLOCK], dtype=kind)
        a13 = tl.zeros([ROWS, BLOCK], dtype=kind)
        a14 = tl.zeros([ROWS, BLOCK], dtype=kind)
        a15 = tl.zeros([ROWS, BLOCK], dtype=kind)
    for begin in range(first, last, EDGES):
        edge = begin + tl.arange(0, EDGES)
        inside = edge < last
        x, y, z, r, inside = load_edges(vectors, edge, inside, r_max, kind)
        if LOOKUP == 2:
            row = tl.load(lookup + edge, mask=inside, other=0).to(tl.int64)
        else:
            neighbour = tl.load(index + edge, mask=inside, other=0)
            if LOOKUP == 1:
                row = tl.load(lookup + neighbour, mask=inside, other=0).to(tl.int64)
            else:
                row = row_of(neighbour, shift, ring)
        if not HAS_SOURCE:
            inside = inside & (row == species)
        knot, t = knot_of(r, scale, stretch, n_knots)
        h0, h1, h2, h3 = hermite(t)
        mask = inside[:, None] & within[None, :]
        place = (knot * 2 * width)[:, None] + c[None, :]
        if HAS_SOURCE:
            sent = tl.load(source + row[:, None] * channels + c[None, :], mask=mask, other=0.0)
            w = spline_row(table, place, width, h0, h1, h2, h3, mask) * sent
        else:
            w = spline_row(table, place, width, h0, h1, h2, h3, mask)
        a0 += folded(w, FOLD)
        if L >= 1:
            if HAS_SOURCE:
                w = spline_row(table, place + channels, width, h0, h1, h2, h3, mask) * sent
            a1 += folded((s3 * x)[:, None] * w, FOLD)
            a2 += folded((s3 * y)[:, None] * w, FOLD)
            a3 += folded((s3 * z)[:, None] * w, FOLD)
        if L >= 2:
            if HAS_SOURCE:
                w = spline_row(table, place + 2 * channels, width, h0, h1, h2, h3, mask) * sent
            y4, y5, y6, y7, y8 = degree_2(x, y, z)
            a4 += folded(y4[:, None] * w, FOLD)
            a5 += folded(y5[:, None] * w, FOLD)
            a6 += folded(y6[:, None] * w, FOLD)
            a7 += folded(y7[:, None] * w, FOLD)
            a8 += folded(y8[:, None] * w, FOLD)
        if L >= 3:
            if HAS_SOURCE:
                w = spline_row(table, place + 3 * channels, width, h0, h1, h2, h3, mask) * sent
            y9, y10, y11, y12, y13, y14, y15 = degree_3(x, y, z)
            a9 += folded(y9[:, None] * w, FOLD)
            a10 += folded(y10[:, None] * w, FOLD)
            a11 += folded(y11[:, None] * w, FOLD)
            a12 += folded(y12[:, None] * w, FOLD)
            a13 += folded(y13[:, None] * w, FOLD)
            a14 += folded(y14[:, None] * w, FOLD)
            a15 += folded(y15[:, None] * w, FOLD)
    wide = channels * tl.num_programs(1)
    step = n_centres.to(tl.int64) * wide
    at = out + centre * wide + species * channels + c
    tl.store(at, tl.sum(a0, axis=0), mask=within)
    if L >= 1:
        tl.store(at + step, tl.sum(a1, axis=0), mask=within)
        tl.store(at + 2 * step, tl.sum(a2, axis=0), mask=within)
        tl.store(at + 3 * step, tl.sum(a3, axis=0), mask=within)
    if L >= 2:
        tl.store(at + 4 * step, tl.sum(a4, axis=0), mask=within)
        tl.store(at + 5 * step, tl.sum(a5, axis=0), mask=within)
        tl.store(at + 6 * step, tl.sum(a6, axis=0), mask=within)
        tl.store(at + 7 * step, tl.sum(a7, axis=0), mask=within)
        tl.store(at + 8 * step, tl.sum(a8, axis=0), mask=within)
    if L >= 3:
        tl.store(at + 9 * step, tl.sum(a9, axis=0), mask=within)
        tl.store(at + 10 * step, tl.sum(a10, axis=0), mask=within)
        tl.store(at + 11 * step, tl.sum(a11, axis=0), mask=within)
        tl.store(at + 12 * step, tl.sum(a12, axis=0), mask=within)
        tl.store(at + 13 * step, tl.sum(a13, axis=0), mask=within)
        tl.store(at + 14 * step, tl.sum(a14, axis=0), mask=within)
        tl.store(at + 15 * step, tl.sum(a15, axis=0), mask=within)


@triton.jit(do_not_specialize=["n_centres", "n_pairs", "n_triples"])
def contract(
    message,
    slots,
    linear,
    pairs,
    quadratic,
    triples,
    cubic,
    out,
    n_centres,
    n_pairs,
    n_triples,
    channels,
    BLOCK: tl.constexpr,
):
    """Write B (n_centres, channels); the message of a centre is read from the cache as often as it is needed."""
    centre = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK)
    within = c < channels
    z = tl.load(slots + centre).to(tl.int64)
    step = n_centres.to(tl.int64) * channels
    a = message + centre * channels + c
    k2, k3 = quadratic + z * n_pairs * channels + c, cubic + z * n_triples * channels + c
    total = tl.load(linear + z * channels + c, mask=within, other=0.0) * tl.load(a, mask=within, other=0.0)
    for m in range(0, n_pairs):
        i, j = tl.load(pairs + 2 * m), tl.load(pairs + 2 * m + 1)
        k = tl.load(k2 + m * channels, mask=within, other=0.0)
        u, v = tl.load(a + i * step, mask=within, other=0.0), tl.load(a + j * step, mask=within, other=0.0)
        total += k * u * v
    for m in range(0, n_triples):
        i, j, n = tl.load(triples + 3 * m), tl.load(triples + 3 * m + 1), tl.load(triples + 3 * m + 2)
        k = tl.load(k3 + m * channels, mask=within, other=0.0)
        u, v = tl.load(a + i * step, mask=within, other=0.0), tl.load(a + j * step, mask=within, other=0.0)
        total += k * u * v * tl.load(a + n * step, mask=within, other=0.0)
    tl.store(out + centre * channels + c, total, mask=within)


@triton.jit(do_not_specialize=["n_centres"])
def invariants(message, out, n_centres, channels, row_width, L: tl.constexpr, BLOCK: tl.constexpr):
    """Write A of l = 0 and the powers above to out, rows of `row_width`, l after l."""
    centre = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK)
    within = c < channels
    step = n_centres.to(tl.int64) * channels
    a, target = message + centre * channels + c, out + centre * row_width + c
    tl.store(target, tl.load(a, mask=within, other=0.0), mask=within)
    for degree in tl.static_range(1, L + 1):
        total = tl.zeros([BLOCK], dtype=message.dtype.element_ty)
        for lm in tl.static_range(degree * degree, (degree + 1) * (degree + 1)):
            u = tl.load(a + lm * step, mask=within, other=0.0)
            total += u * u
        tl.store(target + degree * channels, total * (1.0 / (2 * degree + 1)), mask=within)


@triton.jit
def weights_of(vectors, edge, inside, r_max, kind: tl.constexpr):
    """Return w and the edge's vector."""
    dx = tl.load(vectors + 3 * edge, mask=inside, other=0.0).to(kind)
    dy = tl.load(vectors + 3 * edge + 1, mask=inside, other=0.0).to(kind)
    dz = tl.load(vectors + 3 * edge + 2, mask=inside, other=0.0).to(kind)
    left = tl.maximum(1.0 - (dx * dx + dy * dy + dz * dz) / (r_max * r_max), 0.0)
    left = tl.where(inside, left, 0.0)
    return left, dx, dy, dz


@triton.jit(do_not_specialize=["shift", "ring", "first_own"])
def means(
    offsets,
    index,
    vectors,
    own,
    species,
    mine,
    values,
    r_of,
    out,
    n_values,
    shift,
    ring,
    first_own,
    PER_EDGE: tl.constexpr,
    HAS_OWN: tl.constexpr,
    SPLIT: tl.constexpr,
    EDGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write means to out (n_centres, 1 or 2, n_values): over those of the own species and all, or over all.

    Species are those of edges and of centres with PER_EDGE, else those of atoms; without HAS_OWN centre k is atom
    `first_own + k`.
    """
    centre = tl.program_id(0).to(tl.int64)
    kind: tl.constexpr = values.dtype.element_ty
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    within = c < n_values
    r_max = tl.load(r_of)
    if HAS_OWN:
        me = tl.load(own + centre).to(tl.int64)
        row_me = me
    else:
        me = first_own + centre
        row_me = row_of(me, shift, ring)
    if SPLIT:
        if PER_EDGE:
            my_kind = tl.load(mine + centre)
        else:
            my_kind = tl.load(species + me)
    alike = tl.load(values + row_me * n_values + c, mask=within, other=0.0)
    other = tl.zeros([BLOCK], dtype=kind)
    alike_weight = tl.full([], 1.0, dtype=kind)
    all_weight = tl.full([], 1.0, dtype=kind)
    first, last = tl.load(offsets + centre), tl.load(offsets + centre + 1)
    for begin in range(first, last, EDGES):
        edge = begin + tl.arange(0, EDGES)
        inside = edge < last
        left, _, _, _ = weights_of(vectors, edge, inside, r_max, kind)
        w = left * left * left
        neighbour = tl.load(index + edge, mask=inside, other=0)
        row = row_of(neighbour, shift, ring)
        mask = (inside & (w > 0.0))[:, None] & within[None, :]
        v = tl.load(values + row[:, None] * n_values + c[None, :], mask=mask, other=0.0)
        all_weight += tl.sum(w, axis=0)
        if SPLIT:
            if PER_EDGE:
                same = tl.load(species + edge, mask=inside, other=-1) == my_kind
            else:
                same = tl.load(species + neighbour, mask=inside, other=-1) == my_kind
            w_same = tl.where(same, w, 0.0)
            alike_weight += tl.sum(w_same, axis=0)
            alike += tl.sum(w_same[:, None] * v, axis=0)
            other += tl.sum((w - w_same)[:, None] * v, axis=0)
        else:
            alike += tl.sum(w[:, None] * v, axis=0)
    if SPLIT:
        tl.store(out + 2 * centre * n_values + c, alike / alike_weight, mask=within)
        tl.store(out + (2 * centre + 1) * n_values + c, (alike + other) / all_weight, mask=within)
    else:
        tl.store(out + centre * n_values + c, alike / all_weight, mask=within)


@triton.jit(do_not_specialize=["n_plain", "column"])
def standardise(part, mean, floor, out, part_width, n_plain, n_values, row_width, column, BLOCK: tl.constexpr):
    """Write g(part) - mean to the columns of `out` from `column` on; g is the root behind `n_plain` values."""
    row = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    within = c < n_values
    value = tl.load(part + row * part_width + c, mask=within, other=0.0)
    least = tl.load(floor + column + c, mask=within, other=0.0)
    middle = tl.load(mean + column + c, mask=within, other=0.0)
    root = tl.sqrt(tl.maximum(value, 0.0) + least)
    tl.store(out + row * row_width + column + c, tl.where(c < n_plain, value, root) - middle, mask=within)
