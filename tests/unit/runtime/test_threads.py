"""One setting for threads; a pool that leaves the rest of the process alone; memory as text."""

from __future__ import annotations

import os
import threading
import time

import pytest
import torch

from ovito_mace_phase import set_memory, set_threads
from ovito_mace_phase.runtime import memory
from ovito_mace_phase.runtime.errors import CancelledError, InputError
from ovito_mace_phase.runtime.threads import VARIABLE, BlockPool, n_threads


@pytest.fixture(autouse=True)
def defaults(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv(memory.VARIABLE, raising=False)
    yield
    set_threads(0)
    set_memory(None)


def test_setting_then_variable_then_cores(monkeypatch):
    assert n_threads() == (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    monkeypatch.setenv(VARIABLE, "3")
    assert n_threads() == 3
    set_threads(5)
    assert n_threads() == 5
    set_threads(0)
    monkeypatch.setenv(VARIABLE, "many")
    with pytest.raises(InputError, match="many"):
        n_threads()
    with pytest.raises(InputError, match="-2"):
        set_threads(-2)


def test_each_block_uses_one_core_and_torch_keeps_its_setting():
    before = torch.get_num_threads()
    a = torch.rand(1500, 1500)

    def work(_):
        torch.mm(a, a)
        return torch.get_num_threads(), threading.current_thread().name

    with BlockPool(3) as pool:
        found = list(pool.map(work, range(12)))
        assert torch.get_num_threads() == before
    assert {count for count, _ in found} == {1}
    assert len({name for _, name in found}) <= 3
    assert torch.get_num_threads() == before
    seen = []
    late = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    late.start()
    late.join()
    assert seen == [before]


def test_results_come_in_order_and_errors_too():
    with BlockPool(4) as pool:
        assert list(pool.map(lambda k: (time.sleep(0.01 * (k % 3)), k)[1], range(30))) == list(range(30))
        started = []

        def work(k):
            started.append(k)
            if k == 3:
                raise ValueError("third")
            return k

        with pytest.raises(ValueError, match="third"):
            list(pool.map(work, range(1000)))
        assert len(started) < 40


def test_cancel():
    calls = []
    with BlockPool(2, cancelled=lambda: len(calls) >= 5) as pool, pytest.raises(CancelledError):
        list(pool.map(calls.append, range(1000)))
    assert len(calls) < 10


@pytest.mark.parametrize(("text", "size"), [("500M", 500 * 2**20), ("2G", 2**31), ("1.5 GiB", 3 * 2**29), (4096, 4096)])
def test_amounts_of_memory(text, size):
    assert memory.parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "lots", "-1G", "0", "1T"])
def test_what_is_no_amount(text):
    with pytest.raises(InputError, match="no amount of memory"):
        memory.parse_bytes(text)


def test_budget(monkeypatch):
    assert 0 < memory.memory_budget("cpu") <= memory.MOST_BY_DEFAULT
    monkeypatch.setattr(memory, "free_memory", lambda: 1000)
    assert memory.memory_budget("cpu") == 250
    monkeypatch.setenv(memory.VARIABLE, "3k")
    assert memory.memory_budget("cpu") == 3072
    set_memory("1M")
    assert memory.memory_budget("cpu") == 2**20
    assert memory.memory_budget("cpu", "2M") == 2**21


def test_pools_that_start_at_once_leave_torch_as_it_was():
    before = torch.get_num_threads()

    def work():
        for _ in range(20):
            with BlockPool(3) as pool:
                list(pool.map(lambda k: k, range(6)))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seen = []
    late = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    late.start()
    late.join()
    assert seen == [before]
