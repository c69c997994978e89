"""Triton kernels for the tests: on a CUDA device where there is one, else under Triton's interpreter on the CPU."""

from __future__ import annotations

import dataclasses
import os
from functools import lru_cache

import pytest
import torch

from ovito_mace_phase.model.network.operations.protocol import Operations

HAS_CUDA = torch.cuda.is_available()
DEVICE = "cuda" if HAS_CUDA else "cpu"
if not HAS_CUDA:
    os.environ["TRITON_INTERPRET"] = "1"  # read when the kernels are imported


@lru_cache
def missing() -> str:
    """Why kernels cannot run here; empty where they can."""
    try:
        import triton
        import triton.language as tl
    except ImportError:
        return "triton is not installed"

    @triton.jit
    def count(out, n):
        total = tl.load(out)
        for _ in range(0, n):
            total += 1
        tl.store(out, total)

    out = torch.zeros(1, dtype=torch.int32, device=DEVICE)
    try:
        count[(1,)](out, 3)
    except Exception as error:
        return f"this triton's interpreter cannot loop with this numpy ({error})"
    return "" if int(out) == 3 else "this triton counts wrong"


needs_triton = pytest.mark.skipif(bool(missing()), reason=missing() or "runs")
needs_cuda = [pytest.mark.cuda, pytest.mark.skipif(not HAS_CUDA, reason="no CUDA device")]


def triton_operations() -> Operations | None:
    """The operations for tensors on the CPU, None where they cannot run."""
    if missing():
        return None
    from ovito_mace_phase.model.network.operations.triton_operations import TritonOperations

    return _OnCuda(TritonOperations()) if HAS_CUDA else TritonOperations()


class _OnCuda:
    """Operations of a device for tensors of the CPU; gradients flow back."""

    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        def run(*arguments):
            return getattr(self._inner, name)(*map(_there, arguments)).cpu()

        return run


def _there(value):
    if isinstance(value, torch.Tensor):
        return value.cuda()
    if dataclasses.is_dataclass(value):
        fields = {field.name: _there(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    return value


def device_model(model):
    """The same model with its frames run by the device engine, on `DEVICE`."""
    from ovito_mace_phase.model.engine.device.run import DeviceEngine
    from ovito_mace_phase.model.network.operations.triton_operations import TritonOperations
    from ovito_mace_phase.model.phase_model import PhaseModel

    if HAS_CUDA:
        return PhaseModel.load(device="cuda")
    other = PhaseModel(dataclasses.replace(model.evaluator, operations=TritonOperations()), model.phases, model.card)
    other.on_device = DeviceEngine(other.evaluator, other._alone())
    return other
