"""Triton kernels that find neighbours: one program per atom, candidates across lanes.

    of atom a: atoms of the cells within reach, every periodic image counted, |r_b + shift - r_a| < cutoff

Cells (i, j, k) are numbered with k fastest, so that those along k are one range of sorted atoms per period. Differences
are taken in float64.
"""
# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl

FAR = tl.constexpr(1 << 40)


@triton.jit
def turns(place, count, most):
    """Return how many periods `place` lies beyond the box; `most` is more than there can be."""
    return (place + count * most) // count - most


@triton.jit(do_not_specialize=["n1", "n2", "r0", "r1", "r2", "p0", "p1", "p2", "first_atom", "n0", "n_atoms"])
def find_neighbours(
    positions,
    start,
    cell_of,
    box,
    offsets,
    counts,
    index,
    vectors,
    n_atoms,
    n0,
    n1,
    n2,
    r0,
    r1,
    r2,
    p0,
    p1,
    p2,
    first_atom,
    FILL: tl.constexpr,
    VECTORS: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Count the neighbours of the atoms from `first_atom` on, or FILL in numbers and VECTORS from `offsets` on.

    `positions` (3, n_atoms) float64, `start` (n_cells + 1,) first atom of each cell, `cell_of` (n_atoms,), `box` (10,)
    float64 lattice vectors and the square of the cutoff; n, r, p: cells, reach and periodicity of each direction. Atoms
    are counted around the ring: after the last comes the first.
    """
    place = tl.program_id(0).to(tl.int64)
    centre = first_atom + place
    centre = tl.where(centre >= n_atoms, centre - n_atoms, centre)
    x = tl.load(positions + centre)
    y = tl.load(positions + n_atoms + centre)
    z = tl.load(positions + 2 * n_atoms + centre)
    square = tl.load(box + 9)
    cell = tl.load(cell_of + centre)
    c0, c1, c2 = cell // (n1 * n2), (cell // n2) % n1, cell % n2
    found = tl.zeros([], dtype=tl.int64)
    if FILL:
        found = tl.load(offsets + place).to(tl.int64)
    low = turns(c2 - r2, n2, r2 + 1)
    high = turns(c2 + r2, n2, r2 + 1)
    low = tl.where(p2 != 0, low, 0)
    high = tl.where(p2 != 0, high, 0)
    lanes = tl.arange(0, CHUNK)
    for d0 in range(-r0, r0 + 1):
        t0 = turns(c0 + d0, n0, r0 + 1)
        i = c0 + d0 - t0 * n0
        for d1 in range(-r1, r1 + 1):
            t1 = turns(c1 + d1, n1, r1 + 1)
            j = c1 + d1 - t1 * n1
            real = ((t0 == 0) | (p0 != 0)) & ((t1 == 0) | (p1 != 0))
            for t2 in range(low, high + 1):
                a = tl.maximum(c2 - r2 - t2 * n2, 0)
                b = tl.minimum(c2 + r2 - t2 * n2, n2 - 1)
                row = (i * n1 + j) * n2
                begin = tl.load(start + row + a)
                end = tl.load(start + row + b + 1)
                end = tl.where(real, end, begin)
                sx = t0 * tl.load(box) + t1 * tl.load(box + 3) + t2 * tl.load(box + 6)
                sy = t0 * tl.load(box + 1) + t1 * tl.load(box + 4) + t2 * tl.load(box + 7)
                sz = t0 * tl.load(box + 2) + t1 * tl.load(box + 5) + t2 * tl.load(box + 8)
                itself = centre + (t0 * t0 + t1 * t1 + t2 * t2).to(tl.int64) * FAR  # no atom, but for the image at home
                for chunk in range(begin, end, CHUNK):
                    other = chunk + lanes
                    inside = other < end
                    dx = tl.load(positions + other, mask=inside, other=0.0) + (sx - x)
                    dy = tl.load(positions + n_atoms + other, mask=inside, other=0.0) + (sy - y)
                    dz = tl.load(positions + 2 * n_atoms + other, mask=inside, other=0.0) + (sz - z)
                    hit = inside & (dx * dx + dy * dy + dz * dz < square)
                    hit = hit & (other != itself)
                    number = hit.to(tl.int32)
                    if FILL:
                        at = found + tl.cumsum(number, axis=0) - 1
                        tl.store(index + at, other, mask=hit)
                        if VECTORS:
                            tl.store(vectors + 3 * at, dx.to(vectors.dtype.element_ty), mask=hit)
                            tl.store(vectors + 3 * at + 1, dy.to(vectors.dtype.element_ty), mask=hit)
                            tl.store(vectors + 3 * at + 2, dz.to(vectors.dtype.element_ty), mask=hit)
                    found += tl.sum(number, axis=0)
    if not FILL:
        tl.store(counts + place, found.to(tl.int32))


@triton.jit(do_not_specialize=["first_atom"])
def nearest_cubes(offsets, vectors, nearest, total, shortest, first_atom, MOST: tl.constexpr, BLOCK: tl.constexpr):
    """Write the sum of r^3 over the MOST nearest neighbours of each atom, and the square of the shortest distance.

    The edges are those of the atoms from `first_atom` on.
    """
    place = tl.program_id(0).to(tl.int64)
    atom = first_atom + place
    first, last = tl.load(offsets + place), tl.load(offsets + place + 1)
    lanes = tl.arange(0, BLOCK)
    far = tl.full([], float("inf"), dtype=tl.float64)
    cubes = tl.zeros([], dtype=tl.float64)
    least = far
    for begin in range(first, last, BLOCK):
        mine = begin + lanes
        inside = mine < last
        x = tl.load(vectors + 3 * mine, mask=inside, other=0.0)
        y = tl.load(vectors + 3 * mine + 1, mask=inside, other=0.0)
        z = tl.load(vectors + 3 * mine + 2, mask=inside, other=0.0)
        square = tl.where(inside, x * x + y * y + z * z, far)
        before = tl.zeros([BLOCK], dtype=tl.int32)
        for against in range(first, last, BLOCK):
            other = against + lanes
            there = other < last
            u = tl.load(vectors + 3 * other, mask=there, other=0.0)
            v = tl.load(vectors + 3 * other + 1, mask=there, other=0.0)
            w = tl.load(vectors + 3 * other + 2, mask=there, other=0.0)
            rival = tl.where(there, u * u + v * v + w * w, far)
            closer = rival[None, :] < square[:, None]
            tied = (rival[None, :] == square[:, None]) & (other[None, :] < mine[:, None])
            before += tl.sum((closer | tied).to(tl.int32), axis=1)
        counted = inside & (before < MOST)
        cubes += tl.sum(tl.where(counted, square * tl.sqrt(square), 0.0), axis=0)
        least = tl.minimum(least, tl.min(square, axis=0))
    tl.store(total + atom, cubes)
    tl.store(shortest + atom, least)
    tl.store(nearest + atom, tl.minimum(last - first, MOST).to(tl.int32))


@triton.jit(do_not_specialize=["first_atom", "n_atoms"])
def add_forces(offsets, index, d_vectors, gradient, first_atom, n_atoms, EDGES: tl.constexpr):
    """Add dL/dv of each edge to its end and take it off its start; `gradient` (n_atoms, 3) float64."""
    place = tl.program_id(0).to(tl.int64)
    centre = first_atom + place
    centre = tl.where(centre >= n_atoms, centre - n_atoms, centre)
    first, last = tl.load(offsets + place), tl.load(offsets + place + 1)
    sx = tl.zeros([], dtype=tl.float64)
    sy = tl.zeros([], dtype=tl.float64)
    sz = tl.zeros([], dtype=tl.float64)
    for begin in range(first, last, EDGES):
        edge = begin + tl.arange(0, EDGES)
        inside = edge < last
        x = tl.load(d_vectors + 3 * edge, mask=inside, other=0.0).to(tl.float64)
        y = tl.load(d_vectors + 3 * edge + 1, mask=inside, other=0.0).to(tl.float64)
        z = tl.load(d_vectors + 3 * edge + 2, mask=inside, other=0.0).to(tl.float64)
        at = gradient + 3 * tl.load(index + edge, mask=inside, other=0).to(tl.int64)
        tl.atomic_add(at, x, mask=inside)
        tl.atomic_add(at + 1, y, mask=inside)
        tl.atomic_add(at + 2, z, mask=inside)
        sx += tl.sum(x, axis=0)
        sy += tl.sum(y, axis=0)
        sz += tl.sum(z, axis=0)
    tl.atomic_add(gradient + 3 * centre, -sx)
    tl.atomic_add(gradient + 3 * centre + 1, -sy)
    tl.atomic_add(gradient + 3 * centre + 2, -sz)


@triton.jit(do_not_specialize=["first_atom"])
def sum_rows(offsets, index, values, sums, first_atom, EDGES: tl.constexpr, WIDTH: tl.constexpr):
    """Write the sums of `values` (n_atoms, 3) over the atoms from `first_atom` on and their neighbours."""
    place = tl.program_id(0).to(tl.int64)
    centre = first_atom + place
    c = tl.arange(0, WIDTH)
    within = c < 3
    total = tl.load(values + 3 * centre + c, mask=within, other=0.0)
    first, last = tl.load(offsets + place), tl.load(offsets + place + 1)
    for begin in range(first, last, EDGES):
        edge = begin + tl.arange(0, EDGES)
        inside = edge < last
        other = tl.load(index + edge, mask=inside, other=0).to(tl.int64)
        mask = inside[:, None] & within[None, :]
        total += tl.sum(tl.load(values + 3 * other[:, None] + c[None, :], mask=mask, other=0.0), axis=0)
    tl.store(sums + 3 * centre + c, total, mask=within)
