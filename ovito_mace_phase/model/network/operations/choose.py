"""Which form of the operations a device gets."""

from __future__ import annotations

import torch

from .protocol import Operations


def operations(device: torch.device | str) -> Operations:
    """Return the implementation for a device."""
    if torch.device(device).type == "cpu":
        from .numba_operations import NumbaOperations

        return NumbaOperations()
    from .torch_operations import TorchOperations

    return TorchOperations()
