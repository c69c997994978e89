"""The command line: messages and exit codes."""

from __future__ import annotations

import errno
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import dump, rows, run
from fake_model import install
from ovito.io import import_file

from ovito_mace_phase.cli import COMMANDS


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    return install(monkeypatch)


def test_help_is_quick_and_complete():
    code = (
        "import sys\nfrom ovito_mace_phase.cli import main\ntry:\n    main(['--help'])\n"
        "finally:\n    print([m for m in ('torch', 'ovito', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.strip().endswith("[]")
    for name in COMMANDS:
        assert name in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_subcommands_exist(name, capsys):
    assert run(name, "--help") == 0
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["classify"], "Missing argument 'FILE...'"),
        (["no_such_command"], "No such command 'no_such_command'"),
        (["classify", "x", "--prior", "flat"], "'flat' is not one of 'local', 'uniform', 'frame'"),
        (["classify", "x", "--confidence-threshold", "2"], "2.0 is not in the range 0.0<=x<=1.0"),
    ],
)
def test_wrong_usage(arguments, words, capsys):
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert words in error[error.index("Error: ") :]


def faulty(tmp_path: Path, what: str) -> list[object]:
    good, bad = tmp_path / "cu.dump", tmp_path / "bad.dump"
    dump(good)
    bad.write_bytes(
        {"garbage": b"\x00\x01\x02 this is no trajectory\n", "cut": good.read_bytes()[:3000]}.get(what, b"")
    )
    return {
        "missing": [tmp_path / "no_such_file.dump"],
        "pattern": [tmp_path / "nothing.*"],
        "folder": [tmp_path],
        "empty": [bad],
        "garbage": [bad],
        "cut": [bad],
        "frames text": [good, "--frames", "a:b"],
        "frames beyond": [good, "--frames", "7"],
        "phase": [good, "--phases", "FFC"],
        "order parameter": [good, "--order-parameters", "FFC"],
        "length": [good, "--length-scale", "big"],
        "negative length": [good, "--length-scale", "-1"],
        "species": [good, "--species", "1,9"],
        "model": [good, "--model", tmp_path / "no_model"],
        "selection": [good, "--select", "no such thing"],
    }[what]


FAULTS = {
    "missing": "no file",
    "pattern": "no file matches",
    "folder": "is a folder",
    "empty": "is empty",
    "garbage": "cannot read",
    "cut": "cannot read",
    "frames text": "START:STOP",
    "frames beyond": "none of the 1 frames",
    "phase": "near matches",
    "order parameter": "near matches",
    "length": "auto or a number",
    "negative length": "positive",
    "species": "'9'",
    "model": "model file",
    "selection": "OVITO",
}


@pytest.mark.parametrize("what", FAULTS)
def test_bad_input_is_one_message(tmp_path, capsys, what):
    out = tmp_path / "out"
    assert run("classify", *faulty(tmp_path, what), "-o", out) == 2
    captured = capsys.readouterr()
    message = captured.err[captured.err.index("Error:") :]
    assert FAULTS[what] in message
    assert "Traceback" not in captured.err
    assert not out.exists() or not list(out.iterdir())


def test_positions_that_are_no_numbers(tmp_path, capsys):
    path = dump(tmp_path / "cu.dump")
    lines = path.read_text().splitlines()
    lines[20] = "12 1 nan 0.0 0.0"
    path.write_text("\n".join(lines) + "\n")
    assert run("classify", path, "-o", tmp_path / "out") == 2
    assert re.search("Error: .*NaN.*index", capsys.readouterr().err)


def test_one_bad_file_does_not_stop_the_others(tmp_path, capsys, no_rendering):
    bad = tmp_path / "bad.dump"
    bad.write_text("nonsense\n")
    assert run("classify", bad, dump(tmp_path / "cu.dump"), "-o", tmp_path / "out") == 2
    assert (tmp_path / "out" / "cu.xyz").exists()
    assert "1 of 2 files" in capsys.readouterr().err


def test_fault_in_a_later_frame_keeps_those_before(tmp_path, capsys, no_rendering):
    path = dump(tmp_path / "cu.dump", 4)
    lines = path.read_text().splitlines()
    frame = len(lines) // 4
    lines[2 * frame + 20] = " ".join([*lines[2 * frame + 20].split()[:2], "1e200", "0", "0"])  # beyond all bounds
    path.write_text("\n".join(lines) + "\n")
    out = tmp_path / "out"
    assert run("classify", path, "-o", out) == 2
    assert import_file(str(out / "cu.xyz")).num_frames == 2
    assert sorted({row["frame"] for row in rows(out / "cu.phases.csv")}) == ["0", "1"]
    error = capsys.readouterr().err
    assert "is beyond" in error
    assert "frame 2" in error
    assert "the 2 frames before it were written" in error


def test_overview_of_several_files(tmp_path, capsys, no_rendering):
    (tmp_path / "a").mkdir()
    first, second = dump(tmp_path / "cu.dump", 2), dump(tmp_path / "a" / "gold.dump")
    assert run("classify", first, second, "-o", tmp_path / "out", "--no-picture") == 0
    overview = capsys.readouterr().out.partition("phases (%)")[2]
    assert [line.split()[:3] for line in overview.splitlines()[1:3]] == [["cu", "256", "2"], ["gold", "256", "1"]]
    assert f"all results are in the folder {tmp_path / 'out'}" in overview


def test_misspelled_phase_is_found_before_any_work(tmp_path, capsys):
    for option in ("--phases", "--order-parameters"):
        assert run("classify", dump(tmp_path / "cu.dump"), "-o", tmp_path / "out", option, "FFC") == 2
        assert capsys.readouterr().err.startswith("Error: no phase has the key 'FFC'")
    assert not (tmp_path / "out").exists()


def test_select_that_is_no_expression_is_named(tmp_path, capsys, no_rendering):
    assert run("classify", dump(tmp_path / "cu.dump"), "-o", tmp_path / "out", "--select", "foo==1") == 2
    error = capsys.readouterr().err
    assert "Error: --select" in error
    assert '"foo"' in error


@pytest.mark.parametrize("where", ["in the atoms", "in the head"])
def test_last_frame_that_is_cut_short_is_left_out(tmp_path, capfd, where):
    path = dump(tmp_path / "cu.dump", 4)
    text = path.read_text()
    path.write_text(text[:-2000] if where == "in the atoms" else text[: text.rindex("ITEM: TIMESTEP") + 30])
    out = tmp_path / "out"
    assert run("classify", path, "-o", out, "--no-picture") == 0
    assert import_file(str(out / "cu.xyz")).num_frames == 3
    captured = capfd.readouterr()
    assert captured.out.count("note: ") == 1
    assert "cut short or damaged" in captured.out
    assert "WARNING" not in captured.err
    assert "Error" not in captured.err


def test_output_folder_is_a_file(tmp_path, capsys):
    target = tmp_path / "file"
    target.write_text("x")
    assert run("classify", dump(tmp_path / "cu.dump"), "-o", target / "out") == 2
    assert "output folder" in capsys.readouterr().err


def test_full_disk(tmp_path, capsys, monkeypatch):
    from ovito_mace_phase.trajectory import store as work

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device", "cu.xyz")

    monkeypatch.setattr(work.shutil, "copyfileobj", full)
    out = tmp_path / "out"
    assert run("classify", dump(tmp_path / "cu.dump"), "-o", out) == 2
    assert "disk is full" in capsys.readouterr().err
    assert not list(out.iterdir())


def test_interrupt(tmp_path, capsys, fake, monkeypatch):
    def interrupted(*args, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(fake, "stream_logits", interrupted)
    out = tmp_path / "out"
    assert run("classify", dump(tmp_path / "cu.dump"), "-o", out) == 130
    assert "stopped" in capsys.readouterr().err
    assert not list(out.iterdir())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 130)])
def test_background_job_survives_ctrl_c_and_ends_in_order(tmp_path, request, number, status):
    """A job that a shell script starts with & ignores SIGINT; OVITO crashed on it."""
    code = (
        "import sys, signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        f"sys.path.insert(0, {str(request.path.parents[1] / 'helpers')!r})\n"
        "import fake_model\nfrom ovito_mace_phase.cli import main\nfake_model.use(fake_model.FakeModel(4.0))\n"
        f"main(['classify', {str(dump(tmp_path / 'cu.dump'))!r}, '-o', {str(tmp_path / 'out')!r}, '--no-picture'])"
    )
    job = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    line = ""
    while "0/1" not in line:  # the progress bar shows that the frame is being evaluated
        character = job.stderr.read(1)
        assert character, f"the job ended: {line}"
        line += character
    time.sleep(1.0)
    job.send_signal(number)
    job.communicate()
    assert job.returncode == status
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == ([] if status else ["cu.phases.csv", "cu.phases.png", "cu.xyz"])


def test_fault_of_the_program(tmp_path, capsys, fake, monkeypatch):
    def broken(*args, **keywords):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied\nsecond line")

    monkeypatch.setattr(fake, "stream_logits", broken)
    path = dump(tmp_path / "cu.dump")
    assert run("classify", path, "-o", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "unexpected RuntimeError: mat1" in error
    assert "second line" not in error
    assert "--traceback" in error
    assert "Traceback" not in error
    assert run("--traceback", "classify", path, "-o", tmp_path / "out") == 1
    assert "Traceback" in capsys.readouterr().err
