"""Triton kernels of the backward pass: derivatives of the kernels of `triton_forward.py`, first order only.

convolve_edges     dL/dv of the edges of each centre, for G[lm, a, c] = dL/dA: one program per centre
convolve_sources   dL/d source[b, c] = sum_a sum_lm R_lc Y_lm G[lm, a, c] over the edges that end at b: one program
                   per source; a gather, so that sums are the same in every run
contract, invariants, means_edges, means_sources   likewise
"""
# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl

from .triton_edges import (
    along,
    degree_2,
    degree_3,
    hermite,
    hermite_slope,
    knot_of,
    load_edges,
    pulled_1,
    pulled_2,
    pulled_3,
    spline_and_slope,
    spline_row,
)
from .triton_forward import folded, row_of, weights_of


@triton.jit(do_not_specialize=["n_centres", "n_knots", "shift", "ring"])
def convolve_edges(
    offsets,
    index,
    vectors,
    source,
    lookup,
    table,
    scale_of,
    given,
    d_vectors,
    n_centres,
    n_knots,
    channels,
    shift,
    ring,
    HAS_SOURCE: tl.constexpr,
    LOOKUP: tl.constexpr,
    ADD: tl.constexpr,
    L: tl.constexpr,
    EDGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write or ADD dL/dv (n_edges, 3) for `given` dL/dA; arguments as in `triton_forward.convolve`."""
    s3: tl.constexpr = 1.7320508075688772
    centre = tl.program_id(0).to(tl.int64)
    species = tl.program_id(1)
    kind: tl.constexpr = table.dtype.element_ty
    scale, stretch, r_max = tl.load(scale_of), tl.load(scale_of + 1), tl.load(scale_of + 2)
    c = tl.arange(0, BLOCK)
    within = c < channels
    width = channels * (L + 1) if HAS_SOURCE else channels
    first, last = tl.load(offsets + centre), tl.load(offsets + centre + 1)
    wide = channels * tl.num_programs(1)
    step = n_centres.to(tl.int64) * wide
    g = given + centre * wide + species * channels + c
    g0 = tl.load(g, mask=within, other=0.0)
    if L >= 1:
        g1 = tl.load(g + step, mask=within, other=0.0)
        g2 = tl.load(g + 2 * step, mask=within, other=0.0)
        g3 = tl.load(g + 3 * step, mask=within, other=0.0)
    if L >= 2:
        g4 = tl.load(g + 4 * step, mask=within, other=0.0)
        g5 = tl.load(g + 5 * step, mask=within, other=0.0)
        g6 = tl.load(g + 6 * step, mask=within, other=0.0)
        g7 = tl.load(g + 7 * step, mask=within, other=0.0)
        g8 = tl.load(g + 8 * step, mask=within, other=0.0)
    if L >= 3:
        g9 = tl.load(g + 9 * step, mask=within, other=0.0)
        g10 = tl.load(g + 10 * step, mask=within, other=0.0)
        g11 = tl.load(g + 11 * step, mask=within, other=0.0)
        g12 = tl.load(g + 12 * step, mask=within, other=0.0)
        g13 = tl.load(g + 13 * step, mask=within, other=0.0)
        g14 = tl.load(g + 14 * step, mask=within, other=0.0)
        g15 = tl.load(g + 15 * step, mask=within, other=0.0)
    for begin in range(first, last, EDGES):
        edge = begin + tl.arange(0, EDGES)
        listed = edge < last
        x, y, z, r, inside = load_edges(vectors, edge, listed, r_max, kind)
        if LOOKUP == 2:
            row = tl.load(lookup + edge, mask=listed, other=0).to(tl.int64)
        else:
            neighbour = tl.load(index + edge, mask=listed, other=0)
            if LOOKUP == 1:
                row = tl.load(lookup + neighbour, mask=listed, other=0).to(tl.int64)
            else:
                row = row_of(neighbour, shift, ring)
        if not HAS_SOURCE:
            listed = listed & (row == species)  # every edge is written by the program of its species
            inside = inside & listed
        knot, t = knot_of(r, scale, stretch, n_knots)
        h0, h1, h2, h3 = hermite(t)
        e0, e1, e2, e3 = hermite_slope(t)
        mask = inside[:, None] & within[None, :]
        place = (knot * 2 * width)[:, None] + c[None, :]
        w, d = spline_and_slope(table, place, width, h0, h1, h2, h3, e0, e1, e2, e3, mask)
        if HAS_SOURCE:
            sent = tl.load(source + row[:, None] * channels + c[None, :], mask=mask, other=0.0)
            d = d * sent
        slope = along(g0, d)
        gx = tl.zeros([EDGES], dtype=kind)
        gy = tl.zeros([EDGES], dtype=kind)
        gz = tl.zeros([EDGES], dtype=kind)
        if L >= 1:
            if HAS_SOURCE:
                w, d = spline_and_slope(table, place + channels, width, h0, h1, h2, h3, e0, e1, e2, e3, mask)
                w, d = w * sent, d * sent
            q = (s3 * x)[:, None] * g1[None, :] + (s3 * y)[:, None] * g2[None, :] + (s3 * z)[:, None] * g3[None, :]
            slope += tl.sum(q * d, axis=1)
            ux, uy, uz = pulled_1(x, y, z, along(g1, w), along(g2, w), along(g3, w))
            gx += ux
            gy += uy
            gz += uz
        if L >= 2:
            if HAS_SOURCE:
                w, d = spline_and_slope(table, place + 2 * channels, width, h0, h1, h2, h3, e0, e1, e2, e3, mask)
                w, d = w * sent, d * sent
            y4, y5, y6, y7, y8 = degree_2(x, y, z)
            q = y4[:, None] * g4[None, :] + y5[:, None] * g5[None, :] + y6[:, None] * g6[None, :]
            q += y7[:, None] * g7[None, :] + y8[:, None] * g8[None, :]
            slope += tl.sum(q * d, axis=1)
            ux, uy, uz = pulled_2(x, y, z, along(g4, w), along(g5, w), along(g6, w), along(g7, w), along(g8, w))
            gx += ux
            gy += uy
            gz += uz
        if L >= 3:
            if HAS_SOURCE:
                w, d = spline_and_slope(table, place + 3 * channels, width, h0, h1, h2, h3, e0, e1, e2, e3, mask)
                w, d = w * sent, d * sent
            y9, y10, y11, y12, y13, y14, y15 = degree_3(x, y, z)
            q = y9[:, None] * g9[None, :] + y10[:, None] * g10[None, :] + y11[:, None] * g11[None, :]
            q += y12[:, None] * g12[None, :] + y13[:, None] * g13[None, :] + y14[:, None] * g14[None, :]
            q += y15[:, None] * g15[None, :]
            slope += tl.sum(q * d, axis=1)
            p9, p10, p11, p12 = along(g9, w), along(g10, w), along(g11, w), along(g12, w)
            p13, p14, p15 = along(g13, w), along(g14, w), along(g15, w)
            ux, uy, uz = pulled_3(x, y, z, p9, p10, p11, p12, p13, p14, p15)
            gx += ux
            gy += uy
            gz += uz
        slope *= scale * stretch / ((r + stretch) * (r + stretch))
        radial = slope - (gx * x + gy * y + gz * z) / r
        ex = tl.where(inside, gx / r + radial * x, 0.0)
        ey = tl.where(inside, gy / r + radial * y, 0.0)
        ez = tl.where(inside, gz / r + radial * z, 0.0)
        at = d_vectors + 3 * edge
        if ADD:
            ex += tl.load(at, mask=listed, other=0.0)
            ey += tl.load(at + 1, mask=listed, other=0.0)
            ez += tl.load(at + 2, mask=listed, other=0.0)
        tl.store(at, ex, mask=listed)
        tl.store(at + 1, ey, mask=listed)
        tl.store(at + 2, ez, mask=listed)


@triton.jit(do_not_specialize=["n_centres", "n_knots", "shift", "ring"])
def convolve_sources(
    offsets,
    index,
    vectors,
    table,
    scale_of,
    given,
    d_source,
    n_centres,
    n_knots,
    channels,
    shift,
    ring,
    REVERSED: tl.constexpr,
    L: tl.constexpr,
    FOLD: tl.constexpr,
    EDGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write dL/d source (n_sources, channels) for `given` (n_lm, n_centres, channels).

    `offsets`, `index` and `vectors` list for each source the edges that end at it and the centres they start from:
    REVERSED, the edges that start at it, in a list that holds every pair from both sides. Centres that are not among
    the rows of `given` are left out.
    """
    s3: tl.constexpr = 1.7320508075688772
    source = tl.program_id(0).to(tl.int64)
    kind: tl.constexpr = table.dtype.element_ty
    sign: tl.constexpr = -1.0 if REVERSED else 1.0
    scale, stretch, r_max = tl.load(scale_of), tl.load(scale_of + 1), tl.load(scale_of + 2)
    c = tl.arange(0, BLOCK)
    within = c < channels
    width = channels * (L + 1)
    step = n_centres.to(tl.int64) * channels
    ROWS: tl.constexpr = 1 if FOLD else EDGES
    total = tl.zeros([ROWS, BLOCK], dtype=kind)
    first, last = tl.load(offsets + source), tl.load(offsets + source + 1)
    for begin in range(first, last, EDGES):
        edge = begin + tl.arange(0, EDGES)
        inside = edge < last
        row = row_of(tl.load(index + edge, mask=inside, other=0), shift, ring)
        inside = inside & (row < n_centres)
        x, y, z, r, inside = load_edges(vectors, edge, inside, r_max, kind)
        x, y, z = sign * x, sign * y, sign * z
        knot, t = knot_of(r, scale, stretch, n_knots)
        h0, h1, h2, h3 = hermite(t)
        mask = inside[:, None] & within[None, :]
        place = (knot * 2 * width)[:, None] + c[None, :]
        g = given + row[:, None] * channels + c[None, :]
        w = spline_row(table, place, width, h0, h1, h2, h3, mask)
        total += folded(w * tl.load(g, mask=mask, other=0.0), FOLD)
        if L >= 1:
            w = spline_row(table, place + channels, width, h0, h1, h2, h3, mask)
            q = (s3 * x)[:, None] * tl.load(g + step, mask=mask, other=0.0)
            q += (s3 * y)[:, None] * tl.load(g + 2 * step, mask=mask, other=0.0)
            q += (s3 * z)[:, None] * tl.load(g + 3 * step, mask=mask, other=0.0)
            total += folded(w * q, FOLD)
        if L >= 2:
            w = spline_row(table, place + 2 * channels, width, h0, h1, h2, h3, mask)
            y4, y5, y6, y7, y8 = degree_2(x, y, z)
            q = y4[:, None] * tl.load(g + 4 * step, mask=mask, other=0.0)
            q += y5[:, None] * tl.load(g + 5 * step, mask=mask, other=0.0)
            q += y6[:, None] * tl.load(g + 6 * step, mask=mask, other=0.0)
            q += y7[:, None] * tl.load(g + 7 * step, mask=mask, other=0.0)
            q += y8[:, None] * tl.load(g + 8 * step, mask=mask, other=0.0)
            total += folded(w * q, FOLD)
        if L >= 3:
            w = spline_row(table, place + 3 * channels, width, h0, h1, h2, h3, mask)
            y9, y10, y11, y12, y13, y14, y15 = degree_3(x, y, z)
            q = y9[:, None] * tl.load(g + 9 * step, mask=mask, other=0.0)
            q += y10[:, None] * tl.load(g + 10 * step, mask=mask, other=0.0)
            q += y11[:, None] * tl.load(g + 11 * step, mask=mask, other=0.0)
            q += y12[:, None] * tl.load(g + 12 * step, mask=mask, other=0.0)
            q += y13[:, None] * tl.load(g + 13 * step, mask=mask, other=0.0)
            q += y14[:, None] * tl.load(g + 14 * step, mask=mask, other=0.0)
            q += y15[:, None] * tl.load(g + 15 * step, mask=mask, other=0.0)
            total += folded(w * q, FOLD)
    tl.store(d_source + source * channels + c, tl.sum(total, axis=0), mask=within)


@triton.jit(do_not_specialize=["n_centres", "n_pairs", "n_triples"])
def contract_message(
    message,
    slots,
    linear,
    quadratic,
    cubic,
    starts,
    terms,
    given,
    invariants_given,
    d_message,
    n_centres,
    n_pairs,
    n_triples,
    channels,
    row_width,
    HAS_INVARIANTS: tl.constexpr,
    N_LM: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write dL/dA for `given` dL/dB.

    `terms` (n, 4) holds multiplicity, number of the monomial and the other factors (-1: none); those of the derivative
    by component lm are `starts[2 lm]` on for pairs and `starts[2 lm + 1]` on for triples. With HAS_INVARIANTS what
    `invariants_given`, dL/dP in rows of `row_width`, say is added.
    """
    centre = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK)
    within = c < channels
    z = tl.load(slots + centre).to(tl.int64)
    step = n_centres.to(tl.int64) * channels
    a = message + centre * channels + c
    g = tl.load(given + centre * channels + c, mask=within, other=0.0)
    k2, k3 = quadratic + z * n_pairs * channels + c, cubic + z * n_triples * channels + c
    for lm in tl.range(0, N_LM):
        component = tl.zeros([], dtype=tl.int32) + lm
        total = tl.where(component == 0, tl.load(linear + z * channels + c, mask=within, other=0.0), 0.0)
        for term in range(tl.load(starts + 2 * lm), tl.load(starts + 2 * lm + 1)):
            times, m, i = tl.load(terms + 4 * term), tl.load(terms + 4 * term + 1), tl.load(terms + 4 * term + 2)
            k = tl.load(k2 + m * channels, mask=within, other=0.0) * times
            total += k * tl.load(a + i * step, mask=within, other=0.0)
        for term in range(tl.load(starts + 2 * lm + 1), tl.load(starts + 2 * lm + 2)):
            times, m = tl.load(terms + 4 * term), tl.load(terms + 4 * term + 1)
            i, j = tl.load(terms + 4 * term + 2), tl.load(terms + 4 * term + 3)
            k = tl.load(k3 + m * channels, mask=within, other=0.0) * times
            u = tl.load(a + i * step, mask=within, other=0.0)
            total += k * u * tl.load(a + j * step, mask=within, other=0.0)
        total *= g
        if HAS_INVARIANTS:
            degree = (component >= 1).to(tl.int32) + (component >= 4).to(tl.int32) + (component >= 9).to(tl.int32)
            p = tl.load(invariants_given + centre * row_width + degree * channels + c, mask=within, other=0.0)
            u = tl.load(a + lm * step, mask=within, other=0.0)
            total += p * tl.where(component == 0, 1.0, u * 2.0 / (2 * degree + 1).to(u.dtype))
        tl.store(d_message + lm * step + centre * channels + c, total, mask=within)


@triton.jit(do_not_specialize=["n_centres", "n_monomials"])
def contract_coefficients(
    message,
    slots,
    factors,
    given,
    d_coefficients,
    n_centres,
    n_monomials,
    channels,
    ORDER: tl.constexpr,
    ROWS: tl.constexpr,
    TILES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add dL/dk of one order of monomials, (n_slots, n_monomials, channels), of TILES x ROWS centres."""
    m, z = tl.program_id(0), tl.program_id(1)
    c = tl.arange(0, BLOCK)
    within = c < channels
    step = n_centres.to(tl.int64) * channels
    total = tl.zeros([BLOCK], dtype=message.dtype.element_ty)
    i = tl.load(factors + ORDER * m)
    if ORDER >= 2:
        j = tl.load(factors + ORDER * m + 1)
    if ORDER >= 3:
        n = tl.load(factors + ORDER * m + 2)
    for tile in range(0, TILES):
        row = (tl.program_id(2) * TILES + tile) * ROWS + tl.arange(0, ROWS)
        mine = row < n_centres
        mine = mine & (tl.load(slots + row, mask=mine, other=-1) == z)
        mask = mine[:, None] & within[None, :]
        at = row.to(tl.int64)[:, None] * channels + c[None, :]
        value = tl.load(given + at, mask=mask, other=0.0) * tl.load(message + i * step + at, mask=mask, other=0.0)
        if ORDER >= 2:
            value *= tl.load(message + j * step + at, mask=mask, other=0.0)
        if ORDER >= 3:
            value *= tl.load(message + n * step + at, mask=mask, other=0.0)
        total += tl.sum(value, axis=0)
    tl.atomic_add(d_coefficients + (z * n_monomials + m) * channels + c, total, mask=within)


@triton.jit(do_not_specialize=["n_centres"])
def invariants(message, given, d_message, n_centres, channels, L: tl.constexpr, BLOCK: tl.constexpr):
    """Write dL/dA for `given` (n_centres, L + 1, channels)."""
    centre = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK)
    within = c < channels
    step = n_centres.to(tl.int64) * channels
    a, target = message + centre * channels + c, d_message + centre * channels + c
    g = given + centre * (L + 1) * channels + c
    tl.store(target, tl.load(g, mask=within, other=0.0), mask=within)
    for degree in tl.static_range(1, L + 1):
        factor = tl.load(g + degree * channels, mask=within, other=0.0) * (2.0 / (2 * degree + 1))
        for lm in tl.static_range(degree * degree, (degree + 1) * (degree + 1)):
            u = tl.load(a + lm * step, mask=within, other=0.0)
            tl.store(target + lm * step, factor * u, mask=within)


@triton.jit(do_not_specialize=["shift", "ring", "first_own"])
def means_edges(
    offsets,
    index,
    vectors,
    species,
    mine,
    values,
    r_of,
    found,
    norms,
    given,
    d_vectors,
    n_values,
    shift,
    ring,
    first_own,
    PER_EDGE: tl.constexpr,
    ADD: tl.constexpr,
    SPLIT: tl.constexpr,
    TILES: tl.constexpr,
    EDGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write or ADD dL/dv of the edges of each centre for `given` = dL/dm, divided by the `norms` sum_b w.

    `found` are the means themselves; both (n_centres, 1 or 2, n_values). dL/dw_ab = given . (v_b - m).
    """
    centre = tl.program_id(0).to(tl.int64)
    kind: tl.constexpr = values.dtype.element_ty
    n_means: tl.constexpr = 2 if SPLIT else 1
    r_max = tl.load(r_of)
    base = centre * n_means * n_values
    in_all = tl.zeros([], dtype=kind)
    in_same = tl.zeros([], dtype=kind)
    for tile in range(0, TILES):
        c = tile * BLOCK + tl.arange(0, BLOCK)
        within = c < n_values
        at = base + c
        if SPLIT:
            in_same += tl.sum(
                tl.load(given + at, mask=within, other=0.0) * tl.load(found + at, mask=within, other=0.0), axis=0
            )
            at += n_values
        in_all += tl.sum(
            tl.load(given + at, mask=within, other=0.0) * tl.load(found + at, mask=within, other=0.0), axis=0
        )
    if SPLIT:
        n_same, n_all = tl.load(norms + 2 * centre), tl.load(norms + 2 * centre + 1)
        if PER_EDGE:
            my_kind = tl.load(mine + centre)
        else:
            my_kind = tl.load(species + first_own + centre)
    else:
        n_all = tl.load(norms + centre)
    first, last = tl.load(offsets + centre), tl.load(offsets + centre + 1)
    for begin in range(first, last, EDGES):
        edge = begin + tl.arange(0, EDGES)
        listed = edge < last
        left, dx, dy, dz = weights_of(vectors, edge, listed, r_max, kind)
        inside = listed & (left > 0.0)
        neighbour = tl.load(index + edge, mask=listed, other=0)
        row = row_of(neighbour, shift, ring)
        if SPLIT:
            if PER_EDGE:
                same = tl.load(species + edge, mask=listed, other=-1) == my_kind
            else:
                same = tl.load(species + neighbour, mask=listed, other=-1) == my_kind
        dot_all = tl.zeros([EDGES], dtype=kind)
        dot_same = tl.zeros([EDGES], dtype=kind)
        for tile in range(0, TILES):
            c = tile * BLOCK + tl.arange(0, BLOCK)
            within = c < n_values
            mask = inside[:, None] & within[None, :]
            v = tl.load(values + row[:, None] * n_values + c[None, :], mask=mask, other=0.0)
            if SPLIT:
                dot_same += along(tl.load(given + base + c, mask=within, other=0.0), v)
                dot_all += along(tl.load(given + base + n_values + c, mask=within, other=0.0), v)
            else:
                dot_all += along(tl.load(given + base + c, mask=within, other=0.0), v)
        d_weight = (dot_all - in_all) / n_all
        if SPLIT:
            d_weight += tl.where(same, (dot_same - in_same) / n_same, 0.0)
        factor = tl.where(inside, -6.0 * left * left * d_weight / (r_max * r_max), 0.0)
        ex, ey, ez = factor * dx, factor * dy, factor * dz
        at = d_vectors + 3 * edge
        if ADD:
            ex += tl.load(at, mask=listed, other=0.0)
            ey += tl.load(at + 1, mask=listed, other=0.0)
            ez += tl.load(at + 2, mask=listed, other=0.0)
        tl.store(at, ex, mask=listed)
        tl.store(at + 1, ey, mask=listed)
        tl.store(at + 2, ez, mask=listed)


@triton.jit(do_not_specialize=["first_own"])
def means_norms(
    offsets,
    index,
    vectors,
    species,
    mine,
    r_of,
    norms,
    first_own,
    PER_EDGE: tl.constexpr,
    SPLIT: tl.constexpr,
    EDGES: tl.constexpr,
):
    """Write sum_b w (n_centres, 1 or 2), 1 for the atom itself included."""
    centre = tl.program_id(0).to(tl.int64)
    kind: tl.constexpr = norms.dtype.element_ty
    r_max = tl.load(r_of)
    if SPLIT:
        if PER_EDGE:
            my_kind = tl.load(mine + centre)
        else:
            my_kind = tl.load(species + first_own + centre)
    total = tl.full([], 1.0, dtype=kind)
    alike = tl.full([], 1.0, dtype=kind)
    first, last = tl.load(offsets + centre), tl.load(offsets + centre + 1)
    for begin in range(first, last, EDGES):
        edge = begin + tl.arange(0, EDGES)
        inside = edge < last
        left, _, _, _ = weights_of(vectors, edge, inside, r_max, kind)
        w = left * left * left
        total += tl.sum(w, axis=0)
        if SPLIT:
            if PER_EDGE:
                same = tl.load(species + edge, mask=inside, other=-1) == my_kind
            else:
                neighbour = tl.load(index + edge, mask=inside, other=0)
                same = tl.load(species + neighbour, mask=inside, other=-1) == my_kind
            alike += tl.sum(tl.where(same, w, 0.0), axis=0)
    if SPLIT:
        tl.store(norms + 2 * centre, alike)
        tl.store(norms + 2 * centre + 1, total)
    else:
        tl.store(norms + centre, total)


@triton.jit(do_not_specialize=["n_centres", "first_source", "source_ring", "shift", "ring"])
def means_sources(
    offsets,
    index,
    vectors,
    same_kind,
    species,
    r_of,
    norms,
    given,
    d_values,
    n_centres,
    n_values,
    first_source,
    source_ring,
    shift,
    ring,
    PER_EDGE: tl.constexpr,
    ADD: tl.constexpr,
    SPLIT: tl.constexpr,
    EDGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write or ADD sum_a w_ab given[a] / norms[a] over the centres a that have the source b as a neighbour.

    Lists as in `convolve_sources`, each pair from both sides or reversed before. With PER_EDGE `same_kind` says of
    every edge whether both ends are of one species, else species are looked up; source k is atom `first_source + k`,
    counted around the ring.
    """
    source = tl.program_id(0).to(tl.int64)
    kind: tl.constexpr = given.dtype.element_ty
    n_means: tl.constexpr = 2 if SPLIT else 1
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    within = c < n_values
    r_max = tl.load(r_of)
    if SPLIT and not PER_EDGE:
        atom = first_source + source
        atom = tl.where(atom >= source_ring, atom - source_ring, atom)
        my_kind = tl.load(species + atom)
    total = tl.zeros([BLOCK], dtype=kind)
    first, last = tl.load(offsets + source), tl.load(offsets + source + 1)
    for begin in range(first, last, EDGES):
        edge = begin + tl.arange(0, EDGES)
        inside = edge < last
        neighbour = tl.load(index + edge, mask=inside, other=0)
        row = row_of(neighbour, shift, ring)
        inside = inside & (row < n_centres)
        left, _, _, _ = weights_of(vectors, edge, inside, r_max, kind)
        w = left * left * left
        inside = inside & (w > 0.0)
        mask = inside[:, None] & within[None, :]
        at = given + row[:, None] * (n_means * n_values) + c[None, :]
        if SPLIT:
            if PER_EDGE:
                same = tl.load(same_kind + edge, mask=inside, other=0) != 0
            else:
                same = tl.load(species + neighbour, mask=inside, other=-1) == my_kind
            of_same = w / tl.load(norms + 2 * row, mask=inside, other=1.0)
            of_all = w / tl.load(norms + 2 * row + 1, mask=inside, other=1.0)
            of_same = tl.where(same, of_same, 0.0)
            mask_same = mask & same[:, None]
            total += tl.sum(of_same[:, None] * tl.load(at, mask=mask_same, other=0.0), axis=0)
            total += tl.sum(of_all[:, None] * tl.load(at + n_values, mask=mask, other=0.0), axis=0)
        else:
            of_all = w / tl.load(norms + row, mask=inside, other=1.0)
            total += tl.sum(of_all[:, None] * tl.load(at, mask=mask, other=0.0), axis=0)
    if ADD:
        total += tl.load(d_values + source * n_values + c, mask=within, other=0.0)
    tl.store(d_values + source * n_values + c, total, mask=within)


@triton.jit(do_not_specialize=["n_plain", "column"])
def standardise(
    features,
    mean,
    given,
    d_part,
    part_width,
    n_plain,
    n_values,
    row_width,
    column,
    ADD: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write or ADD dL/d part for `given` dL/dx, where `features` are x; see `triton_forward.standardise`.

    The root has no slope where it vanishes.
    """
    row = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    within = c < n_values
    at = row * row_width + column + c
    root = tl.load(features + at, mask=within, other=0.0) + tl.load(mean + column + c, mask=within, other=0.0)
    slope = tl.where(root > 1e-9, 0.5 / tl.maximum(root, 1e-9), 0.0)
    amount = tl.load(given + at, mask=within, other=0.0) * tl.where(c < n_plain, 1.0, slope)
    target = d_part + row * part_width + c
    if ADD:
        amount += tl.load(target, mask=within, other=0.0)
    tl.store(target, amount, mask=within)
