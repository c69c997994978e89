"""One setting for the number of threads, and a pool that runs blocks of work in parallel.

Each thread takes a whole block: its numba kernels are serial and release the GIL, and its matrix products use one core.
So nothing but these threads runs in parallel; they share no state with OVITO's TBB pool, and leave torch's number of
threads as it was for everybody else. They flush subnormal numbers to zero, with which some processors are many times
slower; the threads of callers do not.

Threads outlive the pool that started them. A pool has its workers for itself while it is open: one that opens within a
block of another, or beside it, gets others, so none waits for a thread that waits for it. Then they are kept for the
next pool of as many threads; a few sets at most, none across a fork, and none past the end of the process.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, TypeVar

from .errors import CancelledError, InputError

Item = TypeVar("Item")
Result = TypeVar("Result")
VARIABLE = "OVITO_MACE_PHASE_THREADS"
_MOST_IDLE = 4
"""Sets of workers kept for later."""
_chosen: list[int] = []
_starting = threading.Lock()
_idle: list[_Workers] = []
_idle_lock = threading.Lock()


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
    _dismiss_idle()


def n_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
        return n_cores()
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"the environment variable {VARIABLE} is {text!r}; set it to a number of threads, or unset it")
    return int(text)


def over_rows(function: Callable[[int, int], Result], n_rows: int, size: int) -> list[Result]:
    """Return `function(first, last)` of pieces of at most `size` rows, in their order, from several threads at once.

    For kernels that release the GIL; the pieces do not depend on the number of threads. One piece alone is done by the
    caller.
    """
    pieces = [(first, min(first + size, n_rows)) for first in range(0, n_rows, size)]
    if len(pieces) < 2:
        return [function(*piece) for piece in pieces]
    with BlockPool() as pool:
        return list(pool.map(lambda piece: function(*piece), pieces))


def idle_threads() -> set[threading.Thread]:
    """Return the threads that wait for the next pool: all others of ours are at work."""
    with _idle_lock:
        return {thread for workers in _idle for thread in workers.threads}


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
        self._workers: _Workers | None = None
        self._open: set[Future[Any]] = set()
        self._stop = threading.Event()

    def __enter__(self) -> BlockPool:
        self._workers = _hire(self.count)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        workers, self._workers = self._workers, None
        if workers is None:
            return
        self._stop.set()
        try:
            running = [future for future in tuple(self._open) if not future.cancel()]
            wait(running)
        except BaseException:  # an interrupt: a block may still be running
            workers.dismiss()
            raise
        _release(workers)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield `function(item)` in the order of the items, with few results waiting.

        What a call raises is raised here; blocks not yet started are dropped.
        """
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                if len(waiting) > 2 * self.count:
                    yield waiting.popleft().result()
                waiting.append(self._submit(function, item))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            for future in waiting:
                if not future.cancelled():
                    future.exception()

    def _submit(self, function: Callable[[Item], Result], item: Item) -> Future[Result]:
        if self._workers is None:
            raise RuntimeError("the pool is closed: use it within its `with` statement")
        future = self._workers.executor.submit(self._call, function, item)
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        return future

    def _call(self, function: Callable[[Item], Result], item: Item) -> Result:
        if self._stop.is_set() or (self._cancelled is not None and self._cancelled()):
            raise CancelledError("stopped by the caller")
        return function(item)


class _Workers:
    """Threads that are running, each with one core for matrix products and without subnormal numbers."""

    def __init__(self, count: int) -> None:
        import torch

        self.count = count
        self.executor = ThreadPoolExecutor(max_workers=count, thread_name_prefix="mace-phase-block")
        meeting = threading.Barrier(count + 1)

        def start() -> threading.Thread:
            torch.set_num_threads(1)
            torch.get_num_threads()  # makes torch apply the number to this thread for good
            torch.set_flush_denormal(True)  # of this thread alone
            meeting.wait()
            return threading.current_thread()

        with _starting:  # others that start now must not take these threads' number for torch's own
            before = torch.get_num_threads()
            started = [self.executor.submit(start) for _ in range(count)]
            meeting.wait()
            torch.set_num_threads(before)  # the number for threads of others
        self.threads = {future.result() for future in started}

    def dismiss(self) -> None:
        """Let the threads end, once they have done what they are at."""
        self.executor.shutdown(wait=False, cancel_futures=True)


def _hire(count: int) -> _Workers:
    """Return workers that nobody else has."""
    with _idle_lock:
        for k, workers in enumerate(_idle):
            if workers.count == count:
                return _idle.pop(k)
    return _Workers(count)


def _release(workers: _Workers) -> None:
    """Keep workers for the next pool; those that were kept longest go when there are too many."""
    with _idle_lock:
        _idle.append(workers)
        leaving = _idle.pop(0) if len(_idle) > _MOST_IDLE else None
    if leaving is not None:
        leaving.dismiss()


def _dismiss_idle() -> None:
    with _idle_lock:
        leaving, _idle[:] = list(_idle), []
    for workers in leaving:
        workers.dismiss()


def _after_fork() -> None:
    """Forget the threads of the parent process: the child has none of them, and perhaps a lock that nobody opens."""
    global _idle_lock, _starting
    _idle_lock, _starting = threading.Lock(), threading.Lock()
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
