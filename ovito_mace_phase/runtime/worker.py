"""One worker thread behind a generator: the caller stays responsive and can stop the work at any moment.

OVITO may be called from the main thread only, and wants `modify` to yield often. So the numerical work runs in one
thread, and the generator yields its progress until the result is there:

    result = yield from run_in_worker(work, "Classifying atoms")

When the generator is closed or an exception is thrown into it (cancel, Ctrl-C), `cancelled()` turns true for the work,
and the generator waits until the thread has ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
Progress = Callable[[float | str], None]
Cancelled = Callable[[], bool]

_POLL_SECONDS = 0.01


def run_in_worker(work: Callable[[Progress, Cancelled], T], message: str) -> Generator[str | float, None, T]:
    """Run `work(progress, cancelled)` in one thread; yield its progress, return its result.

    Parameters
    ----------
    work : callable
        Gets `progress(x)` to report a fraction in [0, 1] or a status text, and `cancelled()` to ask between blocks.
    message : str
        First thing yielded, as status text.

    Yields
    ------
    str or float
        The message, then fractions and what texts the work reports.

    Returns
    -------
    T
        What `work` returned. What it raises is raised here.
    """
    stop = threading.Event()
    latest: list[float | str] = [0.0]

    furthest = [0.0]

    def progress(report: float | str) -> None:
        if not isinstance(report, str):  # steps that are taken again must not move the bar back
            furthest[0] = report = min(1.0, max(furthest[0], float(report)))
        latest[0] = report

    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mace-phase")
    try:
        yield message
        future = executor.submit(work, progress, stop.is_set)
        while not wait([future], timeout=_POLL_SECONDS).done:
            yield latest[0]
        return future.result()
    finally:
        stop.set()
        executor.shutdown(wait=True)
