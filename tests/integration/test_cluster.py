"""Frames over a Dask cluster of processes on this machine, one of which is killed on the way."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from long_runs import contents, long_dump

from ovito_mace_phase import classify_trajectory
from ovito_mace_phase.runtime.errors import InputError, MissingPackageError
from ovito_mace_phase.trajectory.workers import Workers


def fake_plugin(folder: str):
    """What lets every worker use the fake model, those that are started again too."""
    from distributed import WorkerPlugin

    class Fake(WorkerPlugin):
        def setup(self, worker) -> None:
            import sys

            sys.path.insert(0, folder)
            from fake_command import use_fake

            use_fake()

    return Fake()


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", host="127.0.0.1"
    ) as local:
        yield local


def test_killed_worker_costs_nothing(tmp_path, monkeypatch, cluster):
    from fake_model import install

    install(monkeypatch)
    monkeypatch.setenv("FAKE_SECONDS", "0.1")
    source = long_dump(tmp_path / "run.dump", 16)
    calm = classify_trajectory(source, tmp_path / "calm")
    with cluster.get_client() as client:
        client.register_plugin(fake_plugin(str(Path(__file__).parents[1] / "helpers")), name="fake")
        victims = list(client.run(os.getpid).values())
        seen = []

        def kill(record) -> None:
            seen.append(record.summary.frame)
            if len(seen) == 4:
                os.kill(victims[0], signal.SIGKILL)

        result = classify_trajectory(source, tmp_path / "cluster", scheduler=cluster.scheduler_address, progress=kill)
        assert victims[0] not in client.run(os.getpid).values()
    assert sorted(seen) == list(range(16))
    assert result.frames == calm.frames
    assert contents(tmp_path / "cluster") == contents(tmp_path / "calm")
    one = tmp_path / "bad.dump"
    one.write_text(source.read_text().replace("\n3 1 ", "\n3 1 nan ", 1))
    with pytest.raises(InputError, match="NaN"):
        classify_trajectory(one, tmp_path / "bad", scheduler=cluster.scheduler_address)


def test_workers_that_come_late_and_all_leave_at_once(tmp_path, monkeypatch):
    """As batch jobs do: the first starts after the command, and its time is up before the next one runs."""
    distributed = pytest.importorskip("distributed")
    from fake_model import install

    install(monkeypatch)
    monkeypatch.setenv("FAKE_SECONDS", "0.1")
    source = long_dump(tmp_path / "run.dump", 10)
    calm = classify_trajectory(source, tmp_path / "calm")
    seen = []
    with distributed.LocalCluster(
        n_workers=0, threads_per_worker=2, processes=True, dashboard_address="127.0.0.1:0", host="127.0.0.1"
    ) as local:
        with local.get_client() as client:
            client.register_plugin(fake_plugin(str(Path(__file__).parents[1] / "helpers")), name="fake")

        def next_job(record) -> None:
            seen.append(record.summary.frame)
            if len(seen) == 4:
                local.scale(0)
                threading.Timer(1.0, local.scale, [1]).start()

        threading.Timer(1.0, local.scale, [1]).start()
        result = classify_trajectory(source, tmp_path / "late", scheduler=local.scheduler_address, progress=next_job)
    assert sorted(seen) == list(range(10))
    assert result.frames == calm.frames


def test_no_scheduler(monkeypatch):
    from ovito_mace_phase.trajectory import dask_pool as module

    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.5)
    with pytest.raises(InputError, match=r"no Dask scheduler answers at 'tcp://127.0.0.1:9'"):
        Workers(scheduler="tcp://127.0.0.1:9").pool("cpu")
    with pytest.raises(InputError, match="no Dask scheduler answers"):
        Workers(scheduler="/no/such/file.json").pool("cpu")


def test_without_dask(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingPackageError, match=r"ovito-mace-phase\[cluster\]"):
        Workers(scheduler="tcp://127.0.0.1:9").pool("cpu")
