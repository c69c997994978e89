"""Models in memory: read once, never in the way of a button, found by name or path."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

import numpy as np
import pytest

from ovito_mace_phase import PhaseModel, classify
from ovito_mace_phase.model import store
from ovito_mace_phase.model.registry import DEFAULT, MODELS, SHIPPED, model_path
from ovito_mace_phase.runtime.errors import ModelFileError


class Reading:
    """Stands for `_load`: begins, waits until it may go on, counts."""

    def __init__(self) -> None:
        self.begun, self.go_on, self.count = threading.Event(), threading.Event(), 0

    def __call__(self, path, device, backend) -> object:
        self.count += 1
        self.begun.set()
        assert self.go_on.wait(20.0)
        return object()


@pytest.fixture
def reading(monkeypatch):
    found = Reading()
    monkeypatch.setattr(store, "_load", found)
    monkeypatch.setattr(store, "_models", OrderedDict())
    yield found
    found.go_on.set()


def in_thread(function) -> tuple[threading.Thread, list]:
    out: list = []
    thread = threading.Thread(target=lambda: out.append(function()), daemon=True)
    thread.start()
    return thread, out


def test_forgetting_never_waits_for_a_model_that_is_being_read(reading):
    thread, first = in_thread(lambda: store.get_model(None, "cpu"))
    assert reading.begun.wait(20.0)
    start = time.perf_counter()
    store.forget(None)
    assert time.perf_counter() - start < 0.5
    assert thread.is_alive()
    reading.go_on.set()
    thread.join(20.0)
    assert store.get_model(None, "cpu") is not first[0]  # what was forgotten meanwhile is read again
    assert reading.count == 2


def test_two_callers_read_a_model_once(reading):
    threads = [in_thread(lambda: store.get_model(None, "cpu")) for _ in range(3)]
    assert reading.begun.wait(20.0)
    reading.go_on.set()
    for thread, _ in threads:
        thread.join(20.0)
    assert len({id(out[0]) for _, out in threads}) == 1
    assert reading.count == 1


def test_a_model_that_cannot_be_read_leaves_the_next_caller_free(monkeypatch, reading):
    def broken(*_):
        raise ModelFileError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(store, "_load", broken)
        with pytest.raises(ModelFileError, match="broken"):
            store.get_model(None, "cpu")
    reading.go_on.set()
    assert store.get_model(None, "cpu") is store.get_model(None, "cpu")


def test_names_and_paths_lead_to_the_same_model():
    assert model_path(None) == model_path("") == model_path(DEFAULT) == SHIPPED
    assert model_path("some/where") == model_path(model_path("some/where"))
    assert all(path.with_suffix(".json").is_file() for path in MODELS.values())
    assert store.get_model(DEFAULT, "cpu") is store.get_model(None, "cpu") is store.get_model(SHIPPED, "cpu")
    assert store.get_card(DEFAULT)["name"] == DEFAULT
    with pytest.raises(ModelFileError, match=f"no model .no_such_model.: the names are {', '.join(MODELS)}"):
        store.get_model("no_such_model", "cpu")


def test_classify_keeps_the_model_it_has_read(monkeypatch):
    positions = 4.0 * np.indices((3, 3, 3)).reshape(3, -1).T
    classify(positions, None, np.eye(3) * 12.0, True)
    monkeypatch.setattr(PhaseModel, "load", lambda *args, **more: pytest.fail("it was read again"))
    assert len(classify(positions, None, np.eye(3) * 12.0, True, model=DEFAULT).phase) == 27
