"""Cancelling at any stage ends within a second, leaves no thread at work, and progress never moves back."""

from __future__ import annotations

import time
from collections import OrderedDict

import numpy as np
import pytest
from our_threads import threads_at_work
from pipelines import collection, fcc, pipeline

import ovito_mace_phase.atoms.length_scale as lengths
import ovito_mace_phase.model.engine.warm_up as warm_up
import ovito_mace_phase.plugin.session as evaluation
from ovito_mace_phase import MacePhaseModifier, PhaseModel
from ovito_mace_phase.model import store as model_store
from ovito_mace_phase.model.engine.sweep import Sweep
from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.runtime.wait_for import wait_for
from ovito_mace_phase.runtime.worker import run_in_worker

SECONDS = 1.0


@pytest.fixture(scope="module", autouse=True)
def warm():
    """Load and compile beforehand: that is not what is cancelled here."""
    positions, cell = fcc(noise=0.1)
    data = collection(positions, cell, types=np.ones(len(positions)))
    pipeline(data, MacePhaseModifier(denoise_steps=1, prior="frame")).compute()


@pytest.fixture(scope="module")
def large():
    positions, cell = fcc(10, noise=0.1)
    return pipeline(collection(positions, cell, types=np.ones(len(positions)), names={1: "Cu"})).compute()


def close_when(steps, reached, patience: float = 60.0) -> float:
    """Step the generator until `reached`, close it; return the seconds that closing took."""
    end = time.monotonic() + patience
    for _ in steps:
        if reached():
            break
        assert time.monotonic() < end
    else:
        pytest.fail("it ended before it could be cancelled")
    assert threads_at_work()
    start = time.monotonic()
    steps.close()
    taken = time.monotonic() - start
    assert threads_at_work() == []
    return taken


def modify(data, **parameters):
    return MacePhaseModifier(**parameters).modify(data, frame=0, input_slots={}, data_cache=None, pipeline_node=None)


def count_calls(monkeypatch, owner, name, pause: float = 0.0) -> list[float]:
    """Return the times of the calls, each of which takes `pause` s longer than it would."""
    calls, original = [], getattr(owner, name)

    def counted(*args, **keywords):
        calls.append(time.monotonic())
        time.sleep(pause)
        return original(*args, **keywords)

    monkeypatch.setattr(owner, name, counted)
    return calls


def test_in_the_search_for_neighbours(monkeypatch, large):
    calls = count_calls(monkeypatch, lengths, "nearest_cubes", pause=0.05)  # a busy machine must not overtake the test
    evaluations = count_calls(monkeypatch, PhaseModel, "stream_logits")
    monkeypatch.setattr(lengths, "_BLOCK", 64)
    assert close_when(modify(large), lambda: len(calls) > 3) < SECONDS
    assert evaluations == []
    before = len(calls)
    time.sleep(0.2)
    assert len(calls) == before


def test_in_the_network(monkeypatch, large):
    calls = count_calls(monkeypatch, Sweep, "_report")
    assert close_when(modify(large), lambda: len(calls) >= 3) < SECONDS
    before = len(calls)
    time.sleep(0.2)
    assert len(calls) == before


@pytest.mark.parametrize("evaluation", [1, 2])
def test_in_the_middle_of_denoising(monkeypatch, large, evaluation):
    calls = count_calls(monkeypatch, PhaseModel, "log_density_gradient")
    assert close_when(modify(large, denoise_steps=8), lambda: len(calls) >= evaluation) < SECONDS
    before = len(calls)
    time.sleep(0.2)
    assert len(calls) == before


def test_the_data_are_as_before_and_the_next_evaluation_works(monkeypatch):
    positions, cell = fcc(6, noise=0.1)
    data = pipeline(collection(positions, cell, types=np.ones(len(positions)))).compute()
    calls = count_calls(monkeypatch, PhaseModel, "network_frame")
    close_when(modify(data, denoise_steps=8, apply_to_positions=True), lambda: len(calls) > 0)
    np.testing.assert_array_equal(data.particles.positions, positions)
    assert "Phase" not in data.particles
    for _ in modify(data):
        pass
    assert "Phase" in data.particles


def fractions(steps) -> list[float]:
    return [value for value in steps if isinstance(value, float)]


@pytest.mark.parametrize("denoise_steps", [0, 3])
def test_progress_never_moves_back(denoise_steps):
    positions, cell = fcc(6, noise=0.15)
    data = pipeline(collection(positions, cell, types=np.ones(len(positions)))).compute()
    found = fractions(modify(data, denoise_steps=denoise_steps))
    assert found == sorted(found)
    assert 0.0 <= found[0] < found[-1] <= 1.0


def test_progress_of_work_that_is_taken_again():
    def work(progress, cancelled):
        for report in (0.1, 0.5, "compiling", 0.2, 0.4, 0.6, 7.0):
            progress(report)
            time.sleep(0.05)

    seen = list(run_in_worker(work, "start"))
    found = fractions(seen)
    assert found == sorted(found)
    assert found[-1] == 1.0
    assert {"start", "compiling"} <= set(seen)


SLOW = 3.0


@pytest.mark.parametrize("what", ["loading", "compiling", "compiling around the network"])
def test_while_something_that_cannot_be_stopped(monkeypatch, large, what):
    """The caller can leave; the work is not done a second time."""
    monkeypatch.setattr(model_store, "_models", OrderedDict())
    owner, name = {
        "loading": (model_store, "_load"),
        "compiling": (warm_up, "warm_up"),
        "compiling around the network": (evaluation, "local_spacing"),
    }[what]
    evaluation.compile_kernels.cache_clear()
    calls = count_calls(monkeypatch, owner, name, pause=SLOW)
    begun = time.monotonic()
    assert close_when(modify(large), lambda: bool(calls)) < SECONDS
    assert time.monotonic() - begun < SLOW
    for _ in modify(large):
        pass
    assert len(calls) == 1
    assert time.monotonic() - begun > SLOW


def test_an_error_in_the_background_reaches_the_caller():
    def fail():
        raise InputError("bad file")

    for cancelled in (None, lambda: False):
        with pytest.raises(InputError, match="bad file"):
            wait_for("test", fail, cancelled)
    assert wait_for("test", lambda: 5, lambda: False) == 5


def test_model_stays_in_the_store_after_a_cancel(large):
    model = model_store.get_model("", "auto")
    steps = modify(large)
    close_when(steps, lambda: bool(threads_at_work()))
    assert model_store.get_model("", "auto") is model
