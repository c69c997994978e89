"""Frames on many machines, by Dask: workers of a running scheduler write into a folder that all can see.

OVITO must be called from the thread that imported it, and Dask works in threads of its own: each worker gets one more
thread, in which all frames of that worker are done, one at a time, with as many threads for the network as Dask gave
the worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ovito_mace_phase.runtime.errors import InputError, MissingPackageError, WorkerLostError
from ovito_mace_phase.runtime.memory import set_memory
from ovito_mace_phase.runtime.threads import set_threads

from .pools import share_memory

if TYPE_CHECKING:
    from distributed import Client, Worker
    from distributed.diagnostics.plugin import WorkerPlugin

NAME = "ovito-mace-phase"
"""Of the plugin and the executor on every worker."""
CONNECT_SECONDS = 30
_AHEAD = 2
"""Calls per worker that the scheduler holds, so that none waits for the client."""


class DaskPool:
    """The workers of a Dask scheduler.

    Parameters
    ----------
    scheduler : str
        Address, such as tcp://node:8786, or the path of a scheduler file.
    threads : int
        Threads of each worker; 0: those that Dask gave it.
    memory : str, optional
        Budget of each worker for features.
    device : str

    Raises
    ------
    MissingPackageError
        Without dask.distributed.
    InputError
        When no scheduler answers.
    """

    def __init__(self, scheduler: str, *, threads: int = 0, memory: str | None = None, device: str = "auto") -> None:
        distributed = _distributed()
        self._gone = (CancelledError, asyncio.CancelledError)
        self._lost = (distributed.KilledWorker,)
        where: dict[str, Any] = {"scheduler_file": scheduler} if scheduler.endswith(".json") else {"address": scheduler}
        if "scheduler_file" in where and not Path(scheduler).is_file():  # dask would wait for it for ever
            raise InputError(
                f"no Dask scheduler answers at {scheduler!r}: there is no such file; "
                "start one with `dask scheduler --scheduler-file FILE`"
            )
        try:
            self._client: Client = distributed.Client(timeout=CONNECT_SECONDS, set_as_default=False, **where)
        except (OSError, ValueError, TimeoutError) as error:
            raise InputError(
                f"no Dask scheduler answers at {scheduler!r} ({error}); start one with `dask scheduler` and give the "
                "address that it prints, such as tcp://node:8786"
            ) from error
        self._client.register_plugin(_plugin(distributed, threads, memory, device), name=NAME)
        self._executor = self._client.get_executor(pure=False, retries=0)

    def slots(self) -> int:
        """Return two calls for each worker that is there now."""
        return _AHEAD * max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Hand a call to the scheduler."""
        import dask

        with dask.annotate(executor=NAME):
            return self._executor.submit(function, *arguments)

    def lost(self, error: BaseException) -> bool:
        """Tell whether workers ended so often that Dask gave up on a call; it starts them again by itself.

        Raises
        ------
        WorkerLostError
            When the scheduler is gone.
        """
        if isinstance(error, self._gone):
            raise WorkerLostError(
                "the Dask scheduler is gone; start it again and repeat the command: finished frames are kept"
            ) from error
        return isinstance(error, self._lost)

    def close(self, *, now: bool) -> None:
        """Leave the cluster; calls under way are dropped."""
        self._client.close()


def _distributed() -> ModuleType:
    try:
        return import_module("distributed")
    except ImportError as error:
        raise MissingPackageError(
            "--scheduler (scheduler=) needs the Python package distributed; install it with "
            "`python -m pip install 'ovito-mace-phase[cluster]'` here and for the workers"
        ) from error


def _plugin(distributed: ModuleType, threads: int, memory: str | None, device: str) -> WorkerPlugin:
    """Make what prepares every worker of the cluster, those that join later too."""

    class OvitoThread(distributed.WorkerPlugin):  # type: ignore[name-defined]
        """Gives a worker the thread for OVITO."""

        async def setup(self, worker: Worker) -> None:
            host = worker.address.rpartition(":")[0]
            beside = sum(1 for other in await _addresses(worker) if other.rpartition(":")[0] == host)
            prepare_worker(threads or worker.state.nthreads, memory, max(1, beside), device)
            worker.executors[NAME] = ovito_thread()

    return OvitoThread()


async def _addresses(worker: Worker) -> list[str]:
    return list((await worker.scheduler.identity())["workers"])


def prepare_worker(threads: int, memory: str | None, share: int, device: str) -> None:
    """Set threads and memory of this worker; `share` workers live on its machine."""
    set_threads(threads)
    set_memory(memory)
    share_memory(share, memory, device)


def ovito_thread() -> ThreadPoolExecutor:
    """Return the one thread of this process that calls OVITO."""
    if not _threads:
        _threads.append(ThreadPoolExecutor(1, thread_name_prefix=NAME))
    return _threads[0]


_threads: list[ThreadPoolExecutor] = []
