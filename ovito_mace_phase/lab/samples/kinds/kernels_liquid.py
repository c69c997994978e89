"""Numba kernels of short molecular dynamics over a listed set of pairs, reduced units, mass 1.

    pair      u(r) = e (s^2p - 2 c s^p),  s = d_ab / r,  shifted to zero force at the reach (linear term)
    triplet   Stillinger-Weber: a pair term and  l sum (cos theta + 1/3)^2 exp(g / (r - a) + g / (r' - a))
              F. H. Stillinger, T. A. Weber, Phys. Rev. B 31 (1985) 5262

c = 1 attracts, c < 0 repels at all distances, so that unlike neighbours of c > 1 and like ones of c < 0 order as ions
do. The vector of an edge is x_j - x_i + shift. Steps are leapfrog with velocities drawn towards the temperature aimed
at; no step is longer than LONGEST, so that overlaps of the start come apart.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from ovito_mace_phase.runtime.compiling import COMPILED, kernel

STEP, LONGEST = 0.004, 0.05
_A, _B, _REACH, _DECAY = 7.049556277, 0.6022245584, 1.8, 1.2


@kernel(**COMPILED)
def pair_forces(x, shift, offsets, neighbour, species, size, attraction, power, reach, forces):
    """Write the forces (n, 3); sizes and attractions (n_species, n_species)."""
    for i in range(len(offsets) - 1):
        fx, fy, fz = 0.0, 0.0, 0.0
        for e in range(offsets[i], offsets[i + 1]):
            j = neighbour[e]
            dx = x[j, 0] - x[i, 0] + shift[e, 0]
            dy = x[j, 1] - x[i, 1] + shift[e, 1]
            dz = x[j, 2] - x[i, 2] + shift[e, 2]
            square = dx * dx + dy * dy + dz * dz
            if square >= reach * reach:
                continue
            r = np.sqrt(square)
            a, b = species[i], species[j]
            c = attraction[a, b]
            s, end = 1.0, 1.0
            ratio, last = size[a, b] / r, size[a, b] / reach
            for _ in range(power):
                s *= ratio
                end *= last
            slope = 2.0 * power * ((end * end - c * end) / reach - (s * s - c * s) / r) / r
            fx += slope * dx
            fy += slope * dy
            fz += slope * dz
        forces[i, 0], forces[i, 1], forces[i, 2] = fx, fy, fz


@kernel(**COMPILED)
def triplet_forces(x, shift, offsets, neighbour, strength, forces):
    """Write the forces (n, 3) of Stillinger-Weber particles of the given three-body strength."""
    forces[:] = 0.0
    near = np.empty((64, 3))
    length = np.empty(64)
    cut = np.empty(64)
    atom = np.empty(64, dtype=np.int64)
    for i in range(len(offsets) - 1):
        n_near = 0
        for e in range(offsets[i], offsets[i + 1]):
            j = neighbour[e]
            dx = x[j, 0] - x[i, 0] + shift[e, 0]
            dy = x[j, 1] - x[i, 1] + shift[e, 1]
            dz = x[j, 2] - x[i, 2] + shift[e, 2]
            r = np.sqrt(dx * dx + dy * dy + dz * dz)
            if r >= _REACH - 1e-2 or n_near == 64:
                continue
            near[n_near, 0], near[n_near, 1], near[n_near, 2] = dx, dy, dz
            length[n_near], atom[n_near] = r, j
            cut[n_near] = np.exp(_DECAY / (r - _REACH))
            n_near += 1
        for e in range(n_near):
            r = length[e]
            q = _B / r**4
            slope = _A * np.exp(1.0 / (r - _REACH)) * (-4.0 * q / r - (q - 1.0) / (r - _REACH) ** 2) / r
            fall = -_DECAY / (r - _REACH) ** 2
            for axis in range(3):
                forces[i, axis] += slope * near[e, axis]
            for f in range(e + 1, n_near):
                t = length[f]
                cosine = (near[e, 0] * near[f, 0] + near[e, 1] * near[f, 1] + near[e, 2] * near[f, 2]) / (r * t)
                d = cosine + 1.0 / 3.0
                both = strength * cut[e] * cut[f] * d
                turn = 2.0 * both
                radial_r, radial_t = both * d * fall, both * d * (-_DECAY / (t - _REACH) ** 2)
                for axis in range(3):
                    p, q2 = near[e, axis], near[f, axis]
                    on_j = -(radial_r * p / r + turn * (q2 / (r * t) - cosine * p / (r * r)))
                    on_k = -(radial_t * q2 / t + turn * (p / (r * t) - cosine * q2 / (t * t)))
                    forces[atom[e], axis] += on_j
                    forces[atom[f], axis] += on_k
                    forces[i, axis] -= on_j + on_k


@kernel(**COMPILED)
def move(x, v, listed, forces, aim, most):
    """Make one step towards the temperature `aim`; tell whether an atom is farther than `most` from where it was."""
    total = 0.0
    for i in range(len(x)):
        for axis in range(3):
            v[i, axis] += STEP * min(max(forces[i, axis], -500.0), 500.0)
            total += v[i, axis] ** 2
    now = max(total / (3 * len(x)), 1e-9)
    scale = np.sqrt(1.0 + 0.2 * min(max(aim / now - 1.0, -1.0), 1.0))
    far = False
    for i in range(len(x)):
        moved = 0.0
        for axis in range(3):
            v[i, axis] *= scale
            x[i, axis] += min(max(STEP * v[i, axis], -LONGEST), LONGEST)
            moved += (x[i, axis] - listed[i, axis]) ** 2
        far = far or moved > most * most
    return far


@kernel(**COMPILED)
def run_pairs(x, v, listed, shift, offsets, neighbour, species, size, attraction, power, reach, aims, most):
    """Make steps at the temperatures `aims` until the list is out of date; return how many were made."""
    forces = np.zeros_like(x)
    for step in range(len(aims)):
        pair_forces(x, shift, offsets, neighbour, species, size, attraction, power, reach, forces)
        if move(x, v, listed, forces, aims[step], most):
            return step + 1
    return len(aims)


@kernel(**COMPILED)
def run_triplets(x, v, listed, shift, offsets, neighbour, strength, aims, most):
    """Do what `run_pairs` does for Stillinger-Weber particles."""
    forces = np.zeros_like(x)
    for step in range(len(aims)):
        triplet_forces(x, shift, offsets, neighbour, strength, forces)
        if move(x, v, listed, forces, aims[step], most):
            return step + 1
    return len(aims)
