"""Where results of operations are put: in new memory, or in that of a thread, which every block uses again.

New memory of some megabytes comes from the system page by page, again for every block; that took 2 to 4 us an atom.
"""

from __future__ import annotations

from math import prod
from typing import Protocol

from torch import Tensor


class Memory(Protocol):
    """Gives tensors to write to."""

    def take(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return a tensor of a shape, contents undefined; of the precision and on the device of another."""
        ...


class NewMemory:
    """New memory every time."""

    def take(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """See `Memory`."""
        return like.new_empty(shape)


class Buffers:
    """Memory of one thread: a tensor is valid until the next of the same name is taken."""

    def __init__(self) -> None:
        self._held: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """See `Memory`."""
        size = prod(shape)
        held = self._held.get(name)
        if held is None or len(held) < size or held.dtype != like.dtype or held.device != like.device:
            held = self._held[name] = like.new_empty(size)
        return held[:size].view(shape)
