"""How much memory a frame may take, and what follows for slabs and blocks.

    held  = slabs held at once x atoms of a slab x bytes per atom   <=  budget
    bytes per atom = (features of a layer + what is sent to the next) x itemsize, twice that with gradients

Scratch space of a block, the sorted positions and the results come on top: about 100 bytes per atom and some 10 MB a
thread.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    import torch

VARIABLE = "OVITO_MACE_PHASE_MEMORY"
DEFAULT_SHARE = 0.25
"""Of the memory that is free when the work starts."""
MOST_BY_DEFAULT = 2**29
"""Bytes; more does not make the work faster."""
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}
_FALLBACK = 2**31  # free memory where the system does not tell


_chosen: list[int] = []


def set_memory(amount: int | str | None) -> None:
    """Set the budget of this process, as in `memory_budget`; None goes back to the default."""
    _chosen[:] = [] if amount is None else [parse_bytes(amount)]


def memory_budget(device: torch.device | str, chosen: int | str | None = None, most: int | None = None) -> int:
    """Return the bytes that features may take.

    Parameters
    ----------
    device
        CPU or CUDA.
    chosen : int or str, optional
        Bytes, or a text such as "500M" or "2G"; default `set_memory`, else the variable OVITO_MACE_PHASE_MEMORY, else
        a quarter of what is free, on a CPU at most 512 MiB.
    most : int, optional
        Bytes; the default on a GPU is no more.

    Raises
    ------
    InputError
        When the text is no amount of memory.
    """
    if chosen is not None:
        return parse_bytes(chosen)
    if _chosen:
        return _chosen[0]
    given = os.environ.get(VARIABLE, "").strip()
    if given:
        return parse_bytes(given)
    import torch

    if torch.device(device).type == "cuda":
        share = int(DEFAULT_SHARE * torch.cuda.mem_get_info(device)[0])
        return share if most is None else min(share, most)
    return min(MOST_BY_DEFAULT, int(DEFAULT_SHARE * free_memory()))


def parse_bytes(amount: int | str) -> int:
    """Return a number of bytes; raises InputError for anything that is none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?", str(amount).strip().lower())
    if not match or float(match[1]) <= 0:
        raise InputError(f"{amount!r} is no amount of memory; write for example 500M or 2G")
    return int(float(match[1]) * _UNITS[match[2]])


def free_memory() -> int:
    """Return the bytes of memory that are free on this machine."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123 - a kernel interface
            for line in file:
                if line.startswith("MemAvailable:"):
                    return min(int(line.split()[1]) * 1024, _container_limit())
    except OSError:
        pass
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _FALLBACK


def _container_limit() -> int:
    """Return what the container may still take, where there is one."""
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as most:  # noqa: PTH123
            limit = most.read().strip()
        with open("/sys/fs/cgroup/memory.current", encoding="ascii") as now:  # noqa: PTH123
            return max(0, int(limit) - int(now.read())) if limit != "max" else 2**62
    except (OSError, ValueError):
        return 2**62
