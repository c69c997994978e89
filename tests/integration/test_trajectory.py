"""Long trajectories: worker processes, runs that are cut off, what is refused, tables, pictures, report."""

from __future__ import annotations

import csv
import dataclasses
import errno
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fake_model import install
from frame_tasks import Task, a_record, some_atoms, worker_state
from long_runs import contents, kill_after, long_dump, n_finished, start
from ovito.io import import_file
from PIL import Image

from ovito_mace_phase import classify_trajectory
from ovito_mace_phase.cli import main
from ovito_mace_phase.runtime.errors import InputError, MissingPackageError, OutputError, WorkerLostError
from ovito_mace_phase.trajectory import movie, picture, record
from ovito_mace_phase.trajectory import store as work
from ovito_mace_phase.trajectory.pools import HerePool, ProcessPool
from ovito_mace_phase.trajectory.scheduler import run_frames

# ---------------------------------------------------------------- runs that are killed


@pytest.mark.parametrize(
    ("n_frames", "kills"), [(16, 1), pytest.param(200, 10, marks=pytest.mark.slow)], ids=["quick", "full"]
)
def test_killed_run_ends_like_an_undisturbed_one(tmp_path, rng, monkeypatch, n_frames, kills):
    source = long_dump(tmp_path / "run.dump", n_frames)
    options = ["--frames", "1:", "--no-picture", "--parquet"]
    install(monkeypatch)
    with pytest.raises(SystemExit) as end:
        main(["classify", str(source), "-o", str(tmp_path / "calm"), *options])
    assert end.value.code == 0
    folder = tmp_path / "killed" / "run.work"
    for _ in range(kills):
        job = start(source, "-o", tmp_path / "killed", "--jobs", 2, *options, seconds=0.1)
        kill_after(job, folder, int(rng.integers(1, max(2, n_frames // kills - 3))), float(rng.uniform(0.0, 0.2)))
    assert 0 < n_finished(folder) < n_frames - 1
    stamps = {path: path.stat().st_mtime_ns for path in folder.glob("frame_*.zip")}
    seen = []

    def look(path: Path) -> None:
        """Before the frames are thrown away."""
        seen.append({path: path.stat().st_mtime_ns for path in stamps})

    remove = work.WorkFolder.remove
    monkeypatch.setattr(work.WorkFolder, "remove", lambda self: (look(self.path), remove(self)))
    with pytest.raises(SystemExit) as end:
        main(["classify", str(source), "-o", str(tmp_path / "killed"), *options])
    assert end.value.code == 0
    assert seen == [stamps], "a finished frame was done again"
    assert contents(tmp_path / "killed") == contents(tmp_path / "calm")


def test_ended_run_says_how_to_go_on_and_leaves_a_table(tmp_path):
    source = long_dump(tmp_path / "run.dump", 12)
    folder = tmp_path / "out" / "run.work"
    job = start(source, "-o", tmp_path / "out", "--no-picture", seconds=0.2)
    while n_finished(folder) < 3 and job.poll() is None:
        time.sleep(0.01)
    job.send_signal(signal.SIGTERM)
    output, _ = job.communicate(timeout=60)
    assert job.returncode == 130, output
    kept = n_finished(folder)
    assert f"{kept} of 12 frames are finished and kept in" in output
    with (tmp_path / "out" / "run.phases.csv").open() as stream:
        assert sorted({int(row["frame"]) for row in csv.DictReader(stream)}) == list(range(kept))


# ---------------------------------------------------------------- worker processes


def drain(generator) -> list[int]:
    return [one.summary.frame for one in generator]


def test_lost_worker_costs_nothing(tmp_path):
    with work.WorkFolder(tmp_path / "w", {}) as folder:
        found = drain(run_frames(Task(folder.path, (2, 5)), range(8), folder, ProcessPool(2)))
        assert sorted(found) == list(range(8))
        assert folder.done() == set(range(8))


def test_worker_lost_again_and_again_is_an_error(tmp_path):
    with work.WorkFolder(tmp_path / "w", {}) as folder:
        with pytest.raises(WorkerLostError, match=r"ended 3 times .* --jobs .* --memory"):
            drain(run_frames(Task(folder.path, (1,), once=False), range(3), folder, ProcessPool(2)))
        assert 0 in folder.done()


def test_workers_share_threads_and_memory():
    pool = ProcessPool(2, threads=6, device="cpu")
    threads, budget, name = pool.submit(worker_state).result()
    assert threads == 3
    assert budget <= 2**30 // 2
    assert name.startswith("Spawn")
    pool.close(now=False)
    pool = ProcessPool(4, threads=2, memory="70M")
    assert pool.submit(worker_state).result()[:2] == (1, 70 * 2**20)
    pool.close(now=True)


# ---------------------------------------------------------------- faults


def returned(generator):
    """What a generator returns at its end."""
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


class FaultyPool(HerePool):
    """Takes several frames at once and finishes the last one first."""

    def __init__(self, faults: dict[int, BaseException]) -> None:
        super().__init__()
        self.faults, self.asked, self.closed = faults, [], None

    def slots(self) -> int:
        return 4

    def submit(self, function, frame, order_parameters):
        self.asked.append((frame, order_parameters))
        if frame not in self.faults:
            return super().submit(function, frame, order_parameters)
        future: Future = Future()
        future.set_exception(self.faults[frame])
        return future

    def close(self, *, now: bool) -> None:
        self.closed = now


def test_fault_of_a_later_frame_finishes_those_before(tmp_path):
    pool = FaultyPool({5: InputError("two atoms"), 3: InputError("no atoms")})
    with work.WorkFolder(tmp_path / "w", {}) as folder:
        run = run_frames(Task(folder.path), range(20), folder, pool)
        assert returned(run) == (3, "no atoms")
        assert {0, 1, 2} <= folder.done()
        assert max(frame for frame, _ in pool.asked) < 12
        assert pool.asked[0] == (0, None)
        assert {keys for _, keys in pool.asked[1:]} == {("FCC",)}
        assert pool.closed is False


@pytest.mark.parametrize("kind", [partial(OSError, errno.ENOSPC), OutputError], ids=["os", "ours"])
def test_full_disk_keeps_finished_frames(tmp_path, kind):
    pool = FaultyPool({2: kind("frame 2: No space left")})
    with (
        work.WorkFolder(tmp_path / "w", {}) as folder,
        pytest.raises((OSError, OutputError), match="frame 2: No space left"),
    ):
        drain(run_frames(Task(folder.path), range(9), folder, pool))
    assert 0 in {int(path.stem[6:]) for path in (tmp_path / "w").glob("frame_*.zip")}
    assert pool.closed is True


def test_full_disk_in_the_command(tmp_path, monkeypatch, capsys):
    install(monkeypatch)
    store, calls = work.store_frame, []

    def full(*arguments: object) -> None:
        calls.append(1)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, "No space left on device", "frame_0000003.zip")
        store(*arguments)

    from ovito_mace_phase.trajectory import frame_worker as ovito_frames

    monkeypatch.setattr(ovito_frames, "store_frame", full)
    source = long_dump(tmp_path / "run.dump", 6)
    arguments = ["classify", str(source), "-o", str(tmp_path / "out"), "--no-picture"]
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert "disk is full" in error
    assert "3 of 6 frames are finished and kept" in error
    monkeypatch.setattr(ovito_frames, "store_frame", store)
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0
    assert "3 of 6 frames are there" in capsys.readouterr().err
    assert sorted(contents(tmp_path / "out")) == ["run.phases.csv", "run.phases.png", "run.xyz"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder(tmp_path, monkeypatch):
    install(monkeypatch)
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(InputError, match="output folder"):
        classify_trajectory(long_dump(tmp_path / "run.dump", 1), tmp_path / "out")


# ---------------------------------------------------------------- the work folder


def kept_frames(path: Path, **settings: object) -> None:
    with work.WorkFolder(path, settings):
        work.store_frame(path, a_record(), some_atoms(), None)


def test_other_settings_are_refused(tmp_path):
    kept_frames(tmp_path / "w", prior="uniform", input="a", frames=":")
    with (
        pytest.raises(InputError, match=r"1 finished frames .*prior was 'uniform'.*the input file has changed.*--rest"),
        work.WorkFolder(tmp_path / "w", {"prior": "frame", "input": "b", "frames": ":"}),
    ):
        pass
    with work.WorkFolder(tmp_path / "w", {"prior": "frame", "input": "b"}, restart=True) as folder:
        assert not folder.done()


def test_only_one_run_per_folder(tmp_path):
    with (
        work.WorkFolder(tmp_path / "w", {}),
        pytest.raises(InputError, match="another run is working"),
        work.WorkFolder(tmp_path / "w", {}),
    ):
        pass


def test_leftovers_of_a_kill_are_cleared(tmp_path):
    kept_frames(tmp_path / "w")
    whole = work.frame_path(tmp_path / "w", 0).read_bytes()
    work.frame_path(tmp_path / "w", 1).write_bytes(whole[:-40])
    (tmp_path / "w" / ".frame_0000002.x.zip").write_bytes(b"half")
    with work.WorkFolder(tmp_path / "w", {}) as folder:
        assert folder.done() == {0}
        assert folder.record(0) == a_record()
        assert sorted(path.name for path in folder.path.iterdir()) == ["frame_0000000.zip", "lock", "settings.json"]


def test_folder_without_frames_goes_away(tmp_path):
    with work.WorkFolder(tmp_path / "w", {}):
        pass
    assert not (tmp_path / "w").exists()


def test_changed_input_and_settings_are_noticed(tmp_path, monkeypatch):
    install(monkeypatch)
    source, out = long_dump(tmp_path / "run.dump", 4), tmp_path / "out"

    def stop(one: record.FrameRecord) -> None:
        if one.summary.frame == 1:
            raise KeyboardInterrupt

    def cut_off() -> None:
        with pytest.raises(KeyboardInterrupt):
            classify_trajectory(source, out, progress=stop)

    cut_off()
    with pytest.raises(InputError, match="prior was 'local' and is 'frame'"):
        classify_trajectory(source, out, prior="frame")
    source.write_text(source.read_text().replace("1 1 ", "1 2 ", 1))
    with pytest.raises(InputError, match="the input file has changed"):
        classify_trajectory(source, out)
    assert len(classify_trajectory(source, out, restart=True).frames) == 4


# ---------------------------------------------------------------- Python


def test_python_door(tmp_path, monkeypatch):
    install(monkeypatch)
    source, seen = long_dump(tmp_path / "run.dump", 6), []
    result = classify_trajectory(source, frames="::2", progress=seen.append, order_parameters="FCC,HCP")
    assert [one.summary.frame for one in seen] == [0, 2, 4]
    assert [summary.frame for summary in result.frames] == [0, 2, 4]
    assert result.labelled is None
    table = result.columns()
    assert set(map(len, table.values())) == {len(table["frame"])}
    assert result.fractions("FCC") == [
        f for f, key in zip(table["fraction"], table["phase"], strict=True) if key == "FCC"
    ]
    assert sum(result.order_parameters["FCC"].values()) == 3 * 32
    assert sum(sum(bins.values()) for bins in result.confidence.values()) == 3 * 32
    assert "32 atoms, 3 of 6 frames, model fake" in str(result)
    assert [path.name for path in tmp_path.iterdir()] == ["run.dump"]
    kept = classify_trajectory(source, tmp_path / "out", file_format="dump", select="ParticleIdentifier < 20")
    assert kept.frames[0].n_atoms == 19
    assert import_file(str(kept.labelled)).num_frames == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jobs": 0}, "at least 1, not 0"),
        ({"jobs": 2, "scheduler": "tcp://x:1"}, "jobs = 2"),
        ({"file_format": "cif"}, "'cif'"),
        ({"only_selected": True}, "select"),
        ({"frames": "9"}, "none of the 1 frames"),
        ({"select": "foo==1"}, "foo"),
    ],
)
def test_python_door_refuses(tmp_path, monkeypatch, options, message):
    install(monkeypatch)
    with pytest.raises(InputError, match=message):
        classify_trajectory(long_dump(tmp_path / "run.dump", 1), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    with pytest.raises(InputError, match="no file"):
        classify_trajectory(tmp_path / "nothing.dump")


def test_other_threads_are_refused_before_ovito_crashes(tmp_path):
    code = (
        "import threading, sys\nimport ovito\nfrom ovito_mace_phase import classify_trajectory\n"
        "def call():\n    try:\n        classify_trajectory(sys.argv[1])\n    except ValueError as error:\n"
        "        print(error)\nthread = threading.Thread(target=call)\nthread.start()\nthread.join()"
    )
    source = long_dump(tmp_path / "run.dump", 1)
    done = subprocess.run([sys.executable, "-c", code, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "only in the thread that imported it" in done.stdout


# ---------------------------------------------------------------- tables, pictures, report


@pytest.fixture
def written(tmp_path, monkeypatch) -> Path:
    install(monkeypatch)
    monkeypatch.setattr(picture, "render_folder", lambda *args: "switched off")
    source = long_dump(tmp_path / "run.dump", 5)
    with pytest.raises(SystemExit) as end:
        main(["classify", str(source), "-o", str(tmp_path / "out"), "--report", "--parquet", "--movie", "3"])
    assert end.value.code == 0
    return tmp_path / "out"


def test_everything_that_can_be_written(written, capsys):
    pictures = {f"run.{name}.png" for name in ("confidence", "frame", "order_parameters", "phases")}
    others = {f"run.{name}" for name in ("xyz", "phases.csv", "phases.parquet", "report.html", "movie.gif")}
    assert set(contents(written)) == {*others, *pictures}
    for name in pictures:
        with Image.open(written / name) as image:
            assert len(image.convert("RGB").getcolors(10**6)) > 3
    with Image.open(written / "run.movie.gif") as animation:
        assert animation.n_frames == 3
    from pyarrow import parquet

    table = parquet.read_table(written / "run.phases.parquet").to_pydict()
    with (written / "run.phases.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(table) == list(rows[0])
    assert [str(count) for count in table["count"]] == [row["count"] for row in rows]
    assert table["fraction"] == pytest.approx([float(row["fraction"]) for row in rows], abs=1e-6)


def test_report_needs_nothing_else(written):
    page = (written / "run.report.html").read_text()
    sources = re.findall(r"(?:src|href)=\"([^\"]{0,40})", page)
    assert len(sources) == 6  # three plots, picture, movie, table
    assert all(source.startswith("data:") for source in sources)
    assert "http" not in re.sub(r"base64,[^\"]*", "", page)
    assert "url(" not in page
    for text in ("FCC", "HCP", "run.dump", "32 atoms, 5 of 5 frames", "model fake"):
        assert text in page


def test_report_says_which_frame_is_shown_and_why(written):
    page = (written / "run.report.html").read_text()
    assert "in which the phases are mixed most: the entropy of their fractions" in page
    assert "is the largest of the 5 frames" in page
    assert "<details" not in page  # five frames are one table


def test_report_of_many_frames_is_in_pages(tmp_path, monkeypatch):
    install(monkeypatch)
    result = classify_trajectory(long_dump(tmp_path / "run.dump", 1))
    first = result.frames[0]
    many = tuple(dataclasses.replace(first, frame=number, time=0.5 * number) for number in range(120))
    dataclasses.replace(result, frames=many).write_report(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert re.findall(r"<summary>frames (\d+) to (\d+):", page) == [("0", "49"), ("50", "99"), ("100", "119")]
    assert page.count("<details open>") == 1
    assert "<td>59.5</td>" in page


def test_report_escapes_names(tmp_path, monkeypatch):
    install(monkeypatch)
    result = classify_trajectory(long_dump(tmp_path / "run.dump", 1))
    result.write_report(tmp_path / "r.html", title="<script>alert(1)</script>")
    page = (tmp_path / "r.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    install(monkeypatch)
    result = classify_trajectory(long_dump(tmp_path / "run.dump", 1))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingPackageError, match=r"ovito-mace-phase\[parquet\]"):
        result.write_parquet(tmp_path / "x.parquet")


def test_movie_frames_are_spread():
    assert movie.spread(range(10), 4) == [0, 3, 6, 9]
    assert movie.spread([5, 3, 1], 9) == [5, 3, 1]
    assert movie.spread([7], 3) == [7]


def test_broken_pool_is_told_from_other_errors():
    pool = ProcessPool(1)
    assert not pool.lost(ValueError())
    assert pool.lost(BrokenProcessPool())
    pool.close(now=True)


def test_record_as_text():
    assert record.FrameRecord.from_json(a_record(3).to_json()) == a_record(3)
    edges, counts = record.dense({-2: 1, 1: 4}, 0.25)
    assert edges.tolist() == [-0.5, -0.25, 0.0, 0.25, 0.5]
    assert counts.tolist() == [1, 0, 0, 4]
    assert record.bin_values(np.array([0.1, np.nan, -0.1, np.inf]), 0.25) == {0: 1, -1: 1}
    assert record.bin_confidence(np.array([1.0, 0.99], np.float32)) == {49: 2}
