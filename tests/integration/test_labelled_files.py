"""What the command wrote, opened again: coloured, typed, with times and all columns; never in place of another run."""

from __future__ import annotations

import os

import ase.io
import numpy as np
import ovito
import pytest
from command_line import run
from fake_model import SPLIT, install
from ovito.io import import_file
from ovito.modifiers import ColorByTypeModifier, ColorCodingModifier, SelectTypeModifier, TimeSeriesModifier
from pipelines import fcc

from ovito_mace_phase.trajectory.workers import Workers

N_FRAMES = 3


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    return install(monkeypatch)


def source(path, rng, names):
    """Frames of fcc that drift along x, with times, an attribute, forces, a number and a text for each atom."""
    comment = 'Lattice="14.4 0 0 0 14.4 0 0 0 14.4" Time={} Timestep={} load="a b" Properties={}\n'
    columns = "species:S:1:pos:R:3:forces:R:3:epot:R:1:tag:S:1"
    kinds = rng.integers(2, size=256)
    with path.open("w") as stream:
        for frame in range(N_FRAMES):
            places = fcc(noise=0.02, seed=int(rng.integers(10**6)))[0] + [2.0 * frame, 0.0, 0.0]
            stream.write("256\n" + comment.format(0.5 * frame, 10 * frame, columns))
            for atom, (x, y, z) in enumerate(places):
                stream.write(f"{names[kinds[atom]]} {x:.6f} {y:.6f} {z:.6f} 1 2 3 {-atom} x{atom % 3}\n")
    return path


@pytest.mark.parametrize("kind", ["xyz", "dump"])
def test_a_labelled_file_is_labelled_again(tmp_path, rng, kind, no_rendering):
    """Its labels come back as columns of other types, which OVITO alone would not write over."""
    given = source(tmp_path / "in.xyz", rng, ("Cu", "Ni"))
    first, again = tmp_path / "first", tmp_path / "again"
    assert run("classify", given, "-o", first, "--format", kind, "--frames", "0", "--no-picture") == 0
    assert run("classify", first / f"in.{kind}", "-o", again, "--no-picture") == 0
    once, twice = (import_file(str(path)).compute() for path in (first / f"in.{kind}", again / "in.xyz"))
    phase, confidence = ("Phase", "Confidence") if kind == "xyz" else ("phase", "confidence")
    np.testing.assert_array_equal(once.particles[phase][...], twice.particles["Phase"][...])
    np.testing.assert_allclose(once.particles[confidence][...], twice.particles["Confidence"][...], rtol=1e-6)


@pytest.mark.parametrize("names", [("Cu", "Ni"), ("1", "2"), ("wall", "film")])
@pytest.mark.parametrize("kind", ["xyz", "dump"])
def test_a_labelled_file_opens_as_it_was_meant(tmp_path, rng, kind, names, no_rendering):
    given = source(tmp_path / "in.xyz", rng, names)
    out = tmp_path / "out"
    assert run("classify", given, "-o", out, "--format", kind, "--session", "--no-picture") == 0
    line = import_file(str(out / f"in.{kind}"))
    assert line.num_frames == N_FRAMES
    last = line.compute(N_FRAMES - 1)
    n_left = int((np.asarray(import_file(str(given)).compute(N_FRAMES - 1).particles.positions)[:, 0] < SPLIT).sum())
    assert last.attributes["Timestep"] == 10 * (N_FRAMES - 1)
    assert last.attributes["Time"] == 0.5 * (N_FRAMES - 1)
    phase = "Phase" if kind == "xyz" else "phase"  # OVITO makes the names of columns of a dump small
    numbers = np.asarray(last.particles[phase])
    assert (numbers == 1).sum() == n_left
    assert len(np.unique(last.particles.colors, axis=0)) == 2
    np.testing.assert_allclose(last.particles["epot"], -np.arange(256))
    assert np.asarray(last.particles["Force"])[7].tolist() == [1, 2, 3]
    if names != ("1", "2"):
        assert {one.name for one in last.particles.particle_types.types} == set(names)
    if kind == "xyz":
        assert last.attributes["load"] == "a b"
        assert set(last.particles["tag"][...]) == {"x0", "x1", "x2"}
    line.modifiers.append(SelectTypeModifier(property="Structure Type", types={"FCC" if kind == "xyz" else 1}))
    line.modifiers.append(ColorByTypeModifier(property="Structure Type"))
    line.modifiers.append(ColorCodingModifier(property=phase))
    line.modifiers.append(TimeSeriesModifier(operate_on="SelectType.num_selected", time_attribute="Timestep"))
    series = line.compute(N_FRAMES - 1)
    assert series.attributes["SelectType.num_selected"] == n_left
    assert len(series.tables["time-series"].y) == N_FRAMES


@pytest.mark.parametrize("names", [("Cu", "Ni"), ("1", "2"), ("wall", "film")])
def test_ase_reads_it(tmp_path, rng, names, no_rendering):
    assert run("classify", source(tmp_path / "in.xyz", rng, names), "-o", tmp_path, "--no-picture") == 0
    frames = ase.io.read(tmp_path / "in.labelled.xyz", ":")
    assert len(frames) == N_FRAMES
    last = frames[-1]
    assert last.info["Timestep"] == 10 * (N_FRAMES - 1)
    keys = {1: "FCC", 2: "HCP"}
    assert [keys[number] for number in last.arrays["Phase"]] == last.arrays["structure_type"].tolist()
    if names == ("Cu", "Ni"):
        assert set(last.get_chemical_symbols()) == set(names)


@pytest.mark.parametrize("kind", ["xyz", "dump"])
def test_the_session_has_the_phases_as_coloured_types(tmp_path, rng, kind, no_rendering):
    given = source(tmp_path / "in.xyz", rng, ("Cu", "Ni"))
    out = tmp_path / "out"  # in the folder above is a file of the same name
    assert run("classify", given, "-o", out, "--format", kind, "--session", "--no-picture") == 0
    before = len(ovito.scene.pipelines)
    assert before == 0
    out.rename(tmp_path / "moved")
    ovito.scene.load(str(tmp_path / "moved" / "in.ovito"))
    (line,) = ovito.scene.pipelines
    try:
        for frame in (N_FRAMES - 1, 0):
            particles = line.compute(frame).particles
            types = {one.id: (one.name, tuple(one.color)) for one in particles["Structure Type"].types}
            assert [types[number][0] for number in sorted(types)] == ["OTHER", "FCC", "HCP"]
            colors = np.array([types[number][1] for number in particles["Structure Type"][...]])
            np.testing.assert_allclose(particles.colors, colors, atol=1e-6)
    finally:
        line.remove_from_scene()


def test_results_are_not_replaced_unasked(tmp_path, rng, capsys, no_rendering):
    (tmp_path / "a").mkdir()
    first = source(tmp_path / "in.xyz", rng, ("Cu", "Ni"))
    second = source(tmp_path / "a" / "in.xyz", rng, ("Cu", "Ni"))
    out = tmp_path / "out"
    assert run("classify", first, "-o", out, "--report") == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert all(name.startswith("in.") for name in before)
    assert run("classify", second, "-o", out) == 2
    assert "--force" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert run("classify", second, "-o", out, "--force", "--no-picture") == 0
    assert {path.name for path in out.iterdir()} == {"in.xyz", "in.phases.csv", "in.phases.png"}


def test_a_file_that_does_not_say_what_its_columns_are(tmp_path, capsys, no_rendering):
    places, cell = fcc()
    plain = tmp_path / "plain.xyz"
    plain.write_text("256\n\n" + "".join(f"{-k} Cu {x} {y} {z}\n" for k, (x, y, z) in enumerate(places)))
    columns = "epot,Particle Type,Position.X,Position.Y,Position.Z"
    assert run("classify", plain, "-o", tmp_path / "out", "--columns", columns, "--no-picture") == 0
    found = import_file(str(tmp_path / "out" / "plain.xyz")).compute().particles
    np.testing.assert_allclose(found.positions, places, atol=1e-5)
    np.testing.assert_allclose(found["epot"], -np.arange(256))
    data = tmp_path / "full.data"
    bounds = "".join(f"0 {cell[0, 0]} {axis}lo {axis}hi\n" for axis in "xyz")
    rows = "".join(f"{k + 1} 1 1 0.0 {x} {y} {z}\n" for k, (x, y, z) in enumerate(places))
    data.write_text(f"copper\n\n256 atoms\n1 atom types\n{bounds}\nAtoms\n\n{rows}")
    assert run("classify", data, "-o", tmp_path / "out", "--atom-style", "full", "--no-picture") == 0
    assert run("classify", plain, "-o", tmp_path / "no", "--atom-style", "full") == 2
    assert "atom_style" in capsys.readouterr().err


def test_no_more_jobs_than_cores():
    with pytest.warns(UserWarning, match="one for each core"):
        pool = Workers(jobs=(os.cpu_count() or 1) + 5).pool("cpu")
    pool.close(now=True)


def test_a_session_of_the_user_stays(tmp_path, rng, no_rendering):
    given = source(tmp_path / "in.xyz", rng, ("Cu", "Ni"))
    own = tmp_path / "out" / "in.ovito"
    own.parent.mkdir()
    own.write_bytes(b"mine")
    assert run("classify", given, "-o", own.parent, "--session", "--no-picture") == 2
    assert own.read_bytes() == b"mine"
    assert run("classify", given, "-o", own.parent, "--force", "--no-picture") == 0
    assert own.read_bytes() == b"mine"
    assert run("classify", given, "-o", own.parent, "--force", "--session", "--no-picture") == 0
    assert own.read_bytes() != b"mine"
