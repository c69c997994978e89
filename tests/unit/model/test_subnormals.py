"""Numbers below 1.2e-38 make products a hundred times slower on many processors: there are none where it counts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from ovito_mace_phase.lab.benchmark.measure import thermal_frame
from ovito_mace_phase.model.network.layers import leaves
from ovito_mace_phase.model.network.model_file import load_model, model_paths, save_model, without_subnormals
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.model.registry import MODELS, model_path
from ovito_mace_phase.runtime.threads import BlockPool

NORMAL = np.finfo(np.float32).tiny


def subnormal(tensor) -> int:
    values = np.abs(np.asarray(tensor))
    return int(np.count_nonzero((values > 0) & (values < NORMAL)))


def test_weights_close_to_zero_are_zeros(rng):
    weights = rng.normal(size=(40, 30)).astype(np.float32)
    weights[3, 4], weights[5, 6], weights[7, 8] = 1e-40, -1e-31, 1e-29
    found = without_subnormals(weights)
    assert found[3, 4] == found[5, 6] == 0
    assert found[7, 8] == weights[7, 8]
    assert np.count_nonzero(found != weights) == 2
    whole = np.arange(5)
    assert without_subnormals(whole) is whole


def test_model_files(tmp_path):
    """What is saved has none. (Older files have some, that of mace-phase-6 too; see below.)"""
    weights = {"one": np.full(3, 1e-41, dtype=np.float32), "two": np.ones(2, dtype=np.float32)}
    save_model(tmp_path / "clean", weights, {"name": "clean"})
    assert not load_file(tmp_path / "clean.safetensors")["one"].any()
    found, _ = load_model(tmp_path / "clean")
    assert not found["one"].any()
    assert found["two"].all()


def test_an_older_file_has_some():
    found = load_file(model_paths(model_path("mace-phase-6"))[0])
    assert any(subnormal(tensor) for tensor in found.values() if tensor.dtype.kind == "f")


@pytest.mark.parametrize("name", MODELS)
def test_nothing_a_shipped_model_multiplies_with_is_subnormal(name):
    tensors, _ = load_model(model_path(name))
    assert not any(subnormal(tensor) for tensor in tensors.values() if tensor.dtype.kind == "f")
    evaluator = PhaseModel.load(name, device="cpu").evaluator
    head = evaluator.head
    used = [*leaves(evaluator.weights), *head.entry(True), *head.entry(False), *head.density_entry(True)]
    used += [table.values for table in (*evaluator.weights.tables.layers, evaluator.weights.tables.first)]
    assert not any(subnormal(tensor) for tensor in used)


class Recorder:
    """Operations that look at what they give."""

    def __init__(self, operations, found):
        self._operations, self._found = operations, found
        self.memory = operations.memory

    def of_thread(self):
        return Recorder(self._operations.of_thread(), self._found)

    def __getattr__(self, name):
        operation = getattr(self._operations, name)

        def recorded(*given):
            result = operation(*given)
            for tensor in result if isinstance(result, tuple) else (result,):
                self._found.append((name, subnormal(tensor.detach().numpy()), tensor.numel()))
            return result

        return recorded


@pytest.mark.parametrize("name", ["cu", "nacl"])
def test_intermediate_numbers_of_hot_frames(name):
    model, found = PhaseModel.load(device="cpu"), []
    watched = Recorder(model.evaluator.operations, found)
    model.evaluator = dataclasses.replace(model.evaluator, operations=watched)
    model.logits(thermal_frame(name, 500))
    assert {"species_sums", "convolve", "contract_with_invariants", "means"} <= {one[0] for one in found}
    assert [one for one in found if one[1]] == []


def test_only_threads_of_the_pool_flush_to_zero():
    small = torch.tensor([1e-39])

    def halved(_: int) -> float:
        return float((small * 0.5).double())

    with BlockPool(2) as pool:
        assert list(pool.map(halved, range(8))) == [0.0] * 8
    assert float((small * 0.5).double()) > 0.0
    assert float(np.float32(1e-39) * np.float32(0.5)) > 0.0
