"""The command line: results, pictures, frames and files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from command_line import dump, rows, run
from fake_model import install
from ovito.io import import_file
from pipelines import fcc

from ovito_mace_phase.runtime import files
from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.trajectory import picture
from ovito_mace_phase.trajectory.record import FrameAtoms
from ovito_mace_phase.trajectory.summary import summarise


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    return install(monkeypatch)


def test_one_frame(tmp_path, capsys, no_rendering):
    out = tmp_path / "out"
    assert run("classify", dump(tmp_path / "cu.dump"), "-o", out) == 0
    assert sorted(path.name for path in out.iterdir()) == ["cu.frame.png", "cu.phases.csv", "cu.phases.png", "cu.xyz"]
    text = capsys.readouterr().out
    assert "FCC" in text
    assert "50.00" in text
    assert "256 atoms, frame 0 of 1, model fake" in text
    assert "flat drawing" in text
    table = {row["phase"]: row for row in rows(out / "cu.phases.csv")}
    assert int(table["FCC"]["count"]) + int(table["HCP"]["count"]) == 256
    assert float(table["FCC"]["fraction"]) == pytest.approx(int(table["FCC"]["count"]) / 256)
    again = import_file(str(out / "cu.xyz")).compute()
    assert again.particles.count == 256
    assert {"Phase", "Confidence", "OP_FCC"} <= set(again.particles.keys())
    for name in ("cu.phases.png", "cu.frame.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")


def test_of_several_files_what_holds_for_all_is_said_once_and_what_is_cut_at_the_end(tmp_path, capsys, no_rendering):
    whole = [dump(tmp_path / name, 3) for name in ("a.dump", "b.dump")]
    text = whole[0].read_text()
    cut = tmp_path / "cut.dump"
    cut.write_text(text[: int(0.9 * len(text))])
    assert run("classify", *whole, cut, "-o", tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert shown.count("flat drawing") == 1
    end = shown[shown.index("\nfile ") :]
    assert "note: cut: the " in end
    assert "cut short or damaged" in end
    assert "note: a:" not in end


def test_many_frames(tmp_path, capsys, no_rendering, fake):
    out = tmp_path / "out"
    assert (
        run(
            "classify",
            dump(tmp_path / "cu.dump", 5),
            "-o",
            out,
            "--frames",
            "0::2",
            "--format",
            "dump",
            "--order-parameters",
            "FCC,bcc",
        )
        == 0
    )
    table = rows(out / "cu.phases.csv")
    assert sorted({int(row["frame"]) for row in table}) == [0, 2, 4]
    assert sorted({int(row["timestep"]) for row in table}) == [0, 200, 400]
    counts = [int(row["count"]) for row in table if row["phase"] == "FCC"]
    assert counts == sorted(counts, reverse=True)
    labelled = import_file(str(out / "cu.dump"))
    assert labelled.num_frames == 3
    assert int((np.asarray(labelled.compute(1).particles["phase"]) == 1).sum()) == counts[1]
    assert fake.calls == 3
    assert "3 of 5 frames" in capsys.readouterr().out


def test_columns_stay_the_same(tmp_path, no_rendering):
    """Order parameters chosen in the first frame hold for all, although phases come and go."""
    assert run("classify", dump(tmp_path / "cu.dump", 5), "-o", tmp_path / "out") == 0
    heads = {line for line in (tmp_path / "out" / "cu.xyz").read_text().splitlines() if "Properties=" in line}
    assert len({head.split("Properties=")[1].split()[0] for head in heads}) == 1


def test_several_files(tmp_path, no_rendering):
    (tmp_path / "a").mkdir()
    first, second = dump(tmp_path / "cu.dump"), dump(tmp_path / "a" / "cu.dump")
    assert run("classify", first, second, "-o", tmp_path / "out", "--no-picture") == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"cu.xyz", "cu.phases.csv", "cu.phases.png", "cu_2.xyz", "cu_2.phases.csv", "cu_2.phases.png"}


def test_input_is_not_overwritten(tmp_path, no_rendering):
    source = dump(tmp_path / "cu.dump")
    before = source.read_bytes()
    assert run("classify", source, "-o", tmp_path, "--format", "dump") == 0
    assert source.read_bytes() == before
    assert (tmp_path / "cu.labelled.dump").exists()


def test_settings_reach_the_modifier(tmp_path, no_rendering, fake):
    out = tmp_path / "out"
    options = [
        "--phases",
        "BCC,HCP",
        "--prior",
        "frame",
        "--confidence-threshold",
        "0.2",
        "--species",
        "ignore",
        "--length-scale",
        "2.3",
    ]
    assert run("classify", dump(tmp_path / "cu.dump"), "-o", out, *options) == 0
    assert {row["phase"] for row in rows(out / "cu.phases.csv")} == {"OTHER", "BCC", "HCP"}
    assert fake.frames[0].species_names == ("all atoms",)
    assert fake.length_scales == [2.3]


def test_selected_atoms(tmp_path, no_rendering):
    out = tmp_path / "out"
    assert run("classify", dump(tmp_path / "cu.dump"), "-o", out, "--select", "Position.Z < 5") == 0
    table = rows(out / "cu.phases.csv")
    assert 0 < int(table[0]["n_atoms"]) < 256
    assert sum(int(row["count"]) for row in table) == int(table[0]["n_atoms"])
    assert import_file(str(out / "cu.xyz")).compute().particles.count == 256


def test_no_cell_is_a_note(tmp_path, capsys, no_rendering):
    path = tmp_path / "cluster.xyz"
    positions, _ = fcc(2)
    path.write_text("32\n\n" + "\n".join("Cu {:.3f} {:.3f} {:.3f}".format(*row) for row in positions) + "\n")
    assert run("classify", path, "-o", tmp_path / "out") == 0
    captured = capsys.readouterr()
    assert "there is no simulation cell: open boundaries on all sides" in captured.out + captured.err
    assert "Traceback" not in captured.err
    counts = {row["phase"]: int(row["count"]) for row in rows(tmp_path / "out" / "cluster.phases.csv")}
    assert counts["FCC"] == 32  # all at x < 7


@pytest.mark.slow
def test_rendered_or_drawn_picture(tmp_path, capsys):
    assert run("classify", dump(tmp_path / "cu.dump"), "-o", tmp_path / "out") == 0
    assert (tmp_path / "out" / "cu.frame.png").read_bytes().startswith(b"\x89PNG")


def test_renderer_that_dies_or_hangs_costs_a_note(tmp_path, monkeypatch):
    positions, _ = fcc(2)
    kinds = ((1, "FCC", (0.4, 1.0, 0.4)),)
    phase = np.ones(32, dtype=np.int32)
    atoms = FrameAtoms(positions=positions.astype(np.float32), phase=phase, cell=None, kinds=kinds)
    summary = summarise(phase, np.ones(32, np.float32), kinds, frame=0, timestep=None)

    def hang(*args, **keywords):
        raise subprocess.TimeoutExpired("python", 1)

    def die(*args, **keywords):
        return subprocess.CompletedProcess(args, -11, "", "")

    for fault, text in ((hang, "longer"), (die, "status -11")):
        monkeypatch.setattr(picture.subprocess, "run", fault)
        path = tmp_path / "frame.png"
        assert text in picture.draw_sheet(path, lambda frame: atoms, [(summary, "")], {"FCC": kinds[0][2]}, "title")
        assert path.read_bytes().startswith(b"\x89PNG")
        path.unlink()


# ---------------------------------------------------------------- small parts


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (":", range(10)),
        ("3", range(3, 4)),
        ("-1", range(9, 10)),
        ("2:5", range(2, 5)),
        ("::4", range(0, 10, 4)),
        ("-3:", range(7, 10)),
        ("5:1:-2", range(5, 1, -2)),
    ],
)
def test_frames(spec, expected):
    assert list(files.parse_frames(spec, 10)) == list(expected)


@pytest.mark.parametrize("spec", ["", "x", "1:2:3:4", "::0", "1.5", "20", "5:2", "-11"])
def test_wrong_frames(spec):
    with pytest.raises(InputError, match=r"START:STOP:STEP|none of the 10 frames"):
        files.parse_frames(spec, 10)


def test_stems():
    names = ["a/cu.dump.gz", "b/cu.xyz", "dump.100", "run.tar.GZ", "traj.*.dump"]
    assert files.input_stems([Path(name) for name in names]) == ["cu", "cu_2", "dump.100", "run", "traj.all"]


def test_finished_file_is_whole_or_absent(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("old")

    def write(text: str, fault: bool) -> None:
        with files.finished_file(path) as temporary:
            temporary.write_text(text)
            if fault:
                raise ValueError("fault")

    with pytest.raises(ValueError, match="fault"):
        write("half", fault=True)
    assert path.read_text() == "old"
    write("new", fault=False)
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.csv"]


def test_phases_tells_what_a_model_predicts(capsys):
    assert run("phases", "--model", "mace-phase-6", "--grep", "MONO_HEXAGONAL") == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1].split()[1] == "MONO_HEXAGONAL"
    assert out.splitlines()[1].split()[-1] == "no"
    assert "mace-phase-6 predicts 0 of them" in out
    assert run("phases", "--grep", "laves") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[-1] == "model"
    assert {line.split()[-1] for line in lines[1:4]} == {"yes"}
