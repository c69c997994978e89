"""An array that stays on a device until its numbers are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor


class HeldArray:
    """A tensor that reads like an array; asked for as a whole it moves to the host and leaves the device.

    Parameters
    ----------
    held : Tensor
    """

    def __init__(self, held: Tensor) -> None:
        self._held: Tensor | None = held
        self._host: npt.NDArray[Any] | None = None
        self.shape: tuple[int, ...] = tuple(held.shape)
        self.nbytes = held.numel() * held.element_size()

    @property
    def held(self) -> Tensor | None:
        """The tensor on its device, None once the numbers are on the host."""
        return self._held

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        held = self._held
        if self._host is None and held is not None:
            self._host = held.cpu().numpy()
        self._held = None
        return np.array(self._host, dtype=dtype, copy=copy)

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        held = self._held
        if held is None:
            return np.asarray(self)[key]
        parts = key if isinstance(key, tuple) else (key,)
        return held[tuple(_on(held, part) for part in parts)].cpu().numpy()

    def __reduce__(self) -> tuple[Any, ...]:
        return np.asarray, (np.asarray(self),)


def tensor_of(array: npt.NDArray[Any] | HeldArray | None) -> Tensor | None:
    """Return the tensor of an array that is still on a device, None for all others."""
    return array.held if isinstance(array, HeldArray) else None


def _on(held: Tensor, part: Any) -> Any:
    """Return a part of an index as a tensor knows it."""
    if isinstance(part, np.ndarray):
        import torch

        return torch.from_numpy(part).to(held.device)
    return int(part) if isinstance(part, np.integer) else part
