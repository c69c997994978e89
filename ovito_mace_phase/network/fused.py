"""The MACE forward pass at speed on a CPU: numba kernels for what is per edge, matrix products for what is per channel.

    each layer:  A_lm = sum_b R_l(r_ab) Y_lm(r_ab) (W_up h[b])       fused per centre
                 B = polynomial(W_l A_lm; z_a),   h' = W_product B + W_skip[z_a] h
    first layer: h depends on the species alone; with few species present the sum is taken over low-rank radial
                 functions per species and expanded to channels together with W_l (tables.low_rank)

The features of an atom are, per layer, its node features and the powers of its message; and of the first layer's also
the means over its neighbours alike and over all its neighbours, which averages thermal noise (the idea of Lechner and
Dellago, J. Chem. Phys. 129 (2008) 114707) within the same reach of n_layers r_max.

Same results as `reference.ReferenceNetwork` to table and float32 accuracy (tests/test_fused.py). Works on concatenated
frames and on a subset of centres for the last layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.errors import CancelledError
from ovito_mace_phase.neighbours import Edges

from . import kernels
from .tables import hermite_table, low_rank, radial_functions
from .weights import NetworkConfig

Float32 = npt.NDArray[np.float32]
N_KNOTS = 512
RANK_TOLERANCE = 1e-5
_BLOCK = 1024


@dataclass(frozen=True, kw_only=True)
class _Layer:
    linear: list[Float32]  # per degree l: (n_in, C), the neighbour sum to the message
    contraction: tuple[Any, ...]  # arguments of kernels.contract
    product: Float32  # (C, C)
    skip: Float32  # (n_carriers, C, C)


class FusedNetwork:
    """MACE layers of a model with a few carriers.

    Parameters
    ----------
    tensors : dict of arrays
        As named in `weights`.
    config : NetworkConfig
    """

    def __init__(self, tensors: dict[str, npt.NDArray[Any]], config: NetworkConfig) -> None:
        self.config = config
        self.n_carriers = len(config.elements)
        self._embedding = tensors["embedding"].astype(np.float32)
        self._layers = [_layer(tensors, config, t) for t in range(config.n_layers)]
        channels = config.n_channels
        phi, expansion = low_rank(radial_functions(tensors, config, 0), config.r_max, RANK_TOLERANCE)
        self._first_table = hermite_table(phi, config.r_max, N_KNOTS)
        up = tensors["embedding"] @ tensors["layers.0.linear_up"]
        spread = expansion.reshape(-1, config.l_max + 1, channels)  # (rank, l, C)
        self._first_linear = [
            np.stack(
                [(spread[:, degree] * up[z]) @ tensors[f"layers.0.linear.{degree}"] for z in range(self.n_carriers)]
            ).astype(np.float32)
            for degree in range(config.l_max + 1)
        ]
        self._tables = [
            hermite_table(radial_functions(tensors, config, t), config.r_max, N_KNOTS) for t in range(config.n_layers)
        ]
        self._up = [tensors[f"layers.{t}.linear_up"].astype(np.float32) for t in range(config.n_layers)]

    @property
    def n_features(self) -> int:
        """Length of a row of `features`: blocks of C node features and 4 C invariants, per layer and two means."""
        return (self.config.n_layers + 2) * self.config.n_channels * (self.config.l_max + 2)

    def features(
        self,
        edges: Edges,
        carrier: npt.NDArray[np.int64],
        *,
        centres: npt.NDArray[np.int64] | None = None,
        progress: Callable[[float], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Float32:
        """Return the features the phase head reads.

        Parameters
        ----------
        edges : Edges
            All edges shorter than r_max, in network units.
        carrier : (n_atoms,) int64
        centres : (n_centres,) int64, optional
            Only these atoms; default all.
        progress : callable, optional
            Called with the fraction done.
        cancelled : callable, optional
            Asked between blocks; True stops with `CancelledError`.

        Returns
        -------
        (n_centres, n_features) float32
        """
        n_centres = len(carrier) if centres is None else len(centres)
        out = np.empty((n_centres, self.n_features), dtype=np.float32)
        blocks = self.feature_blocks(edges, carrier, centres=centres, progress=progress, cancelled=cancelled)
        for rows, features in blocks:
            out[rows] = features
        return out

    def feature_blocks(
        self,
        edges: Edges,
        carrier: npt.NDArray[np.int64],
        *,
        centres: npt.NDArray[np.int64] | None = None,
        progress: Callable[[float], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[tuple[slice, Float32]]:
        """Yield (rows, features of these rows): as `features`, but the features of all atoms are never held at once.

        Layers before the last are evaluated for all atoms and held, (n_atoms, 5 C) each; the last one, the means and
        whatever the caller does with the features go block by block.
        """
        wanted = np.arange(len(carrier)) if centres is None else centres
        n_layers, channels = self.config.n_layers, self.config.n_channels
        report = _Report(progress, cancelled, (n_layers - 1) * len(carrier) + len(wanted))
        species = np.unique(carrier, return_inverse=True)
        node = self._embedding[carrier]
        held: list[Float32] = []
        for t in range(n_layers - 1):
            source = self._source(t, node, species[0])
            layer = np.empty((len(carrier), channels * (self.config.l_max + 2)), dtype=np.float32)
            for start in range(0, len(carrier), _BLOCK):
                atoms = np.arange(start, min(start + _BLOCK, len(carrier)))
                layer[start : start + _BLOCK] = self._layer_output(t, edges, atoms, carrier, species, source, node)
                report.add(len(atoms))
            held.append(layer)
            node = np.ascontiguousarray(layer[:, :channels])
        last = n_layers - 1
        source = self._source(last, node, species[0])
        for start in range(0, len(wanted), _BLOCK):
            atoms = wanted[start : start + _BLOCK]
            out = np.empty((len(atoms), n_layers + 2, channels * (self.config.l_max + 2)), dtype=np.float32)
            for t, layer in enumerate(held):
                out[:, t] = layer[atoms]
            out[:, last] = self._layer_output(last, edges, atoms, carrier, species, source, node)
            offsets, neighbour, vectors = _edges_of(edges, atoms)
            kernels.neighbourhood_means(
                offsets, neighbour, vectors, atoms, carrier, held[0], self.config.r_max, out[:, -2:]
            )
            yield slice(start, start + len(atoms)), out.reshape(len(atoms), -1)
            report.add(len(atoms))

    def _source(self, t: int, node: Float32, present: npt.NDArray[np.int64]) -> Float32 | None:
        """Features the neighbours send, (n_atoms, C); None where the low-rank sums of the first layer are cheaper."""
        if t == 0 and len(present) * self._first_table.values.shape[2] <= self.config.n_channels:
            return None
        return node @ self._up[t]

    def _layer_output(
        self,
        t: int,
        edges: Edges,
        atoms: npt.NDArray[np.int64],
        carrier: npt.NDArray[np.int64],
        species: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
        source: Float32 | None,
        node: Float32,
    ) -> Float32:
        """Node features and message invariants of one layer for some atoms, (n_centres, C + 4 C)."""
        message = self._message(t, edges, atoms, *species, source)
        block = np.empty((len(atoms), self.config.l_max + 2, self.config.n_channels), dtype=np.float32)
        kernels.power(message, block[:, 1:])
        block[:, 0] = self._update(self._layers[t], message, carrier[atoms], node[atoms])
        return block.reshape(len(atoms), -1)

    def _message(
        self,
        t: int,
        edges: Edges,
        atoms: npt.NDArray[np.int64],
        present: npt.NDArray[np.int64],
        compact: npt.NDArray[np.int64],
        source: Float32 | None,
    ) -> Float32:
        """Messages of some centres, (16, n_centres, C)."""
        offsets, neighbour, vectors = _edges_of(edges, atoms)
        if source is None:
            table = self._first_table
            sums = np.empty((16, len(atoms), len(present) * table.values.shape[2]), dtype=np.float32)
            kernels.first_messages(
                offsets,
                neighbour,
                vectors,
                compact,
                len(present),
                table.values,
                table.inverse_spacing,
                table.r_max,
                sums,
            )
            linear = [matrix[present].reshape(-1, self.config.n_channels) for matrix in self._first_linear]
        else:
            table = self._tables[t]
            sums = np.empty((16, len(atoms), self.config.n_channels), dtype=np.float32)
            kernels.messages(
                offsets, neighbour, vectors, source, table.values, table.inverse_spacing, table.r_max, sums
            )
            linear = self._layers[t].linear
        message = np.empty((16, len(atoms), self.config.n_channels), dtype=np.float32)
        for degree, matrix in enumerate(linear):
            part = slice(degree * degree, (degree + 1) ** 2)
            _matmul(sums[part].reshape(-1, sums.shape[2]), matrix, message[part].reshape(-1, self.config.n_channels))
        return message

    def _update(self, layer: _Layer, message: Float32, carrier: npt.NDArray[np.int64], node: Float32) -> Float32:
        """Node features after one layer, (n_centres, C)."""
        product = np.empty_like(node)
        linear, pairs, quadratic, triples, cubic = layer.contraction
        kernels.contract(message, carrier, linear, pairs, quadratic, triples, cubic, product)
        following = _matmul(product, layer.product, np.empty_like(node))
        for z in range(self.n_carriers):
            mine = np.flatnonzero(carrier == z)
            if len(mine):
                following[mine] += node[mine] @ layer.skip[z]
        return following


def _matmul(a: Float32, b: Float32, out: Float32) -> Float32:
    """Write a b to `out`, by torch's BLAS, three times faster here than NumPy's."""
    import torch

    with torch.inference_mode():
        torch.mm(torch.from_numpy(a), torch.from_numpy(b), out=torch.from_numpy(out))
    return out


def _layer(tensors: dict[str, npt.NDArray[Any]], config: NetworkConfig, t: int) -> _Layer:
    """Weights of one layer, with the path weights of the contraction folded into one coefficient per monomial."""
    coefficients = [
        np.einsum("mp,zpc->zmc", tensors[f"basis.{nu}.coefficients"], tensors[f"layers.{t}.product.{nu}"]).astype(
            np.float32
        )
        for nu in (1, 2, 3)
    ]
    index = [tensors[f"basis.{nu}.monomials"].astype(np.int64) for nu in (2, 3)]
    return _Layer(
        linear=[tensors[f"layers.{t}.linear.{degree}"].astype(np.float32) for degree in range(config.l_max + 1)],
        contraction=(np.ascontiguousarray(coefficients[0][:, 0]), index[0], coefficients[1], index[1], coefficients[2]),
        product=tensors[f"layers.{t}.product_linear"].astype(np.float32),
        skip=tensors[f"layers.{t}.skip"].astype(np.float32),
    )


def _edges_of(
    edges: Edges, atoms: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Offsets, neighbours and vectors of some centres, in ascending order; no copy when they are consecutive."""
    first, last = int(atoms[0]), int(atoms[-1])
    if last - first + 1 == len(atoms):
        return edges.offsets[first : last + 2], edges.neighbour, edges.vectors
    count = edges.offsets[atoms + 1] - edges.offsets[atoms]
    offsets = np.concatenate([[0], np.cumsum(count)])
    picked = np.repeat(edges.offsets[atoms] - offsets[:-1], count) + np.arange(offsets[-1])
    return offsets, edges.neighbour[picked], edges.vectors[picked]


class _Report:
    """Counts the work done, tells the caller, stops when the caller wants to."""

    def __init__(
        self, progress: Callable[[float], None] | None, cancelled: Callable[[], bool] | None, total: int
    ) -> None:
        self._progress, self._cancelled, self._total, self._done = progress, cancelled, total, 0

    def add(self, count: int) -> None:
        """Count `count` more atoms; raises `CancelledError` when the caller asks to stop."""
        self._done += count
        if self._progress is not None:
            self._progress(self._done / self._total)
        if self._cancelled is not None and self._cancelled():
            raise CancelledError("stopped by the caller")
