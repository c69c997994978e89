"""Numba kernels of the fused forward pass; each sums over the neighbours of a centre in one pass.

Shapes: `offsets` (n_centres + 1,), `neighbour` (n_edges,), `vectors` (n_edges, 3) float64, `table` (n_knots, 2, F)
float32. Outputs are laid out (16, n_centres, ...) so that every degree l is one contiguous matrix for the linear layer.
Nothing of size n_edges x channels is ever in memory.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numba
import numpy as np

_S3, _S5, _S15, _S7 = 3.0**0.5, 5.0**0.5, 15.0**0.5, 7.0**0.5
_S105, _S42, _S70 = 105.0**0.5, 42.0**0.5 / 4.0, 70.0**0.5 / 4.0


@numba.njit(cache=True, fastmath=True, inline="always")
def _harmonics(x, y, z, out):
    """Real spherical harmonics to l = 3 of a unit vector, component normalised, e3nn's order (y is the polar axis)."""
    out[0] = 1.0
    out[1] = _S3 * x
    out[2] = _S3 * y
    out[3] = _S3 * z
    x2, y2, z2 = x * x, y * y, z * z
    out[4] = _S15 * x * z
    out[5] = _S15 * x * y
    out[6] = _S5 * (y2 - 0.5 * (x2 + z2))
    out[7] = _S15 * y * z
    out[8] = 0.5 * _S15 * (z2 - x2)
    out[9] = _S70 * x * (3.0 * z2 - x2)
    out[10] = _S105 * x * y * z
    out[11] = _S42 * x * (4.0 * y2 - x2 - z2)
    out[12] = 0.5 * _S7 * y * (2.0 * y2 - 3.0 * x2 - 3.0 * z2)
    out[13] = _S42 * z * (4.0 * y2 - x2 - z2)
    out[14] = 0.5 * _S105 * y * (z2 - x2)
    out[15] = _S70 * z * (z2 - 3.0 * x2)


@numba.njit(cache=True, fastmath=True, inline="always")
def _hermite(position, n_knots):
    """Knot below `position` (in units of the spacing) and the weights of values and slopes there and at the next."""
    knot = min(int(position), n_knots - 2)  # a distance just below r_max may round to the last knot
    t = np.float32(position - knot)
    return knot, (1 + 2 * t) * (1 - t) * (1 - t), t * (1 - t) * (1 - t), t * t * (3 - 2 * t), t * t * (t - 1)


@numba.njit(cache=True, fastmath=True, parallel=True)
def first_messages(offsets, neighbour, vectors, species, n_species, table, inverse_spacing, r_max, out):
    """out[lm, a, s * rank + q] = sum over neighbours b of species s of phi_q(r_ab) Y_lm(r_ab)."""
    n_centres = len(offsets) - 1
    rank = table.shape[2]
    for centre in numba.prange(n_centres):
        sums = np.zeros((16, n_species * rank), dtype=np.float32)
        harmonic = np.empty(16, dtype=np.float32)
        phi = np.empty(rank, dtype=np.float32)
        for edge in range(offsets[centre], offsets[centre + 1]):
            dx, dy, dz = vectors[edge, 0], vectors[edge, 1], vectors[edge, 2]
            r = np.sqrt(dx * dx + dy * dy + dz * dz)
            if r >= r_max:
                continue
            _harmonics(np.float32(dx / r), np.float32(dy / r), np.float32(dz / r), harmonic)
            knot, h00, h10, h01, h11 = _hermite(r * inverse_spacing, table.shape[0])
            for q in range(rank):
                phi[q] = (
                    h00 * table[knot, 0, q]
                    + h10 * table[knot, 1, q]
                    + h01 * table[knot + 1, 0, q]
                    + h11 * table[knot + 1, 1, q]
                )
            first = species[neighbour[edge]] * rank
            for lm in range(16):
                y = harmonic[lm]
                for q in range(rank):
                    sums[lm, first + q] += y * phi[q]
        for lm in range(16):
            out[lm, centre] = sums[lm]


@numba.njit(cache=True, fastmath=True, parallel=True)
def messages(offsets, neighbour, vectors, features, table, inverse_spacing, r_max, out):
    """out[lm, a, c] = sum over neighbours b of R_lc(r_ab) Y_lm(r_ab) features[b, c]."""
    n_centres = len(offsets) - 1
    n_channels = features.shape[1]
    for centre in numba.prange(n_centres):
        sums = np.zeros((16, n_channels), dtype=np.float32)
        harmonic = np.empty(16, dtype=np.float32)
        weighted = np.empty(n_channels, dtype=np.float32)
        for edge in range(offsets[centre], offsets[centre + 1]):
            dx, dy, dz = vectors[edge, 0], vectors[edge, 1], vectors[edge, 2]
            r = np.sqrt(dx * dx + dy * dy + dz * dz)
            if r >= r_max:
                continue
            _harmonics(np.float32(dx / r), np.float32(dy / r), np.float32(dz / r), harmonic)
            knot, h00, h10, h01, h11 = _hermite(r * inverse_spacing, table.shape[0])
            source = features[neighbour[edge]]
            lm = 0
            for degree in range(4):
                v0 = table[knot, 0, degree * n_channels : (degree + 1) * n_channels]
                d0 = table[knot, 1, degree * n_channels : (degree + 1) * n_channels]
                v1 = table[knot + 1, 0, degree * n_channels : (degree + 1) * n_channels]
                d1 = table[knot + 1, 1, degree * n_channels : (degree + 1) * n_channels]
                for c in range(n_channels):
                    weighted[c] = (h00 * v0[c] + h10 * d0[c] + h01 * v1[c] + h11 * d1[c]) * source[c]
                for _ in range(2 * degree + 1):
                    y = harmonic[lm]
                    for c in range(n_channels):
                        sums[lm, c] += y * weighted[c]
                    lm += 1
        for lm in range(16):
            out[lm, centre] = sums[lm]


@numba.njit(cache=True, fastmath=True, parallel=True)
def contract(message, carrier, linear, quadratic_index, quadratic, cubic_index, cubic, out):
    """out[a, c] = polynomial of message[:, a, c] ; `cubic` (n_carriers, n_mono, C): its coefficients."""
    n_centres, n_channels = out.shape
    for centre in numba.prange(n_centres):
        z = carrier[centre]
        total = np.empty(n_channels, dtype=np.float32)
        for c in range(n_channels):
            total[c] = linear[z, c] * message[0, centre, c]
        for k in range(len(quadratic_index)):
            u = message[quadratic_index[k, 0], centre]
            v = message[quadratic_index[k, 1], centre]
            for c in range(n_channels):
                total[c] += quadratic[z, k, c] * u[c] * v[c]
        for k in range(len(cubic_index)):
            u = message[cubic_index[k, 0], centre]
            v = message[cubic_index[k, 1], centre]
            w = message[cubic_index[k, 2], centre]
            for c in range(n_channels):
                total[c] += cubic[z, k, c] * u[c] * v[c] * w[c]
        out[centre] = total


@numba.njit(cache=True, fastmath=True, parallel=True)
def power(message, out):
    """out[a, 0, c] = message[0, a, c]; out[a, l, c] = sum over m of message[lm, a, c]^2 / (2 l + 1) for l = 1, 2, 3."""
    n_centres, _, n_channels = out.shape
    for centre in numba.prange(n_centres):
        for c in range(n_channels):
            out[centre, 0, c] = message[0, centre, c]
        for degree in range(1, 4):
            for c in range(n_channels):
                out[centre, degree, c] = 0.0
            weight = np.float32(1.0 / (2 * degree + 1))
            for lm in range(degree * degree, (degree + 1) * (degree + 1)):
                u = message[lm, centre]
                for c in range(n_channels):
                    out[centre, degree, c] += weight * u[c] * u[c]


@numba.njit(cache=True, fastmath=True, parallel=True)
def neighbourhood_means(offsets, neighbour, vectors, atoms, species, values, r_max, out):
    """out[k, 0] and out[k, 1]: means of `values` over atom a = atoms[k] and its neighbours alike, and over all of them.

    Weights (1 - r^2 / r_max^2)^3, 1 for the atom itself. `offsets` are those of the chosen atoms.
    """
    n_values = values.shape[1]
    for k in numba.prange(len(atoms)):
        centre = atoms[k]
        alike = values[centre].copy()
        other = np.zeros(n_values, dtype=np.float32)
        alike_weight, weight_sum = np.float32(1.0), np.float32(1.0)
        for edge in range(offsets[k], offsets[k + 1]):
            dx, dy, dz = vectors[edge, 0], vectors[edge, 1], vectors[edge, 2]
            x = 1.0 - (dx * dx + dy * dy + dz * dz) / (r_max * r_max)
            if x <= 0.0:
                continue
            weight = np.float32(x * x * x)
            weight_sum += weight
            row = values[neighbour[edge]]
            if species[neighbour[edge]] == species[centre]:
                alike_weight += weight
                for c in range(n_values):
                    alike[c] += weight * row[c]
            else:
                for c in range(n_values):
                    other[c] += weight * row[c]
        for c in range(n_values):
            out[k, 1, c] = (alike[c] + other[c]) / weight_sum
            out[k, 0, c] = alike[c] / alike_weight
