"""Which processes do the work: this one, worker processes of this machine, or those of a Dask cluster."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.runtime.threads import n_cores

if TYPE_CHECKING:
    from .pools import Pool


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Which processes do the work.

    Attributes
    ----------
    jobs : int
        Worker processes on this machine, at most one for each core; 1: none, the frames are done here.
    scheduler : str
        Address of a Dask scheduler whose workers take the frames, or its scheduler file; "": none.
    threads : int
        Threads of the network, all processes of this machine together; 0: all cores. With a scheduler, of each worker;
        0: as many as Dask gave it.
    memory : str or None
        Budget of each process for features.
    """

    jobs: int = 1
    scheduler: str = ""
    threads: int = 0
    memory: str | None = None

    def pool(self, device: str) -> Pool:
        """Return the pool; raises InputError for a number of jobs that is none."""
        from .pools import HerePool, ProcessPool

        if self.jobs < 1:
            raise InputError(f"jobs must be at least 1, not {self.jobs}")
        jobs = min(self.jobs, n_cores())
        options: dict[str, Any] = {"threads": self.threads, "memory": self.memory, "device": device}
        if self.scheduler:
            if self.jobs > 1:
                raise InputError(
                    f"jobs = {self.jobs} is for this machine alone; a Dask scheduler has its own number of workers"
                )
            from .dask_pool import DaskPool

            return DaskPool(self.scheduler, **options)
        if jobs < self.jobs:
            warnings.warn(f"{self.jobs} jobs were asked for, {jobs} run: one for each core", UserWarning, stacklevel=2)
        if jobs > 1:
            return ProcessPool(jobs, **options)
        return HerePool(threads=self.threads, memory=self.memory)
