"""The suites of `evaluate`: frames checked against independent facts, files written, messages."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from fake_model import FakeModel, as_made_up
from labelled_file import write_labelled
from pipelines import fcc

from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.classification import stages
from ovito_mace_phase.cli import main
from ovito_mace_phase.lab.crystals import SPACING, close_packed, cubic, hexagonal_layers
from ovito_mace_phase.lab.data.npz import oxygens, snapshots_of
from ovito_mace_phase.lab.evaluation import labels as answers
from ovito_mace_phase.lab.evaluation.frames import water
from ovito_mace_phase.lab.evaluation.frames.defects import defect_frames, faulted, faults, point_defect
from ovito_mace_phase.lab.evaluation.frames.paths import PATHS, bain, burgers, fault_stack, omega
from ovito_mace_phase.lab.evaluation.labels import Answer
from ovito_mace_phase.lab.evaluation.mistakes import Tally
from ovito_mace_phase.lab.evaluation.registry import SUITES, load
from ovito_mace_phase.lab.evaluation.report import SuiteSettings, mean_and_std, percent, plain, write
from ovito_mace_phase.lab.evaluation.suites import heldout, nucleus, paths, species
from ovito_mace_phase.lab.ovito_methods import METHODS, ovito_answer, target
from ovito_mace_phase.lab.phase_table.ices import ICES
from ovito_mace_phase.lab.samples.kinds.registry import KINDS
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.runtime.errors import InputError


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code


@pytest.fixture
def fake(monkeypatch):
    model = FakeModel()
    monkeypatch.setattr(PhaseModel, "load", classmethod(lambda cls, path=None: model))
    monkeypatch.setattr(stages, "verified", as_made_up)
    return model


def snapshot(path: Path, positions, species, cell, **fields):
    path.parent.mkdir(exist_ok=True)
    np.savez(path, positions=positions, species=species, cell=cell, pbc=np.ones(3, dtype=bool), **fields)


@pytest.fixture
def frames(tmp_path):
    """A folder with a small snapshot of every kind."""
    folder = tmp_path / "frames"
    positions, cell = fcc(noise=0.05, seed=1)
    zeros = np.zeros(len(positions), dtype=int)
    for number in range(2):
        snapshot(folder / f"hot_Cu_0.9Tm_{number}.npz", positions, zeros, cell, phase="FCC", T_over_Tm=0.9)
    snapshot(folder / "liquid_Cu_1.10Tm_0.npz", positions, zeros, cell)
    snapshot(folder / "liquid_Fe_1.10Tm_0.npz", positions, zeros, cell, phase="OTHER")
    snapshot(folder / "compressed_Ti_10GPa.npz", positions, zeros, cell, pressure=10.0)
    truth = np.where(np.arange(len(positions)) % 4, "FCC", "")
    snapshot(folder / "built_Ti.npz", positions, zeros, cell, truth=truth, pressure=10.0, temperature=300.0)
    snapshot(folder / "piston_Ti_c_0.7kms_02.00ps.npz", positions, zeros, cell, piston=0.7, time=2.0)
    ice = water.ice_frame(next(ice for ice in ICES if ice.key == "ICE_IH"), 300, 14.0)
    doubled = np.concatenate([ice.positions, ice.positions + ice.cell[2]])
    frozen = np.arange(2 * oxygens(ice).sum()) < oxygens(ice).sum()
    cell = ice.cell * np.array([[1], [1], [2]])
    snapshot(folder / "interface_water_0.npz", doubled, np.tile(ice.species, 2), cell, frozen=frozen)
    return folder


# ---------------------------------------------------------------- frames


def cna(frame):
    return ovito_answer(frame, "CNA")


@pytest.mark.parametrize("name", faults(12))
def test_faulted_layers_are_what_common_neighbour_analysis_finds(name):
    defect = faulted(name, faults(12)[name], (4, 3))
    assert (cna(defect.frame) == defect.truth).all()
    assert (defect.truth[defect.region == "hcp layers"] == "HCP").all()


@pytest.mark.parametrize(("name", "layers"), [("intrinsic", [1, 1]), ("extrinsic", [1, 0, 1]), ("twin", [1])])
def test_faults_have_the_textbook_sequence_of_hcp_layers(name, layers):
    steps = next(steps for key, steps in faults(12).items() if key.startswith(name))
    text = "".join("h" if layer else "c" for layer in hexagonal_layers(steps))
    pattern = "".join("h" if layer else "c" for layer in layers)
    assert text.count("h") == sum(layers) * (2 if name == "twin" else 1)  # a periodic twin has two boundaries
    assert pattern in text + text


def test_close_packed_neighbours():
    positions, cell, _ = close_packed([1.0, 2.0, 2.0, 1.0, 1.0], (3, 2))
    edges = neighbour_list(positions, cell, np.ones(3, dtype=bool), 1.2 * SPACING)
    assert (np.diff(edges.offsets) == 12).all()
    assert np.linalg.norm(edges.vectors, axis=1) == pytest.approx(SPACING)


def test_point_defects_have_the_right_number_of_atoms_and_do_not_overlap():
    for phase, per_cell in (("FCC", 4), ("BCC", 2)):
        perfect = per_cell * 4**3
        for kind, change in (("vacancy", -1), ("divacancy", -2), ("dumbbell", 1)):
            defect = point_defect(phase, kind, 4)
            assert len(defect.frame) == perfect + change
            edges = neighbour_list(defect.frame.positions, defect.frame.cell, defect.frame.pbc, 0.75 * SPACING)
            assert edges.n_edges == 0
            if kind != "dumbbell":  # pushing apart may reach further
                assert (cna(defect.frame)[defect.truth != ""] == phase).all()
    # around a vacancy nothing is claimed of its two shells: 12 + 6 and 8 + 6 atoms
    assert (point_defect("FCC", "vacancy", 4).truth == "").sum() == 18
    assert (point_defect("BCC", "vacancy", 4).truth == "").sum() == 14


def test_claims_at_surfaces_hold_for_common_neighbour_analysis():
    surfaces = [defect for defect in defect_frames(small=True) if re.search("slab|particle", defect.name)]
    assert len(surfaces) >= 2
    for defect in surfaces:
        claimed = defect.truth != ""
        assert claimed.any()
        assert not claimed.all()
        assert (cna(defect.frame)[claimed] == defect.truth[claimed]).all()


@pytest.mark.parametrize(("path", "phase"), [(bain, "FCC"), (burgers, "HCP"), (fault_stack, "HCP")])
def test_ends_of_paths_by_common_neighbour_analysis(path, phase):
    start = "FCC" if path is fault_stack else "BCC"
    assert (cna(path(0.0)) == start).all()
    assert (cna(path(1.0)) == phase).all()
    middle = path(0.5)
    volume = [abs(np.linalg.det(frame.cell)) / len(frame) for frame in (path(0.0), middle, path(1.0))]
    assert volume == pytest.approx([volume[0]] * 3)


def test_fault_stack_passes_through_stacked_layers():
    assert (cna(fault_stack(0.5)) == "HCP").mean() == pytest.approx(0.5)  # three of six partials have glided


def test_omega_path_ends_in_omega():
    assert (cna(omega(0.0)) == "BCC").all()
    frame = omega(1.0)
    edges = neighbour_list(frame.positions, frame.cell, frame.pbc, 1.5 * SPACING)
    distance = np.linalg.norm(edges.vectors, axis=1)
    shortest = distance.min()
    shells = np.sort([(distance[edges.offsets[k] : edges.offsets[k + 1]] < 1.01 * shortest).sum() for k in range(3)])
    # ideal omega: honeycomb layers (3 bonds a / sqrt 3) of two atoms, a chain of the third along c = sqrt(3 / 8) a
    assert shells.tolist() == [0, 3, 3]
    volume = abs(np.linalg.det(frame.cell)) / len(frame)
    assert shortest / np.cbrt(volume) == pytest.approx(np.sqrt(2.0 / 3.0) / np.cbrt(0.5))


def test_nuclei_are_found_in_the_cold():
    few = list(nucleus.nuclei(small=True))
    assert [one.phase for one in few] == ["BCC", "HCP"]
    for one in few:
        keys = ovito_answer(one.frame, "CNA")
        assert (keys[one.core] == one.phase).mean() > 0.9
        assert (keys[one.matrix] == "FCC").all()
        cluster = nucleus.largest_cluster(one.frame, one.member, 1.3 * SPACING)
        assert cluster == one.member.sum()


def test_sphere_has_the_density_and_size_asked_for():
    one = nucleus.sphere(11, 0.1)
    assert one.member.mean() == pytest.approx(0.1, abs=0.01)
    assert len(one.frame) == pytest.approx(4 * 11**3, rel=0.03)


def test_molecules_are_moved_as_rigid_bodies(rng):
    frame = water.ice_frame(next(ice for ice in ICES if ice.key == "ICE_VII"), 300, 9.0)
    moved = water.rattled_molecules(frame, 0.1, rng).positions - frame.positions
    oxygen = oxygens(frame)
    assert oxygen.sum() * 3 == len(frame)
    _, count = np.unique(np.round(moved, 9), axis=0, return_counts=True)
    assert (count == 3).all()
    assert moved.std() == pytest.approx(0.1, rel=0.3)


# ---------------------------------------------------------------- methods


@pytest.mark.parametrize(("phase", "methods"), [("FCC", METHODS[:4]), ("BCC", METHODS[:4])], ids=["fcc", "bcc"])
def test_methods_know_perfect_crystals(phase, methods):
    positions, cell = cubic(phase, 5)
    frame = make_frame(positions, None, cell, True)
    for method in methods:
        assert (ovito_answer(frame, method) == target(method, phase)).all(), method


def test_methods_know_ice_by_its_oxygens():
    for key in ("ICE_IH", "ICE_IC"):
        ice = water.ice_frame(next(ice for ice in ICES if ice.key == key), 300, 12.0)
        chosen = oxygens(ice)
        frame = dataclasses.replace(ice, positions=ice.positions[chosen], species=ice.species[chosen])
        for method in ("PTM 0.1", "PTM", "Diamond", "CHILL+"):
            assert (ovito_answer(frame, method) == target(method, key)).all(), (key, method)


def test_methods_without_a_lattice():
    assert target("CNA", "CUBIC_DIAMOND") is None
    assert target("PTM", "OMEGA") is None
    assert target("CHILL+", "FCC") is None
    assert {target(method, "OTHER") for method in METHODS} == {"OTHER"}


# ---------------------------------------------------------------- numbers


def test_crossings_and_roughness():
    x = np.linspace(0.0, 1.0, 11)
    assert paths.crossings(x - 0.33, x) == pytest.approx([0.33])
    assert paths.crossings(np.sin(5 * np.pi * x + 0.4), x) != []
    assert paths.roughness(3.0 * x) == pytest.approx(0.0, abs=1e-12)
    assert paths.roughness(np.where(x > 0.5, 7.0, -2.0)) == pytest.approx(1.0)


def test_spread_and_percent():
    assert mean_and_std([0.5]) == {"mean": 0.5, "spread": 0.0}
    assert mean_and_std([0.0, 1.0])["spread"] == pytest.approx(np.sqrt(0.5))
    assert percent({"mean": 0.991, "spread": 0.003}) == "99.1 ± 0.3"
    assert percent(None) == percent(float("nan")) == "-"
    assert plain({"a": np.float32(np.nan), "b": np.arange(2), "c": np.bool_(True)}) == {
        "a": None,
        "b": [0, 1],
        "c": True,
    }


def test_renumbered_species_are_the_same_atoms():
    frame = make_frame(np.eye(3) * 3, ["a", "b", "c"], None, None)
    other = species.renumbered(frame, (2, 0, 1))
    assert [other.species_names[code] for code in other.species] == ["a", "b", "c"]
    assert other.species.tolist() == [2, 0, 1]


def test_denoising_is_asked_for_only_with_steps(fake, monkeypatch):
    positions, cell = fcc()
    frame = make_frame(positions, None, cell, True)
    assert list(answers.predict(frame, fake)) == answers.columns() == ["default", "local", "uniform", "frame"]
    calls = []

    def denoised(kept, model, settings):
        calls.append(settings.denoise_steps)
        return None, kept

    monkeypatch.setattr(answers, "denoised", denoised)
    found = answers.predict(frame, fake, denoise_steps=3)
    assert list(found) == answers.columns(3)
    assert calls == [3]
    assert (found["denoised, uniform"].keys == found["uniform"].keys).all()


# ---------------------------------------------------------------- suites and command


FIGURES = {"thermal", "paths", "coexistence", "shock", "piston"}


@pytest.fixture(scope="module")
def shipped():
    return PhaseModel.load()


def by_default(rows) -> list[float]:
    """Shares of right atoms of the labels that users get."""
    found = [row["right"]["default"] for row in rows]
    return [one["mean"] if isinstance(one, dict) else one for one in found]


def thermal_numbers(found):
    (row,) = found["rows"]
    assert (row["material"], row["n_snapshots"], found["n_atoms"]) == ("Cu", 2, 512)
    assert by_default([row]) == [1.0]
    assert found["mistakes"]["0.90 Tm"]["default"]["ece"] < 0.03


def melts_numbers(found):
    """The snapshots that are called melts here are warm crystals."""
    assert [row["system"] for row in found["rows"]] == ["liquid Cu", "liquid Fe"]
    for row in found["rows"]:
        assert (row["crystal"]["default"]["mean"], row["other"]["default"]["mean"]) == (1.0, 0.0)
        assert row["commonest"] == "FCC 100.0%"


def defects_numbers(found):
    rows = {(row["defect"], row["region"]): row for row in found["rows"]}
    assert len(found["rows"]) == 23
    assert min(by_default(rows.values())) > 0.97
    assert {defect for defect, region in rows if region == "hcp layers"} == {
        "intrinsic fault in FCC", "extrinsic fault in FCC", "twin in FCC", "fault I1 in HCP", "DHCP", "9R",
    }  # fmt: skip


def cna_numbers(found):
    """Surfaces of crystals at rest are Other, all of them and nothing else."""
    rows = {(row["frame"], row["heat"]): row for row in found["rows"]}
    assert len(rows) == 2 * 19
    for (kind, heat), row in rows.items():
        if heat == "at rest" and ("slab" in kind or "particle" in kind):
            assert (row["other"]["this package"], row["kept"]["this package"]) == (1.0, 1.0), kind
    for heat in ("at rest", "300 K"):
        kept = [row["kept"]["this package"] for row in found["rows"] if row["heat"] == heat]
        assert np.mean(kept) > 0.95


def paths_numbers(found):
    for row in found["rows"]:
        assert (row["label"][0], row["label"][-1]) == (row["start"], row["end"])
        (crossing,) = row["crossings"]
        assert 0.2 < crossing < 0.7
        assert row["op_start"][0] > row["op_end"][0] + 3
        assert row["op_end"][-1] > row["op_start"][-1] + 3
    assert len(found["rows"]) == 4


def alloys_numbers(found):
    assert len(found["rows"]) == 9
    assert min(by_default(found["rows"])) > 0.95
    assert all(row["right"]["merged"]["mean"] == 1.0 for row in found["rows"])


def ices_numbers(found):
    assert [row["phase"] for row in found["rows"]] == ["ICE_IH", "ICE_IC"]
    assert by_default(found["rows"]) == [1.0, 1.0]


def coexistence_numbers(found):
    assert [row["region"] for row in found["rows"]] == ["OTHER", "FCC"]
    assert by_default(found["rows"]) == [1.0, 1.0]
    assert found["profile_fcc"]["default"][4:12] == [0.0] * 8
    assert min(found["profile_fcc"]["default"][17:26]) == 1.0


def interface_numbers(found):
    """Both halves of the snapshot are ice Ih, one of them is called water here."""
    assert {name: value["mean"] for name, value in found["methods"]["default"].items()} == {
        "agreement": 0.5, "ice found": 1.0, "water found": 0.0, "Ih in the ice": 1.0,
    }  # fmt: skip


def shock_numbers(found):
    (row,) = found["rows"]
    assert row["pressure"] == 10.0
    assert row["shares"]["default"]["FCC"] == 1.0
    assert row["confidence"] > 0.97


def titanium_numbers(found):
    """Three quarters of the atoms count."""
    (row,) = found["rows"]
    assert (row["phase"], row["beside"], row["atoms"]) == ("FCC", "-", 192)
    assert set(row["right"]) >= {"default", "local", "uniform", "frame", "PTM", "PTM 0.1", "CNA"}
    assert (row["right"]["default"], row["right"]["PTM"]) == (1.0, 1.0)
    (kinds,) = found["mistakes"].values()
    assert [kinds["default"][name] for name in ("atoms", "right", "Other", "wrong", "sure and wrong")] == [
        192,
        1,
        0,
        0,
        0,
    ]


def piston_numbers(found):
    (one,) = found["snapshots"]
    assert sum(one["atoms"]) == 256
    assert one["z"] == [0.0]
    assert one["shares"]["default"][0]["FCC"] == 1.0


def species_numbers(found):
    assert found["worst"] == 0.0
    assert [row["frame"] for row in found["rows"]] == [
        f"{key}, noise {noise}" for key in ("ROCKSALT", "CSCL") for noise in ("0", "0.08")
    ]
    assert all(row["confidence"] < 1e-3 for row in found["rows"])


def orientation_numbers(found):
    """Ideal crystals give their rotation and strain, with noise those of PTM."""
    turned = {(row["phase"], row["noise"]): row for row in found["turned"]}
    assert sorted(turned) == sorted(
        (key, noise) for key in ("FCC", "HCP", "RUTILE", "PEROVSKITE") for noise in (0, 0.03)
    )
    for (key, noise), row in turned.items():
        assert row["share"] > 0.99
        assert row["angle"] <= row["angle_95"]
        assert row["angle_95"] < (3.0 if noise else 1e-3)
        assert (row["ptm"] is None) == (row["from_ptm"] is None) == (key not in ("FCC", "HCP"))
        if row["ptm"] is not None:
            assert row["from_ptm"] < 0.01
            assert row["angle"] == pytest.approx(row["ptm"], abs=0.01)
    strained = found["strained"]
    assert len(strained) == 2 * 2 * 2
    assert {(row["phase"], row["size"]) for row in strained} == {("FCC", 0.05), ("BCC", 0.05)}
    for row in strained:
        assert row["worst"] <= row["kept"]
        assert row["worst"] > 0.99
        assert row["error"] < (0.05 if row["noise"] else 1e-6)


def interchangeable_numbers(found):
    rows = {row["kind"]: row for row in found["rows"]}
    assert all(row["n_frames"] == (3 if "," in kind and "L1_2" not in kind else 2) for kind, row in rows.items())
    wrong = {kind: row["wrong"] for kind, row in rows.items() if row["right"] < 1.0 and kind != "L1_2 precipitate"}
    assert sum(len(frames) for frames in wrong.values()) <= 1, wrong


def nucleus_numbers(found):
    for method in ("default", "local"):
        rows = {row["nucleus"]: row for row in found["rows"] if row["method"] == method}
        sphere, lamella = rows["BCC sphere in FCC"], rows["HCP lamella of 2 layers in FCC"]
        assert sphere["core"] > 0.9
        assert 0.2 < sphere["all"] < 0.9  # a sphere of bcc in fcc has a wide front, nearly all of it Other
        assert lamella["core"] > 0.9
        assert lamella["cluster"] >= 0.9 * lamella["size"]
        assert all(row["false"] == 0.0 for row in rows.values())


def denoise_numbers(found):
    assert len(found["crystals"]) == 3
    for row in found["crystals"]:
        assert row["sigma"] == 0.1
        assert 0.001 < row["residual"] < row["one_step"] < 0.9  # steps and average take noise off, not all
        labels = row["labels"]
        assert labels["denoised, default"] >= labels["default"] > 0.9
        assert labels["denoised, local"] >= labels["local"] > 0.9


def field_numbers(found):
    rows = {row["kind"]: row for row in found["rows"]}
    assert set(rows) == set(KINDS) - {"other prototypes"}
    kinds = found["mistakes"]
    assert set(kinds) >= set(rows) - {"cages and tubes", "single layers"}  # of some nothing is claimed
    for name in kinds:
        row = rows[name]
        parts = [kinds[name]["default"][what] for what in ("right", "Other", "wrong")]
        assert sum(parts) == pytest.approx(1.0, abs=1e-3)
        assert row["right"]["default"] == pytest.approx(parts[0], abs=1e-3)
    assert np.mean([rows[name]["right"]["default"] for name in kinds]) > 0.5


NUMBERS = {
    "field": field_numbers,
    "thermal": thermal_numbers,
    "melts": melts_numbers,
    "defects": defects_numbers,
    "cna": cna_numbers,
    "paths": paths_numbers,
    "alloys": alloys_numbers,
    "ices": ices_numbers,
    "coexistence": coexistence_numbers,
    "interface": interface_numbers,
    "shock": shock_numbers,
    "titanium": titanium_numbers,
    "piston": piston_numbers,
    "interchangeable": interchangeable_numbers,
    "orientation": orientation_numbers,
    "species": species_numbers,
    "nucleus": nucleus_numbers,
    "denoise": denoise_numbers,
}


def test_every_suite_is_measured_here():
    assert set(NUMBERS) | {"heldout", "unlisted"} == set(SUITES)


@pytest.mark.parametrize("name", NUMBERS)
def test_suite_of_the_shipped_model(name, shipped, frames, tmp_path):
    """Small frames: the numbers that the shipped model must reach, and the files that tell them."""
    steps = {"denoise": 2}.get(name, 0)
    report = load(name)(shipped, SuiteSettings(frames=(frames,), quick=True, denoise_steps=steps))
    files = write(report, tmp_path, name, {"suite": name, "seed": 0})
    assert [path.name for path in files] == [
        f"{name}.{kind}" for kind in ("json", "md", "png")[: 2 + (name in FIGURES)]
    ]
    numbers = json.loads(files[0].read_text())
    assert numbers["suite"] == name
    NUMBERS[name](numbers)
    lines = [line for line in files[1].read_text().splitlines() if line.startswith("|")]
    assert len(lines) > 2
    if name in FIGURES:
        assert files[2].read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == sorted(path.name for path in files)


def test_unlisted_of_the_shipped_model(shipped, tmp_path, rng):
    """Crystals of a phase that the model has, once listed and once under a label of no phase."""
    phases = [phase for phase in shipped.phases if phase.key in {"FCC", "HCP", "L1_2"}]
    data = write_labelled(tmp_path / "data.npz", phases, rng, n_each=30, unlisted=("L1_2",))
    found = load("unlisted")(shipped, SuiteSettings(data=data)).numbers
    for name in ("default", "local"):
        for row in found["unlisted"]:  # of L1_2, which it knows: neither Other nor doubted
            labels = row["labels"][name]
            assert labels["label"] == "L1_2"
            assert labels["other"] <= labels["doubted"] < 0.3
        assert {row["labels"][name]["label"] for row in found["listed"]} == {"FCC", "HCP"}
    assert found["unlisted"]


def test_unlisted_counts_what_is_doubted(fake, tmp_path, rng):
    phases = [phase for phase in fake.phases if phase.key in {"FCC", "HCP", "L1_2"}]
    data = write_labelled(tmp_path / "data.npz", phases, rng, n_each=30, unlisted=("L1_2",))
    report = load("unlisted")(fake, SuiteSettings(data=data))
    write(report, tmp_path, "unlisted", {"suite": "unlisted", "seed": 0})
    rows = report.numbers["unlisted"]
    assert {row["source"].split("-")[-1] for row in rows} == {"L1_2"}
    assert all(row["n_species"] == 2 for row in rows)
    labels = [row["labels"]["local"] for row in rows]
    assert all(one["other"] == one["doubted"] == 0.0 for one in labels)  # the fake is sure of fcc and hcp
    assert {row["labels"]["local"]["label"] for row in report.numbers["listed"]} == {"FCC", "HCP"}
    with pytest.raises(InputError, match="--data"):
        load("unlisted")(fake, SuiteSettings())


def test_thermal_counts_right_atoms(fake, frames):
    row = load("thermal")(fake, SuiteSettings(frames=(frames,))).numbers["rows"][0]
    x = fcc(noise=0.05, seed=1)[0][:, 0]
    assert row["right"]["uniform"] == {"mean": pytest.approx((x < 7.0).mean()), "spread": 0.0}
    assert row["right"]["PTM"]["mean"] == 1.0
    assert row["right"]["Diamond"] is None
    assert row["n_snapshots"] == 2


def test_melts_say_what_was_trained_on(fake, frames):
    from ovito_mace_phase.lab.data.structures import part_of

    fake.card = {"name": "fake", "training": {"settings": {"seed": 5}}}
    rows = load("melts")(fake, SuiteSettings(frames=(frames,))).numbers["rows"]
    assert [row["system"] for row in rows] == ["liquid Cu", "liquid Fe"]
    for row in rows:
        assert (row["part"] == "trained on") == (part_of(f"melt {row['system'].split()[1]}", 5) == "train")
        assert row["other"]["uniform"]["mean"] == 0.0  # the fake knows crystals only


def test_heldout_measures_fresh_samples_in_every_way():
    settings = SuiteSettings(quick=True)  # without data: the reference cells of the first three phases
    fresh = heldout.measure(PhaseModel.load(), settings)
    assert len(fresh.rows) == 3
    (counts,) = fresh.tally.numbers().values()
    assert list(counts) == list(fresh.rows[0]["phase"]) == ["default", *answers.PRIORS]
    for name, found in counts.items():
        assert all(0.8 < row["phase"][name] <= row["group"][name] <= 1.0 for row in fresh.rows)
        assert found["ece"] < 0.2
    means, atoms, worst = fresh.tables()
    assert [row[0] for row in means.rows] == list(counts)
    assert [row[1] for row in atoms.rows] == ["default", "local"]
    assert len(worst.rows) <= 3


def test_tally_counts_what_is_right_other_and_wrong():
    tally = Tally()
    inside = np.array([True] * 5 + [False])
    keys = np.array(["FCC", "HCP", "HCP", "OTHER", "L1_2", "FCC"])
    confidence = np.array([1.0, 0.95, 0.5, 0.99, 0.9, 0.0], dtype=np.float32)
    tally.add("frame", {"default": Answer(keys=keys, confidence=confidence)}, ["FCC", "L1_2"], inside)
    tally.add("melt", {"default": Answer(keys=keys, confidence=confidence)}, "OTHER")
    found = tally.numbers()
    assert found["frame"]["default"] == {
        "atoms": 5, "right": 0.4, "Other": 0.2, "wrong": 0.4, "sure and wrong": 0.2,
        "ece": pytest.approx((0.95 + 0.99 + 0.5 + 0.1) / 5),  # three bins
    }  # fmt: skip
    assert found["melt"]["default"]["right"] == pytest.approx(1 / 6)
    assert found["melt"]["default"]["Other"] == 0.0  # Other is right in a melt
    assert found["melt"]["default"]["sure and wrong"] == pytest.approx(3 / 6)
    assert [row[:3] for row in tally.table().rows] == [("frame", "default", 5), ("melt", "default", 6)]
    confidence, right = tally.pooled("default")
    assert (len(confidence), right.sum()) == (11, 3)


def test_heldout_tells_the_model_card(tmp_path):
    report = load("heldout")(PhaseModel.load(), SuiteSettings())
    assert {table.title for table in report.tables} == {"Parts of the split", "Every phase"}
    assert report.numbers["scores"] == PhaseModel.load().card["scores"]


def test_command(fake, frames, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("evaluate", "thermal", "species", "--quick", "--frames", frames, "--seed", 7, "-o", out) == 0
    text = capsys.readouterr().out
    assert "model fake, seed 7" in text
    assert sorted(path.name for path in out.iterdir()) == [
        *("species.json", "species.md", "thermal.json", "thermal.md", "thermal.png")
    ]
    assert json.loads((out / "species.json").read_text())["seed"] == 7


def test_list(capsys):
    assert run("evaluate", "--list") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(SUITES)


def test_unknown_suite(tmp_path, capsys):
    assert run("evaluate", "termal", "-o", tmp_path / "out") == 2
    text = capsys.readouterr().err
    assert "no suite 'termal' (did you mean thermal?)" in text
    assert "coexistence" in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("suite", "script"),
    [
        *(("thermal", "hot"), ("melts", "melts"), ("interface", "interface"), ("shock", "shock")),
        *(("titanium", "titanium"), ("piston", "piston")),
    ],
)
def test_missing_frames(suite, script, fake, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for given in ([], ["--frames", tmp_path / "none"], ["--frames", tmp_path / "empty"]):
        assert run("evaluate", suite, *given, "-o", tmp_path / "out") == 2
        assert f"sample_dumps/make_{script}.py -o DIR" in capsys.readouterr().err


def test_model_without_scores(fake, tmp_path, capsys):
    assert run("evaluate", "heldout", "-o", tmp_path / "out") == 2
    assert "holds no held-out scores" in capsys.readouterr().err


def test_bad_frozen_mask(fake, frames, tmp_path, capsys):
    (one,) = snapshots_of((frames,), "interface")
    arrays = {**one.arrays, "frozen": one.arrays["frozen"][:-1]}
    np.savez(tmp_path / "bad.npz", **arrays)
    assert run("evaluate", "interface", "--frames", tmp_path, "-o", tmp_path / "out") == 2
    assert "one value per molecule" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("truth", "message"), [(["FCC"], "one value per atom"), (["ALPHABET"] * 256, "no phase of the")]
)
def test_bad_truth(truth, message, fake, frames, tmp_path, capsys):
    (one,) = snapshots_of((frames,), "built")
    np.savez(tmp_path / "bad.npz", **{**one.arrays, "truth": np.array(truth)})
    assert run("evaluate", "titanium", "--frames", tmp_path, "-o", tmp_path / "out") == 2
    assert message in capsys.readouterr().err


def test_every_path_is_listed_once():
    assert len({path.name for path in PATHS}) == len(PATHS) == 4
