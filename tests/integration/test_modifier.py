"""The modifier in real pipelines: outputs, parameters, caching, cancelling, session files, downstream use."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import numpy as np
import ovito
import pytest
from fake_model import SPLIT, install
from our_threads import threads_at_work
from ovito.data import DataTable
from ovito.io import export_file, import_file
from ovito.modifiers import ColorCodingModifier, ExpressionSelectionModifier, HistogramModifier, SelectTypeModifier
from ovito.pipeline import Pipeline
from pipelines import collection, copper, fcc, pipeline

from ovito_mace_phase import MacePhaseModifier, classify, phase_table
from ovito_mace_phase.model.registry import DEFAULT

OLD_OVITO = ovito.version < (3, 17)
NAMES_IN_XYZ = pytest.mark.skipif(OLD_OVITO, reason="OVITO before 3.17 declares the names of phases as integers")


@pytest.fixture
def fake(monkeypatch):
    return install(monkeypatch)


def scores(data) -> list[str]:
    return sorted(name for name in set(data.particles.keys()) if name.startswith("OP_"))


def left(data) -> np.ndarray:
    return np.asarray(data.particles.positions)[:, 0] < SPLIT


# ---------------------------------------------------------------- outputs


def test_outputs_per_atom(fake):
    data = copper(MacePhaseModifier()).compute()
    phase = data.particles["Phase"]
    assert phase.dtype == np.int32
    np.testing.assert_array_equal(phase, np.where(left(data), 1, 2))
    assert [(kind.id, kind.name) for kind in phase.types] == [(0, "OTHER"), (1, "FCC"), (2, "HCP")]
    for kind in phase.types:
        np.testing.assert_allclose(kind.color, phase_table().by_id(kind.id).color, atol=1e-6)
    confidence = np.asarray(data.particles["Confidence"])
    assert confidence.dtype == np.float32
    assert ((confidence > 0) & (confidence <= 1)).all()
    np.testing.assert_allclose(data.particles["Phase Margin"], 1.0, atol=1e-6)
    assert scores(data) == ["OP_FCC", "OP_HCP"]
    np.testing.assert_allclose(data.particles["OP_FCC"], np.where(left(data), 0.0, -8.0))
    np.testing.assert_allclose(
        data.particles["Color"], np.where(left(data)[:, None], [0.4, 1, 0.4], [1, 0.4, 0.4]), atol=1e-6
    )


def test_global_outputs(fake):
    data = copper(MacePhaseModifier(order_parameters="FCC,LAVES_C15", prior="frame")).compute()
    n_left = int(left(data).sum())
    counts = {
        name.split(".")[-1]: value for name, value in data.attributes.items() if name.startswith("MacePhase.counts.")
    }
    absent = dict.fromkeys(("BCC", "ICO", "SC", "CUBIC_DIAMOND", "HEX_DIAMOND", "GRAPHENE"), 0)  # PTM's, always there
    assert counts == {"OTHER": 0, "FCC": n_left, "HCP": 256 - n_left, "LAVES_C15": 0, **absent}
    assert data.attributes["MacePhase.fractions.FCC"] == pytest.approx(n_left / 256)
    assert data.attributes["MacePhase.model"] == "fake"
    assert data.attributes["MacePhase.settings.prior"] == "frame"
    assert data.attributes["MacePhase.warnings"] == ""
    table = data.tables["mace-phase"]
    assert table.title == "Phase counts"
    assert table.plot_mode == DataTable.PlotMode.BarChart
    shown = dict(zip([kind.name for kind in table.x.types], table.y, strict=True))
    assert shown == {"OTHER": 0, "FCC": n_left, "HCP": 256 - n_left, "LAVES_C15": 0}
    assert [kind.id for kind in table.x.types] == list(table.x)


def test_the_default_prior_lets_a_stray_atom_join_those_around_it(monkeypatch):
    stray = int(np.argmin(np.abs(fcc()[0][:, 0] - 3.6)))  # far from the boundary between the two halves
    install(monkeypatch, stray=stray)
    found = {prior: copper(MacePhaseModifier(prior=prior)).compute().particles for prior in ("local", "uniform")}
    assert [found[prior]["Phase"][stray] for prior in found] == [1, 3]
    others = np.delete(np.arange(256), stray)
    np.testing.assert_array_equal(found["local"]["Phase"][others], found["uniform"]["Phase"][others])
    # the confidence of an atom that joins is the mean of what those around it say; its logits stay
    assert 0.1 < found["local"]["Confidence"][stray] != found["uniform"]["Confidence"][stray]
    assert MacePhaseModifier().prior == "local"


def test_outputs_of_the_shipped_model():
    """The same properties, attributes and tables, with the numbers of `classify`."""
    positions, cell = fcc(noise=0.12, seed=5)
    settings = {"order_parameters": "FCC, BCC", "distances": True, "compatibility": "PTM", "confidence_threshold": 0.2}
    modifier = MacePhaseModifier(**settings)
    line = pipeline(collection(positions, cell, types=np.ones(256), names={1: "Cu"}), modifier)
    data = line.compute()
    result = classify(positions, None, cell, True, confidence_threshold=0.2)
    assert result.counts() == {"FCC": 256}
    for name, expected in {
        "Phase": result.phase,
        "Structure Type": result.phase,
        "Confidence": result.confidence,
        "Phase Margin": result.margin,
        "OP_FCC": result.order_parameter("FCC"),
        "OP_BCC": result.order_parameter("BCC"),
        "Color": np.tile([0.4, 1.0, 0.4], (256, 1)),
    }.items():
        np.testing.assert_allclose(data.particles[name], expected, rtol=1e-5, atol=1e-5, err_msg=name)
    # three directions of 0.12, a little less since the atoms around it are shaken too
    assert np.mean(data.particles["Distance_FCC"]) == pytest.approx(0.12 * np.sqrt(3), rel=0.2)
    assert np.mean(data.particles["Distance_BCC"]) > 3 * np.mean(data.particles["Distance_FCC"])
    attributes = {name: value for name, value in data.attributes.items() if value and "settings" not in name}
    assert attributes == {
        "MacePhase.device": result.device,
        "MacePhase.species": "Cu",
        "MacePhase.classified_atoms": 256,
        "MacePhase.counts.FCC": 256,
        "MacePhase.fractions.FCC": 1.0,
        "MacePhase.model": DEFAULT,
        "PolyhedralTemplateMatching.counts.FCC": 256,
    }
    table = data.tables["mace-phase"]
    counts = dict(zip([kind.name for kind in table.x.types], table.y, strict=True))
    assert counts == {"OTHER": 0, "FCC": 256, "BCC": 0}
    modifier.phases = "BCC, HCP"
    assert set(np.unique(line.compute().particles["Phase"])) <= {0, 2, 3}


def test_types_are_named_by_their_keys_in_whatever_spelling_they_were_asked_for(fake):
    data = copper(MacePhaseModifier(phases="simple  cubic,Cubic diamond hex_diamond; LAVES_C15")).compute()
    assert {kind.name for kind in data.particles["Phase"].types} == {
        "OTHER",
        "SC",
        "CUBIC_DIAMOND",
        "HEX_DIAMOND",
        "LAVES_C15",
    }


def test_input_is_untouched(fake):
    positions, cell = fcc(noise=0.1)
    source = collection(positions, cell, types=np.ones(256), names={1: "Cu"})
    line = pipeline(source, MacePhaseModifier())
    out = line.compute()
    np.testing.assert_array_equal(out.particles.positions, positions)
    np.testing.assert_array_equal(source.particles.positions, positions)
    assert "Phase" not in source.particles


def test_equals_direct_classify(fake):
    from ovito_mace_phase.atoms.frame import make_frame
    from ovito_mace_phase.classification.classify import classify_frame
    from ovito_mace_phase.classification.settings import Settings

    positions, cell = fcc(noise=0.05, seed=3)
    cell = cell + np.array([[0, 0, 0], [1.3, 0, 0], [0.4, -0.7, 0]])
    data = pipeline(collection(positions, cell, types=np.arange(256) % 2 + 1), MacePhaseModifier()).compute()
    frame = make_frame(positions, np.arange(256) % 2, cell, True)
    result = classify_frame(frame, fake, Settings())
    np.testing.assert_array_equal(data.particles["Phase"], result.phase)
    np.testing.assert_array_equal(data.particles["Confidence"], result.confidence)
    np.testing.assert_array_equal(data.particles["Phase Margin"], result.margin)


def test_frame_that_the_network_sees(monkeypatch):
    """Columns of OVITO's cell become rows, its origin does not matter, types of one name are one species."""
    from ovito_mace_phase.plugin.read_atoms import read_atoms

    positions, cell = fcc(2)
    cell = cell + np.array([[0, 0, 0], [1.3, 0, 0], [0.4, -0.7, 0]])
    data = collection(
        positions, cell, types=np.arange(32) % 4 + 1, names={1: "Al", 2: "Ni", 3: "Al"}, pbc=(True, False, True)
    )
    frame = read_atoms(data).frame
    np.testing.assert_allclose(frame.cell, cell)
    assert frame.pbc.tolist() == [True, False, True]
    assert set(frame.species_names) == {"Al", "Ni", "4"}
    assert frame.species[0] == frame.species[2] != frame.species[1]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("1,2", ("Ni,Al",)),
        ("Ni,Al", ("Ni,Al",)),
        ("ignore", ("all atoms",)),
        ("1,5", ("Al", "Ni")),
        ("", ("Al", "Ni")),
    ],
)
def test_species_by_number_or_name(spec, expected):
    from ovito_mace_phase.plugin.read_atoms import read_atoms

    positions, cell = fcc(2)
    data = collection(positions, cell, types=np.arange(32) % 2 + 1, names={1: "Ni", 2: "Al", 5: "Nb"})
    assert read_atoms(data, species=spec).frame.species_names == expected


def test_float32_positions_and_two_dimensional_cell(fake):
    positions, cell = fcc()
    flat = cell.copy()
    flat[2] = 0
    data = pipeline(collection(positions.astype(np.float32), cell, types=np.ones(256)), MacePhaseModifier()).compute()
    np.testing.assert_array_equal(data.particles["Phase"], np.where(positions[:, 0] < SPLIT, 1, 2))
    layer = positions[positions[:, 2] < 0.1]
    data = pipeline(collection(layer, flat, types=np.ones(len(layer)), is2D=True), MacePhaseModifier()).compute()
    assert data.attributes["MacePhase.classified_atoms"] == len(layer)
    np.testing.assert_array_equal(data.particles["Phase"], np.where(layer[:, 0] < SPLIT, 1, 2))


def test_only_selected(fake):
    data = copper(
        ExpressionSelectionModifier(expression="Position.Z < 5"), MacePhaseModifier(only_selected=True)
    ).compute()
    chosen = np.asarray(data.particles.selection) == 1
    assert 0 < chosen.sum() < 256
    np.testing.assert_array_equal(np.asarray(data.particles["Phase"])[~chosen], 0)
    np.testing.assert_array_equal(np.asarray(data.particles["Confidence"])[~chosen], 0)
    np.testing.assert_array_equal(np.asarray(data.particles["Phase"])[chosen], np.where(left(data), 1, 2)[chosen])
    assert np.isnan(np.asarray(data.particles["OP_FCC"])[~chosen]).all()
    assert data.attributes["MacePhase.classified_atoms"] == chosen.sum()
    assert data.attributes["MacePhase.counts.OTHER"] == (~chosen).sum()  # as PTM counts


# ---------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("name", "near"), [("thershold", "confidence_threshold"), ("color_by_typ", "color_by_type"), ("xyz", None)]
)
def test_unknown_parameter(name, near):
    with pytest.raises(TypeError, match=name) as caught:
        MacePhaseModifier(**{name: 1})
    assert near is None or f"did you mean {near!r}" in str(caught.value)


def test_all_parameters_in_the_constructor():
    modifier = MacePhaseModifier(
        species="ignore", length_scale="auto", prior="frame", phases="FCC", confidence_threshold=0.5
    )
    assert modifier.length_scale is None
    assert modifier.prior == "frame"
    assert MacePhaseModifier(length_scale=1.1).length_scale == 1.1


def test_phases_restrict_the_answer(fake):
    data = copper(MacePhaseModifier(phases="bcc; hcp")).compute()
    assert set(np.unique(data.particles["Phase"])) == {2, 3}


def test_threshold_makes_other(fake):
    data = copper(MacePhaseModifier(confidence_threshold=1.0)).compute()
    assert data.attributes["MacePhase.counts.OTHER"] == 256


@pytest.mark.parametrize(
    ("value", "names"), [("none", []), ("", []), ("bcc", ["OP_BCC"]), ("auto", ["OP_FCC", "OP_HCP"])]
)
def test_order_parameters(fake, value, names):
    data = copper(MacePhaseModifier(order_parameters=value)).compute()
    assert scores(data) == names


def test_no_color(fake):
    assert "Color" not in copper(MacePhaseModifier(color_by_type=False)).compute().particles


# ---------------------------------------------------------------- evaluation


def test_cheap_parameters_use_stored_logits(fake):
    modifier = MacePhaseModifier()
    line = copper(modifier)
    line.compute()
    for name, value in {
        "prior": "frame",
        "confidence_threshold": 0.9,
        "phases": "FCC,BCC",
        "order_parameters": "BCC",
        "color_by_type": False,
    }.items():
        setattr(modifier, name, value)
        line.compute()
    assert fake.calls == 1
    modifier.species = "ignore"
    line.compute()
    assert fake.calls == 2
    modifier.length_scale = 1.1
    line.compute()
    assert fake.calls == 3


def test_large_frames_keep_the_best_scores_only(fake, monkeypatch):
    """As above 240,000 atoms: what can be answered at once is, what cannot is evaluated again."""
    from ovito_mace_phase.classification import stages

    modifier = MacePhaseModifier()
    line = copper(modifier)
    full = line.compute()
    auto = [name for name in full.particles.keys() if name.startswith("OP_")]  # noqa: SIM118 - not a dict
    monkeypatch.setattr(stages, "FULL_BYTES", 0)
    modifier = MacePhaseModifier()
    line = copper(modifier)
    compact = line.compute()
    assert fake.calls == 2
    for name in ("Phase", "Confidence", "Phase Margin", *auto):
        np.testing.assert_allclose(compact.particles[name][...], full.particles[name][...], rtol=1e-5)
    modifier.confidence_threshold, modifier.prior = 0.9, "frame"
    line.compute()
    assert fake.calls == 2
    modifier.order_parameters = "BCC"
    np.testing.assert_array_equal(line.compute().particles["OP_BCC"][...], -1.0)
    assert fake.calls == 3
    modifier.phases = "FCC,BCC"
    assert line.compute().attributes["MacePhase.counts.HCP"] == 0
    assert fake.calls == 4
    modifier.confidence_threshold = 0.2
    line.compute()
    assert fake.calls == 4


def test_selection_and_positions_are_part_of_the_key(fake):
    select = ExpressionSelectionModifier(expression="Position.Z < 5")
    line = copper(select, MacePhaseModifier(only_selected=True))
    first = line.compute().attributes["MacePhase.classified_atoms"]
    select.expression = "Position.Z < 9"
    assert line.compute().attributes["MacePhase.classified_atoms"] > first
    assert fake.calls == 2


def test_frames_in_any_order(fake, tmp_path):
    files = []
    for number in range(3):
        positions, cell = fcc(noise=0.05, seed=number)
        positions[:, 0] += 2.0 * number
        files.append(str(tmp_path / f"dump.{number}"))
        export_file(
            collection(positions, cell, types=np.ones(256)),
            files[-1],
            "lammps/dump",
            columns=["Particle Type", "Position.X", "Position.Y", "Position.Z"],
        )
    line = import_file(files)
    line.modifiers.append(MacePhaseModifier())
    forward = [line.compute(frame).attributes["MacePhase.counts.FCC"] for frame in (0, 1, 2)]
    again = {frame: line.compute(frame).attributes["MacePhase.counts.FCC"] for frame in (2, 0, 1)}
    assert len(set(forward)) == 3
    assert forward == [again[frame] for frame in range(3)]
    assert fake.calls == 3


def test_cancel_stops_the_worker(monkeypatch):
    fake = install(monkeypatch, seconds=20.0)
    data = copper().compute()
    steps = MacePhaseModifier().modify(data, frame=0, input_slots={}, data_cache=None, pipeline_node=None)
    seen = [next(steps) for _ in range(150)]
    assert any(isinstance(value, str) and "Classifying atoms, 256" in value for value in seen)
    assert any(isinstance(value, float) for value in seen)
    assert threads_at_work()
    with pytest.raises(KeyboardInterrupt):
        steps.throw(KeyboardInterrupt())
    assert fake.cancelled
    assert threads_at_work() == []


def test_progress_grows(monkeypatch):
    install(monkeypatch, seconds=0.5)
    data = copper().compute()
    steps = list(MacePhaseModifier().modify(data, frame=0, input_slots={}, data_cache=None, pipeline_node=None))
    fractions = [value for value in steps if isinstance(value, float)]
    assert fractions == sorted(fractions)
    assert 0.0 <= fractions[0] < fractions[-1] <= 1.0
    assert steps[-1] == "Writing phases"


# ---------------------------------------------------------------- session files, generated scripts, entry point

LOAD = """
import sys, ovito
sys.path[:0] = {tests!r}
import fake_model
fake_model.use(fake_model.FakeModel())
ovito.scene.load({path!r})
line = ovito.scene.pipelines[0]
modifier = line.modifiers[0].delegate
print(type(modifier).__name__, modifier.phases, modifier.prior, modifier.confidence_threshold, modifier.length_scale)
data = line.compute()
print(sorted((k, v) for k, v in data.attributes.items() if "counts" in k))
"""


def test_session_file_in_a_fresh_process(fake, tmp_path, request):
    import ovito

    line = copper(MacePhaseModifier(phases="FCC,BCC", prior="frame", confidence_threshold=0.25, length_scale=1.05))
    line.add_to_scene()
    try:
        data = line.compute()
        path = str(tmp_path / "session.ovito")
        ovito.scene.save(path)
    finally:
        line.remove_from_scene()
    code = LOAD.format(tests=[str(request.path.parent), str(request.path.parents[1] / "helpers")], path=path)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "MacePhaseModifier FCC,BCC frame 0.25 1.05" in done.stdout
    assert str(sorted((k, v) for k, v in data.attributes.items() if "counts" in k)) in done.stdout


def test_generated_script_gives_the_same(fake, tmp_path):
    from ovito._codegen.codegen_scene import codegen_scene

    path = tmp_path / "cu.xyz"
    export_file(
        copper().compute(), str(path), "xyz", columns=["Particle Type", "Position.X", "Position.Y", "Position.Z"]
    )
    line = import_file(str(path))
    line.modifiers.append(MacePhaseModifier(phases="FCC,BCC", color_by_type=False))
    line.add_to_scene()
    try:
        expected = line.compute()
        code = codegen_scene(False)
    finally:
        line.remove_from_scene()
    assert "from ovito_mace_phase import *" in code
    names: dict = {}
    exec(code, names)
    lines = [value for value in names.values() if isinstance(value, Pipeline)]
    again = lines[0].compute()
    np.testing.assert_array_equal(again.particles["Phase"], expected.particles["Phase"])
    assert "Color" not in again.particles


def test_entry_point():
    (entry,) = [entry for entry in entry_points(group="OVITO.Modifier") if entry.name == "MACE phase classification"]
    assert entry.load() is MacePhaseModifier
    assert MacePhaseModifier.__module__ == "ovito_mace_phase"


# ---------------------------------------------------------------- downstream


def test_downstream_selection(fake):
    line = copper(MacePhaseModifier(order_parameters="FCC"), SelectTypeModifier(property="Phase", types={"FCC"}))
    data = line.compute()
    n_left = int(left(data).sum())
    assert data.attributes["SelectType.num_selected"] == n_left
    for expression in ("Phase == 1", 'Phase == "FCC"', "Confidence > 0.1 && OP_FCC > -1"):
        assert (
            copper(MacePhaseModifier(), ExpressionSelectionModifier(expression=expression))
            .compute()
            .particles.selection[...]
            .sum()
            == n_left
        )


@pytest.mark.skipif(OLD_OVITO, reason="OVITO before 3.17 counts NaN in a histogram")
def test_order_parameters_can_be_coloured_and_counted(fake):
    line = copper(
        ExpressionSelectionModifier(expression="Position.Z < 5"),
        MacePhaseModifier(only_selected=True, order_parameters="FCC"),
        ColorCodingModifier(property="OP_FCC"),
        HistogramModifier(property="OP_FCC"),
    )
    data = line.compute()
    chosen = np.asarray(data.particles.selection) != 0
    assert 0 < chosen.sum() < len(chosen)
    assert np.isfinite(data.particles.colors).all()
    assert len(np.unique(data.particles.colors[chosen], axis=0)) == 2  # the two scores of the stand-in
    assert data.tables["histogram[OP_FCC]"].y[...].sum() == chosen.sum()  # atoms without a score are left out


@pytest.mark.parametrize(("kind", "first"), [pytest.param("xyz", "FCC", marks=NAMES_IN_XYZ), ("lammps/dump", "1")])
def test_export(fake, tmp_path, kind, first):
    path = tmp_path / "labelled"
    columns = ["Particle Type", "Position.X", "Position.Y", "Position.Z", "Phase", "Confidence"]
    export_file(copper(MacePhaseModifier()), str(path), kind, columns=columns)
    assert path.read_text().splitlines()[-256].split()[4] == first
    assert import_file(str(path)).compute().particles.count == 256


def test_export_of_counts_over_time(fake, tmp_path):
    path = tmp_path / "counts.txt"
    line = copper(MacePhaseModifier(order_parameters="FCC,BCC"))
    export_file(line, str(path), "txt/attr", columns=["MacePhase.counts.FCC", "MacePhase.counts.BCC"])
    n_left = (fcc()[0][:, 0] < SPLIT).sum()
    assert path.read_text().splitlines()[-1].split()[-2:] == [str(n_left), "0"]
