"""One setting for threads; a pool that leaves the rest of the process alone; memory as text."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError as CancelledFuture

import pytest
import torch

from ovito_mace_phase import set_memory, set_threads
from ovito_mace_phase.runtime import memory
from ovito_mace_phase.runtime.errors import CancelledError, InputError
from ovito_mace_phase.runtime.threads import VARIABLE, BlockPool, idle_threads, n_threads


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


def names_in(pool):
    """Names of the threads of a pool, all of which are kept busy at once."""
    meeting = threading.Barrier(pool.count)

    def work(_):
        meeting.wait(timeout=20)
        return threading.current_thread()

    return set(pool.map(work, range(pool.count)))


def test_threads_live_on_for_the_next_pool_of_as_many():
    with BlockPool(3) as pool:
        first = names_in(pool)
        assert not first & idle_threads()
    assert first <= idle_threads()
    with BlockPool(3) as pool:
        assert names_in(pool) == first
    with BlockPool(2) as pool:
        assert not names_in(pool) & first
    set_threads(2)
    for thread in first:
        thread.join(timeout=20)
    assert not any(thread.is_alive() for thread in first)


def test_pools_within_pools_and_beside_them():
    """None waits for a thread that waits for it."""

    def inner(k):
        with BlockPool(2) as pool:
            return sum(pool.map(lambda m: m * k, range(10)))

    found = []

    def outer():
        with BlockPool(2) as pool:
            found.append(list(pool.map(inner, range(8))))

    callers = [threading.Thread(target=outer, daemon=True) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=60)
    assert found == [[45 * k for k in range(8)]] * 3


def test_a_pool_is_done_when_it_closes():
    """Also where its results were never asked for: the next one finds its threads idle."""
    done = []

    def work(k):
        time.sleep(0.05)
        done.append(k)

    with BlockPool(2) as pool:
        results = pool.map(work, range(100))
        next(results)
        kept = results  # not closed by the garbage collector
    count = len(done)
    assert count < 20
    time.sleep(0.2)
    assert len(done) == count
    with pytest.raises((CancelledError, RuntimeError, CancelledFuture)):
        list(kept)


def half_of_the_smallest() -> float:
    """Half of the smallest normal float32: zero where subnormal numbers are flushed."""
    return float((torch.full((8,), torch.finfo(torch.float32).tiny) * 0.5).sum())


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor cannot flush subnormal numbers")
def test_subnormal_numbers_are_flushed_in_the_threads_alone():
    assert half_of_the_smallest() > 0
    with BlockPool(2) as pool:
        assert set(pool.map(lambda _: half_of_the_smallest(), range(6))) == {0.0}
        assert half_of_the_smallest() > 0
    assert half_of_the_smallest() > 0
    seen = []
    late = threading.Thread(target=lambda: seen.append(half_of_the_smallest()))
    late.start()
    late.join()
    assert seen[0] > 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_after_a_fork_and_at_the_end_of_the_process():
    code = """
import os
from ovito_mace_phase.runtime.threads import BlockPool
def work():
    with BlockPool(2) as pool:
        return sum(pool.map(lambda k: k, range(20)))
assert work() == 190
child = os.fork()
if child == 0:
    os._exit(work() != 190)
assert os.waitpid(child, 0)[1] == 0
print(work())
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "190", done.stderr
