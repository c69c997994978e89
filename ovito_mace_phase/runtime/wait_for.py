"""Uninterruptible work (loading, compiling) runs in its own thread; a waiting caller can cancel without stopping it.

    wait_for(key, function, cancelled)

runs `function` in a thread of its own. When `cancelled()` turns true meanwhile, the caller gets `CancelledError` at
once; the work goes on to its end, and the next caller with the same key finds it done or waits for what is left of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from .errors import CancelledError

T = TypeVar("T")
_POLL_SECONDS = 0.02
_executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prepare-mace-phase")
_lock = threading.Lock()
_running: dict[Hashable, Future[Any]] = {}


def wait_for(key: Hashable, function: Callable[[], T], cancelled: Callable[[], bool] | None = None) -> T:
    """Return what `function()` returns, or raise what it raises.

    Parameters
    ----------
    key : hashable
        Says what is done: a second call while the first is under way waits for that one.
    function : callable
        Keeps what it has made (a model in a store, compiled code), so that a repeated call is quick.
    cancelled : callable, optional
        Asked while waiting; without it the function is called in this thread.

    Raises
    ------
    CancelledError
    """
    if cancelled is None:
        return function()
    with _lock:
        future: Future[T] | None = _running.get(key)
        if future is None:
            future = _running[key] = _executor.submit(function)
            future.add_done_callback(lambda _: _running.pop(key, None))
    while not wait([future], timeout=_POLL_SECONDS).done:
        if cancelled():
            raise CancelledError("stopped by the caller while loading or compiling; that goes on for the next time")
    return future.result()
