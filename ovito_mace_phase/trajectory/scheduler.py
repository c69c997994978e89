"""All frames of a run, in any pool: finished frames are kept, the frame of a lost worker is repeated.

The first frame goes ahead alone: it finds faults of the settings early and decides which order parameters all write.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait

from ovito_mace_phase.runtime.errors import MacePhaseError, OutputError, WorkerLostError

from .pools import Pool
from .record import FrameRecord
from .store import WorkFolder

Task = Callable[[int, tuple[str, ...] | None], FrameRecord]
"""From the number of a frame and its order parameters (None: as the settings say) to the record, once it is stored."""
MOST_LOSSES = 3
"""Times that the worker of a frame may end before the run gives up."""


def run_frames(
    task: Task, frames: Sequence[int], work: WorkFolder, pool: Pool
) -> Generator[FrameRecord, None, tuple[int, str] | None]:
    """Work on frames and yield each record as it is finished, those of an earlier run first.

    Parameters
    ----------
    task : callable
        Can be pickled.
    frames : sequence of int
    work : WorkFolder
        Of this run.
    pool : Pool
        Is closed at the end.

    Returns
    -------
    (int, str) or None
        The first frame of the sequence, by order there, that cannot be classified, and why; the frames before it are
        finished.

    Raises
    ------
    MacePhaseError
        What is wrong with the first frame.
    OSError, OutputError
        When results cannot be written.
    WorkerLostError
        When workers end again and again.
    """
    done = work.done() & set(frames)
    try:
        for frame in frames:
            if frame in done:
                yield work.record(frame)
        run = _Run(task, pool, {frame: place for place, frame in enumerate(frames)})
        order_parameters: tuple[str, ...] | None = None
        if frames[0] not in done:
            yield from run.work_on(frames[:1], order_parameters)
            if run.fault is not None:
                raise run.fault[1]
        order_parameters = tuple(work.record(frames[0]).order_parameters)
        yield from run.work_on([frame for frame in frames[1:] if frame not in done], order_parameters)
    except BaseException:
        pool.close(now=True)
        raise
    pool.close(now=False)
    return None if run.fault is None else (run.fault[0], str(run.fault[1]))


class _Run:
    """Frames waiting, frames under way, and the first frame at fault."""

    def __init__(self, task: Task, pool: Pool, places: dict[int, int]) -> None:
        self._task = task
        self._pool = pool
        self._places = places
        self._losses: Counter[int] = Counter()
        self.fault: tuple[int, MacePhaseError] | None = None

    def work_on(
        self, frames: Sequence[int], order_parameters: tuple[str, ...] | None
    ) -> Generator[FrameRecord, None, None]:
        """Work on frames; after a fault only on those before it."""
        waiting = deque(frames)
        running: dict[Future[FrameRecord], int] = {}
        while waiting or running:
            while waiting and len(running) < self._pool.slots():
                frame = waiting.popleft()
                if self._wanted(frame):
                    running[self._pool.submit(self._task, frame, order_parameters)] = frame
            for future in wait(running, return_when=FIRST_COMPLETED, timeout=_LOOK_AGAIN).done:
                frame = running.pop(future)
                error = _error(future)
                if error is None:
                    yield future.result()
                elif self._pool.lost(error):
                    self._count_loss(frame, error)
                    waiting.appendleft(frame)
                elif isinstance(error, MacePhaseError) and not isinstance(error, OutputError | WorkerLostError):
                    if self._wanted(frame):
                        self.fault = frame, error
                else:
                    raise error

    def _wanted(self, frame: int) -> bool:
        """Whether no frame before this one is at fault."""
        return self.fault is None or self._places[frame] < self._places[self.fault[0]]

    def _count_loss(self, frame: int, error: BaseException) -> None:
        self._losses[frame] += 1
        if self._losses[frame] >= MOST_LOSSES:
            raise WorkerLostError(
                f"the worker process ended {MOST_LOSSES} times while frame {frame} was under way ({error}); if memory "
                "ran short, use fewer --jobs (jobs=) or less --memory; a script that calls classify_trajectory with "
                'jobs needs the line `if __name__ == "__main__":` before the call'
            ) from error


def _error(future: Future[FrameRecord]) -> BaseException | None:
    """Return why a call failed or was dropped, or None."""
    try:
        return future.exception()
    except CancelledError as error:
        return error


_LOOK_AGAIN = 5.0  # seconds after which the number of slots is asked for again: clusters grow
