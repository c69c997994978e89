"""Who hears how far the work in this process is, besides the one who asked for it.

with heard_by(listener):        ... tell(0.4)  ->  listener(0.4)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = float | str
"""A fraction done, 0 to 1, or what is being done."""
_listeners: list[Callable[[Report], None]] = []


def tell(report: Report) -> None:
    """Tell all listeners."""
    for listener in _listeners:
        listener(report)


@contextmanager
def heard_by(listener: Callable[[Report], None]) -> Iterator[None]:
    """Let a listener hear what is told meanwhile."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
