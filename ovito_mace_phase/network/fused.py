"""The MACE forward pass at speed on a CPU: numba kernels for what is per edge, matrix products for what is per channel.

    each layer:  A_lm = sum_b R_l(r_ab) Y_lm(r_ab) (W_up h[b])       fused per centre
                 B = polynomial(W_l A_lm; z_a),   h' = W_product B + W_skip[z_a] h
    first layer: h depends on the species alone; with few species present the sum is taken over low-rank radial
                 functions per species and expanded to channels together with W_l (tables.low_rank)

Same results as `reference.ReferenceNetwork` to table and float32 accuracy (tests/test_fused.py). Works on concatenated
frames and on a subset of centres for the last layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..neighbours import Edges
from . import kernels
from .tables import hermite_table, low_rank, radial_functions
from .weights import NetworkConfig

Float32 = npt.NDArray[np.float32]
N_KNOTS = 512
RANK_TOLERANCE = 1e-5
_BLOCK = 4096


@dataclass(frozen=True, kw_only=True)
class _Layer:
    linear: list[Float32]          # per degree l: (n_in, C), the neighbour sum to the message
    contraction: tuple[Any, ...]   # arguments of kernels.contract
    product: Float32               # (C, C)
    skip: Float32                  # (n_carriers, C, C)


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
        spread = expansion.reshape(-1, config.l_max + 1, channels)   # (rank, l, C)
        self._first_linear = [np.stack([(spread[:, degree] * up[z]) @ tensors[f"layers.0.linear.{degree}"] for z in range(self.n_carriers)]
                                       ).astype(np.float32) for degree in range(config.l_max + 1)]
        self._tables = [hermite_table(radial_functions(tensors, config, t), config.r_max, N_KNOTS) for t in range(config.n_layers)]
        self._up = [tensors[f"layers.{t}.linear_up"].astype(np.float32) for t in range(config.n_layers)]

    @property
    def n_features(self) -> int:
        """Length of a row of `features`: per layer the node features (C) and the message invariants (4 C)."""
        return self.config.n_layers * self.config.n_channels * (self.config.l_max + 2)

    def features(self, edges: Edges, carrier: npt.NDArray[np.int64], *, centres: npt.NDArray[np.int64] | None = None,
                 progress: Callable[[float], None] | None = None, cancelled: Callable[[], bool] | None = None) -> Float32:
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
        n_atoms = len(carrier)
        wanted = np.arange(n_atoms) if centres is None else centres
        n_channels, n_layers = self.config.n_channels, self.config.n_layers
        width = n_channels * (self.config.l_max + 2)
        out = np.empty((len(wanted), n_layers * width), dtype=np.float32)
        node = self._embedding[carrier]
        present, compact = np.unique(carrier, return_inverse=True)
        rank = self._first_table.values.shape[2]
        total = (n_layers - 1) * n_atoms + len(wanted)
        done = 0
        for t in range(n_layers):
            last = t == n_layers - 1
            rows = wanted if last else np.arange(n_atoms)
            low_rank_sums = t == 0 and len(present) * rank <= n_channels
            source = None if low_rank_sums else node @ self._up[t]
            following = np.empty((len(rows), n_channels), dtype=np.float32)
            invariants = np.empty((len(rows), self.config.l_max + 1, n_channels), dtype=np.float32)
            for start in range(0, len(rows), _BLOCK):
                if cancelled is not None and cancelled():
                    raise _cancelled()
                block = slice(start, min(start + _BLOCK, len(rows)))
                atoms = rows[block]
                message = self._message(t, edges, atoms, present, compact, source)
                kernels.power(message, invariants[block])
                following[block] = self._update(self._layers[t], message, carrier[atoms], node[atoms])
                done += len(atoms)
                if progress is not None:
                    progress(done / total)
            pick = slice(None) if last or centres is None else wanted
            out[:, t * width:t * width + n_channels] = following[pick]
            out[:, t * width + n_channels:(t + 1) * width] = invariants[pick].reshape(len(wanted), -1)
            node = following
        return out

    def _message(self, t: int, edges: Edges, atoms: npt.NDArray[np.int64], present: npt.NDArray[np.int64],
                 compact: npt.NDArray[np.int64], source: Float32 | None) -> Float32:
        """Messages of some centres, (16, n_centres, C)."""
        first, last = int(atoms[0]), int(atoms[-1])
        if last - first + 1 == len(atoms):   # consecutive: edges as they are
            offsets, picked = edges.offsets[first:last + 2], None
        else:
            offsets, picked = _subset(edges.offsets, atoms)
        neighbour = edges.neighbour if picked is None else edges.neighbour[picked]
        vectors = edges.vectors if picked is None else edges.vectors[picked]
        if source is None:
            table = self._first_table
            sums = np.empty((16, len(atoms), len(present) * table.values.shape[2]), dtype=np.float32)
            kernels.first_messages(offsets, neighbour, vectors, compact, len(present), table.values, table.inverse_spacing, table.r_max, sums)
            linear = [matrix[present].reshape(-1, self.config.n_channels) for matrix in self._first_linear]
        else:
            table = self._tables[t]
            sums = np.empty((16, len(atoms), self.config.n_channels), dtype=np.float32)
            kernels.messages(offsets, neighbour, vectors, source, table.values, table.inverse_spacing, table.r_max, sums)
            linear = self._layers[t].linear
        message = np.empty((16, len(atoms), self.config.n_channels), dtype=np.float32)
        for degree, matrix in enumerate(linear):
            part = slice(degree * degree, (degree + 1) ** 2)
            np.matmul(sums[part].reshape(-1, sums.shape[2]), matrix, out=message[part].reshape(-1, self.config.n_channels))
        return message

    def _update(self, layer: _Layer, message: Float32, carrier: npt.NDArray[np.int64], node: Float32) -> Float32:
        """Node features after one layer, (n_centres, C)."""
        product = np.empty_like(node)
        kernels.contract(message, carrier, *layer.contraction, product)
        following = product @ layer.product
        for z in range(self.n_carriers):
            mine = np.flatnonzero(carrier == z)
            if len(mine):
                following[mine] += node[mine] @ layer.skip[z]
        return following


def _layer(tensors: dict[str, npt.NDArray[Any]], config: NetworkConfig, t: int) -> _Layer:
    """Weights of one layer, with the contraction's path weights folded into one coefficient per monomial and carrier."""
    coefficients = [np.einsum("mp,zpc->zmc", tensors[f"basis.{nu}.coefficients"], tensors[f"layers.{t}.product.{nu}"]).astype(np.float32)
                    for nu in (1, 2, 3)]
    index = [tensors[f"basis.{nu}.monomials"].astype(np.int64) for nu in (2, 3)]
    return _Layer(
        linear=[tensors[f"layers.{t}.linear.{degree}"].astype(np.float32) for degree in range(config.l_max + 1)],
        contraction=(np.ascontiguousarray(coefficients[0][:, 0]), index[0], coefficients[1], index[1], coefficients[2]),
        product=tensors[f"layers.{t}.product_linear"].astype(np.float32),
        skip=tensors[f"layers.{t}.skip"].astype(np.float32))


def _subset(offsets: npt.NDArray[np.int64], atoms: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Offsets and edge indices of some centres."""
    count = offsets[atoms + 1] - offsets[atoms]
    new = np.concatenate([[0], np.cumsum(count)])
    return new, np.repeat(offsets[atoms] - new[:-1], count) + np.arange(new[-1])


def _cancelled() -> Exception:
    from ..errors import CancelledError
    return CancelledError("stopped by the caller")
