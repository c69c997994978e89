"""Progress, status and cancellation of long work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .errors import CancelledError


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Three callables, each optional.

    Attributes
    ----------
    progress : callable
        Called with the fraction done, 0 to 1.
    status : callable
        Called with a text when the work has to wait, for kernels that are compiled first; from any thread.
    cancelled : callable
        Asked between blocks of work; True stops it with `CancelledError`.
    """

    progress: Callable[[float], None] | None = None
    status: Callable[[str], None] | None = None
    cancelled: Callable[[], bool] | None = None

    def part(self, first: float, last: float) -> Watch:
        """Return the watch of a part of the work, from the fraction `first` to `last` of the whole."""
        whole = self.progress
        if whole is None:
            return self
        return Watch(
            progress=lambda done: whole(first + (last - first) * done), status=self.status, cancelled=self.cancelled
        )

    def check(self) -> None:
        """Raise `CancelledError` if the caller wants to stop."""
        if self.cancelled is not None and self.cancelled():
            raise CancelledError("stopped by the caller")
