"""The operations of a layer: one signature, three implementations, chosen by device (`choose.py`).

    NumbaOperations   fused loops on the CPU (`numba_operations.py`)
    TritonOperations  fused kernels on a CUDA device (`triton_operations.py`), where triton runs
    TorchOperations   padded batched products on any device (`torch_operations.py`)

All take and give torch tensors, in float32 or float64, and carry gradients to vectors, features and coefficients (first
order only). The readable meaning of each is in `kernels.py` and `model/reference`; tests compare all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from .memory import Memory


@dataclass(frozen=True, kw_only=True)
class Spline:
    """Radial functions as a cubic Hermite spline: `values` (n_knots, 2, F) on the knots of `radial_tables`."""

    values: Tensor
    scale: float
    stretch: float
    r_max: float

    @property
    def grid(self) -> tuple[float, float, float]:
        """Scale, stretch and cutoff, as the kernels take them."""
        return self.scale, self.stretch, self.r_max

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Spline:
        """Return the spline on another device and in another precision."""
        return replace(self, values=self.values.to(device, dtype))


@dataclass(frozen=True, kw_only=True)
class BlockGraph:
    """Edges of a block of centres.

    Attributes
    ----------
    offsets : (n_centres + 1,) int64
        Edges of centre k are `offsets[k]:offsets[k + 1]`.
    index : (n_edges,) int64
        Row of each neighbour in the arrays of sources.
    vectors : (n_edges, 3) float64
        Neighbour minus centre, network units; ask for its gradient to get forces on edges.
    own : (n_centres,) int64
        Row of each centre in the arrays of sources.
    """

    offsets: Tensor
    index: Tensor
    vectors: Tensor
    own: Tensor


@dataclass(frozen=True, kw_only=True)
class Polynomial:
    """Contraction of one layer: index tuples of the monomials, and coefficients (n_slots, n_monomials, C)."""

    pairs: Tensor
    triples: Tensor
    linear: Tensor
    quadratic: Tensor
    cubic: Tensor


class Operations(Protocol):
    """What a layer is made of; n_lm = (l_max + 1)^2 components, messages (n_lm, n_centres, C).

    Attributes
    ----------
    memory : Memory
        Where results are put.
    """

    memory: Memory

    def of_thread(self) -> Operations:
        """Return the operations for one thread and without gradients: a result is valid until the next of its kind."""

    def convolve(self, graph: BlockGraph, index: Tensor, source: Tensor, spline: Spline) -> Tensor:
        """Return sum_b R_lc Y_lm source[index_b, c], (n_lm, n_centres, C); `index` (n_edges,) into `source` (n, C)."""

    def species_sums(self, graph: BlockGraph, species: Tensor, n_species: int, spline: Spline, n_lm: int) -> Tensor:
        """Return sums of phi_q Y_lm over the neighbours of each species, (n_lm, n_centres, n_species q)."""

    def contract(self, message: Tensor, slots: Tensor, polynomial: Polynomial) -> Tensor:
        """Return the products of messages, (n_centres, C)."""

    def contract_with_invariants(self, message: Tensor, slots: Tensor, polynomial: Polynomial) -> tuple[Tensor, Tensor]:
        """Return the results of `contract` and `invariants`."""

    def invariants(self, message: Tensor) -> Tensor:
        """Return A of l = 0 and the powers above, (n_centres, l_max + 1, C)."""

    def means(
        self, graph: BlockGraph, species: Tensor, mine: Tensor, values: Tensor, r_max: float, n_means: int
    ) -> Tensor:
        """Return means of values (n, F) over neighbours, (n_centres, n_means, F): of own species and all, or all.

        `species` (n_edges,) are those of the neighbours, `mine` (n_centres,) those of the centres.
        """
