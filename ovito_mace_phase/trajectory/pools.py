"""Where frames are classified: in this process, or in new worker processes (`spawn`, never `fork`)."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from multiprocessing.connection import wait as wait_for
from typing import Any, Protocol

from ovito_mace_phase.runtime.memory import VARIABLE, memory_budget, set_memory
from ovito_mace_phase.runtime.threads import n_threads, set_threads


class Pool(Protocol):
    """Where the calls of one run are worked on."""

    def slots(self) -> int:
        """Return how many calls may be under way now."""
        ...

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Start a call."""
        ...

    def lost(self, error: BaseException) -> bool:
        """Tell whether an error means that the worker ended, and see to it that there are workers again."""
        ...

    def close(self, *, now: bool) -> None:
        """End the workers; with `now` without waiting for calls under way."""
        ...


class HerePool:
    """No workers: each call is made at once, in this process.

    Parameters
    ----------
    threads : int
        Set for this process, unless 0.
    memory : str, optional
        Set for this process, unless None.
    """

    def __init__(self, *, threads: int = 0, memory: str | None = None) -> None:
        if threads:
            set_threads(threads)
        if memory is not None:
            set_memory(memory)

    def slots(self) -> int:
        """Return 1: one call after the other."""
        return 1

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Make the call."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def lost(self, error: BaseException) -> bool:
        """Return False: there is no worker to lose."""
        return False

    def close(self, *, now: bool) -> None:
        """Do nothing."""


class ProcessPool:
    """Worker processes on this machine, which share its cores and its memory.

    Parameters
    ----------
    jobs : int
        Number of processes.
    threads : int
        Threads of all of them together; 0 is all cores.
    memory : str, optional
        Budget of each for features; default: what one process would take, shared out.
    device : str
        As given by the user.
    """

    def __init__(self, jobs: int, *, threads: int = 0, memory: str | None = None, device: str = "auto") -> None:
        self._jobs = jobs
        each = max(1, (threads or n_threads()) // jobs)
        self._arguments = (each, memory, jobs, device)
        self._executor = self._start()

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=self._jobs,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_prepare_worker,
            initargs=self._arguments,
        )

    def slots(self) -> int:
        """Return the number of processes."""
        return self._jobs

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Start a call in a process that is free."""
        try:
            return self._executor.submit(function, *arguments)
        except BrokenExecutor as error:  # a process ended between two calls
            future: Future[Any] = Future()
            future.set_exception(error)
            return future

    def lost(self, error: BaseException) -> bool:
        """Tell whether a process ended; all are started afresh then, since its end takes down the whole pool."""
        if not isinstance(error, BrokenExecutor):
            return False
        if getattr(self._executor, "_broken", True):
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = self._start()
        return True

    def close(self, *, now: bool) -> None:
        """End the processes."""
        processes = list((getattr(self._executor, "_processes", None) or {}).values()) if now else []
        self._executor.shutdown(wait=not now, cancel_futures=True)
        for process in processes:  # Executor.terminate_workers of Python 3.14
            process.terminate()
        for process in processes:
            process.join()


def _prepare_worker(threads: int, memory: str | None, share: int, device: str) -> None:
    """Make a fresh process ready: Ctrl-C is for the parent, whose end is the end; cores and memory are shared out."""
    signal.signal(signal.SIGINT, lambda *_: None)  # OVITO crashes on SIGINT without a Python handler
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    set_threads(threads)
    set_memory(memory)
    share_memory(share, memory, device)


def share_memory(share: int, memory: str | None, device: str) -> None:
    """Take one of `share` parts of the default budget, unless a budget was given or the network runs on a GPU."""
    if memory is not None or share < 2 or os.environ.get(VARIABLE, "").strip() or device == "cuda":
        return
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        set_memory(max(_LEAST_MEMORY, memory_budget("cpu") // share))


_LEAST_MEMORY = 2**26


def _end_with_parent() -> None:
    """Wait until the parent is gone, be it killed, and end at once: nobody would fetch the result."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)
