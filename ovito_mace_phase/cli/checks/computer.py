"""Processor, threads, memory and GPU: what the network runs on, and what keeps it from running."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.runtime.memory import VARIABLE as MEMORY
from ovito_mace_phase.runtime.memory import free_memory, memory_budget
from ovito_mace_phase.runtime.threads import VARIABLE as THREADS
from ovito_mace_phase.runtime.threads import n_threads

from .finding import Finding


def check_computer() -> Iterator[Finding]:
    """Yield threads, memory and GPU."""
    yield _threads()
    yield _memory()
    yield _gpu()


def _threads() -> Finding:
    cores = os.cpu_count() or 1
    try:
        count = n_threads()
    except InputError as error:
        return Finding(name="threads", text=str(error), state="wrong", remedy=f"unset {THREADS}")
    text = f"{count}, of {cores} cores"
    if count > cores:
        return Finding(
            name="threads", text=text, state="note", remedy=f"more threads than cores only wait: unset {THREADS}"
        )
    return Finding(name="threads", text=text)


def _memory() -> Finding:
    try:
        budget = memory_budget("cpu")
    except InputError as error:
        return Finding(
            name="memory", text=f"the environment variable {MEMORY}: {error}", state="wrong", remedy=f"unset {MEMORY}"
        )
    return Finding(name="memory", text=f"{free_memory() / 2**30:.1f} GB free, {budget / 2**30:.2f} GB for features")


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        build = "for CUDA, but it finds no card that it can use" if torch.version.cuda else "for the CPU"
        return Finding(name="GPU", text=f"none is used; torch is a build {build}")
    name = torch.cuda.get_device_name()
    try:
        ones = torch.ones((64, 64), device="cuda")
        right = bool(((ones @ ones) == 64).all())
        free, total = torch.cuda.mem_get_info()
    except RuntimeError as error:
        first = str(error).strip().splitlines()[0]
        return Finding(
            name="GPU",
            text=f"{name} does not compute: {first}",
            state="wrong",
            remedy="install the build of torch for this card's driver (pytorch.org), or work with --device cpu",
        )
    if not right:
        return Finding(
            name="GPU", text=f"{name} multiplies wrongly", state="wrong", remedy="work with --device cpu; test the card"
        )
    return Finding(name="GPU", text=f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GB free")
