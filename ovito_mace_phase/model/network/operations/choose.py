"""Which form of the operations a device gets."""

from __future__ import annotations

import logging

import torch

from .protocol import Operations

log = logging.getLogger(__name__)


def operations(device: torch.device | str) -> Operations:
    """Return the implementation for a device; where triton does not run, the slower one on CUDA, which is logged."""
    kind = torch.device(device).type
    if kind == "cpu":
        from .numba_operations import NumbaOperations

        return NumbaOperations()
    if kind == "cuda":
        try:
            from .triton_operations import TritonOperations, launch_invariants

            launch_invariants(torch.ones(1, 1, 1, device=device), torch.empty(1, 1, 1, device=device))
            return TritonOperations()
        except Exception as error:  # no triton, no C compiler for it, a card that it does not know
            log.warning(
                "the network runs in plain torch on this GPU, some ten times slower than it could: triton, which "
                "compiles kernels for it, does not run (%s); it comes with torch for CUDA on Linux and needs a C "
                "compiler",
                error,
            )
    from .torch_operations import TorchOperations

    return TorchOperations()
