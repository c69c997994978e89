"""One setting for the number of threads, and a pool that runs blocks of work in parallel.

Each thread takes a whole block: its numba kernels are serial and release the GIL, and its matrix products use one core.
So nothing but this pool runs in parallel; it shares no state with OVITO's TBB pool, and leaves torch's number of
threads as it was for everybody else.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import ModuleType, TracebackType
from typing import TypeVar

from .errors import CancelledError, InputError

Item = TypeVar("Item")
Result = TypeVar("Result")
VARIABLE = "OVITO_MACE_PHASE_THREADS"
_chosen: list[int] = []
_starting = threading.Lock()


def set_threads(count: int) -> None:
    """Set the number of threads for this process; 0 goes back to the default.

    Raises
    ------
    InputError
        For a negative number.
    """
    if count < 0:
        raise InputError(f"the number of threads must be at least 1, or 0 for the default, not {count}")
    _chosen[:] = [count] if count else []


def n_threads() -> int:
    """Return the number of threads: `set_threads`, else the variable OVITO_MACE_PHASE_THREADS, else the cores allowed.

    Raises
    ------
    InputError
        When the variable is not a positive whole number.
    """
    if _chosen:
        return _chosen[0]
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"the environment variable {VARIABLE} is {text!r}; set it to a number of threads, or unset it")
    return int(text)


def over_rows(function: Callable[[int, int], Result], n_rows: int, size: int) -> list[Result]:
    """Return `function(first, last)` of pieces of at most `size` rows, in their order, from several threads at once.

    For kernels that release the GIL; the pieces do not depend on the number of threads.
    """
    pieces = [(first, min(first + size, n_rows)) for first in range(0, n_rows, size)]
    count = min(n_threads(), len(pieces))
    if count < 2:
        return [function(*piece) for piece in pieces]
    with ThreadPoolExecutor(max_workers=count, thread_name_prefix="mace-phase-rows") as executor:
        return list(executor.map(lambda piece: function(*piece), pieces))


class BlockPool:
    """Threads that work on blocks; use it in a `with` statement.

    Parameters
    ----------
    count : int, optional
        Number of threads; default `n_threads()`.
    cancelled : callable, optional
        Asked before every block; True ends `map` with `CancelledError`.
    """

    def __init__(self, count: int | None = None, cancelled: Callable[[], bool] | None = None) -> None:
        self.count = n_threads() if count is None else count
        self._cancelled = cancelled
        self._executor = ThreadPoolExecutor(max_workers=self.count, thread_name_prefix="mace-phase-block")
        self._stop = threading.Event()

    def __enter__(self) -> BlockPool:
        import torch

        with _starting:  # another pool that starts now must not take its workers' number for torch's own
            self._start(torch)
        return self

    def _start(self, torch: ModuleType) -> None:
        """Start all threads, each with one core for matrix products."""
        before = torch.get_num_threads()
        meeting = threading.Barrier(self.count + 1)

        def start() -> None:
            torch.set_num_threads(1)
            torch.get_num_threads()  # makes torch apply the number to this thread for good
            meeting.wait()

        started = [self._executor.submit(start) for _ in range(self.count)]
        meeting.wait()
        torch.set_num_threads(before)  # the number for threads of others
        for future in started:
            future.result()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield `function(item)` in the order of the items, with few results waiting.

        What a call raises is raised here; blocks not yet started are dropped.
        """
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                if len(waiting) > 2 * self.count:
                    yield waiting.popleft().result()
                waiting.append(self._executor.submit(self._call, function, item))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            for future in waiting:
                if not future.cancelled():
                    future.exception()

    def _call(self, function: Callable[[Item], Result], item: Item) -> Result:
        if self._stop.is_set() or (self._cancelled is not None and self._cancelled()):
            raise CancelledError("stopped by the caller")
        return function(item)
