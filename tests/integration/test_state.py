"""State of the modifier: session files, generated scripts, copies, several instances, sources, frames and types."""

from __future__ import annotations

import copy
import json
import subprocess
import sys

import numpy as np
import ovito
import pytest
from fake_model import SPLIT, FakeModel, install
from ovito._codegen.codegen_scene import codegen_scene
from ovito.data import DataCollection
from ovito.io import export_file, import_file
from ovito.modifiers import (
    CombineDatasetsModifier,
    DeleteSelectedModifier,
    ExpressionSelectionModifier,
    PythonModifier,
)
from ovito.pipeline import Pipeline, PythonSource, StaticSource
from pipelines import collection, copper, fcc, pipeline

from ovito_mace_phase import MacePhaseModifier
from ovito_mace_phase.model import store as model_store
from ovito_mace_phase.plugin.modifier import parameter_names

CHANGED = {
    "species": "ignore",
    "length_scale": 2.1,
    "only_selected": True,
    "phases": "FCC,HCP,BCC",
    "prior": "frame",
    "confidence_threshold": 0.25,
    "apply_to_positions": True,
    "order_parameters": "FCC,BCC",
    "distances": False,
    "color_by_type": False,
    "compatibility": "PTM",
    "further_phases": False,
    "device": "cpu",
}


@pytest.fixture
def fake(monkeypatch):
    return install(monkeypatch)


def changed_modifier() -> MacePhaseModifier:
    modifier = MacePhaseModifier(**CHANGED)
    modifier.structures["BCC"].enabled = False
    modifier.structures["FCC"].color = (1.0, 0.5, 0.0)
    return modifier


def values(modifier) -> dict:
    return {name: getattr(modifier, name) for name in (*parameter_names(), "structure_settings")}


def outputs(data) -> dict:
    """What a session or a script has to give again."""
    found = {name: np.asarray(data.particles[name]).tolist() for name in ("Phase", "Confidence")}
    found["attributes"] = {
        name: value
        for name, value in sorted(data.attributes.items())
        if name.split(".")[0].startswith(("Mace", "Poly"))
    }
    for name in ("Phase", "Structure Type"):
        if name in data.particles:
            types = data.particles[name].types
            found[f"types of {name}"] = [
                [kind.id, kind.name, [round(part, 4) for part in kind.color], kind.enabled] for kind in types
            ]
    return found


def select() -> ExpressionSelectionModifier:
    return ExpressionSelectionModifier(expression="Position.Z < 9")


# ---------------------------------------------------------------- session files

LOAD = """
import json, sys, ovito
sys.path[:0] = {tests!r}
import fake_model, test_state
fake = fake_model.use(fake_model.FakeModel())
ovito.scene.load({path!r})
line = ovito.scene.pipelines[0]
modifier = line.modifiers[-1].delegate
print(json.dumps([test_state.values(modifier), test_state.outputs(line.compute())]))
modifier.structures["BCC"].enabled = True
line.compute()
print(fake.calls)
"""


def test_session_with_everything_changed_in_a_fresh_process(fake, tmp_path, request):
    modifier = changed_modifier()
    line = copper(select(), modifier)
    path = str(tmp_path / "session.ovito")
    line.add_to_scene()
    try:
        expected = [values(modifier), outputs(line.compute())]
        ovito.scene.save(path)
    finally:
        line.remove_from_scene()
    assert len((tmp_path / "session.ovito").read_bytes()) < 1_000_000  # neither model nor scores are in it
    code = LOAD.format(tests=[str(request.path.parent), str(request.path.parents[1] / "helpers")], path=path)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, calls = done.stdout.strip().splitlines()[-2:]
    assert json.loads(first) == json.loads(json.dumps(expected))
    assert calls == "1"


LOAD_SHIPPED = """
import json, sys, ovito
ovito.scene.load({path!r})
assert "ovito_mace_phase.model.phase_model" not in sys.modules
sys.path[:0] = {tests!r}
import test_state
line = ovito.scene.pipelines[0]
print(json.dumps([test_state.values(line.modifiers[-1].delegate), test_state.outputs(line.compute())]))
"""


def test_session_with_the_shipped_model_in_a_fresh_process(tmp_path, request):
    """A state of today; those of version 0.1.0 are in `test_old_states.py`."""
    modifier = changed_modifier()
    modifier.denoise_steps = 1
    line = copper(select(), modifier, noise=0.1)
    path = str(tmp_path / "session.ovito")
    line.add_to_scene()
    try:
        expected = [values(modifier), outputs(line.compute())]
        ovito.scene.save(path)
    finally:
        line.remove_from_scene()
    phases = expected[1]["Phase"]
    assert len(set(phases)) > 1  # atoms that were not selected are Other
    code = LOAD_SHIPPED.format(tests=[str(request.path.parent), str(request.path.parents[1] / "helpers")], path=path)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    settings, found = json.loads(done.stdout.strip().splitlines()[-1])
    assert settings == json.loads(json.dumps(expected[0]))
    np.testing.assert_allclose(found.pop("Confidence"), expected[1].pop("Confidence"), atol=1e-5)
    for name in ("rms_displacement", "last_step", "length"):
        told = (here["attributes"].pop(f"MacePhase.denoising.{name}") for here in (found, expected[1]))
        assert next(told) == pytest.approx(next(told), rel=1e-4), name
    assert found == json.loads(json.dumps(expected[1]))


def test_session_with_several_pipelines_in_this_process(fake, tmp_path):
    # to the stand-in HCP is as unlike FCC as Other: with the local prior these atoms would follow their neighbours
    lines = [copper(MacePhaseModifier(phases=phases, prior="uniform")) for phases in ("FCC", "HCP,BCC")]
    path = str(tmp_path / "two.ovito")
    try:
        for line in lines:
            line.add_to_scene()
        ovito.scene.save(path)
    finally:
        for line in lines:
            line.remove_from_scene()
    ovito.scene.load(path)
    try:
        assert [line.modifiers[0].delegate.phases for line in ovito.scene.pipelines] == ["FCC", "HCP,BCC"]
        assert [set(np.unique(line.compute().particles["Phase"])) for line in ovito.scene.pipelines] == [{0, 1}, {2, 3}]
    finally:
        for line in list(ovito.scene.pipelines):
            line.remove_from_scene()


# ---------------------------------------------------------------- generated scripts


def test_generated_script_with_everything_changed(fake, tmp_path):
    path = tmp_path / "cu.xyz"
    columns = ["Particle Type", "Position.X", "Position.Y", "Position.Z"]
    export_file(copper().compute(), str(path), "xyz", columns=columns)
    line = import_file(str(path))
    modifier = changed_modifier()
    line.modifiers.append(select())
    line.modifiers.append(modifier)
    line.add_to_scene()
    try:
        expected = outputs(line.compute())
        code = codegen_scene(False)
    finally:
        line.remove_from_scene()
    names: dict = {}
    exec(code, names)
    (again,) = [value for value in names.values() if isinstance(value, Pipeline)]
    assert values(again.modifiers[-1].delegate) == values(modifier)
    assert outputs(again.compute()) == expected


# ---------------------------------------------------------------- copies and several instances


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda modifier: modifier.clone_traits()])
def test_a_copy_is_independent(fake, way):
    modifier = changed_modifier()
    twin = way(modifier)
    assert values(twin) == values(modifier)
    line, other = copper(select(), modifier), copper(select(), twin)
    assert outputs(line.compute()) == outputs(other.compute())
    twin.phases = "HCP"
    twin.structures["FCC"].color = (0.0, 0.0, 1.0)
    assert modifier.phases == CHANGED["phases"]
    assert modifier.structures["FCC"].color == (1.0, 0.5, 0.0)
    assert set(np.unique(other.compute().particles["Phase"])) == {0, 2}


def test_a_copy_of_what_ovito_holds(fake):
    wrapped = PythonModifier(delegate=changed_modifier())
    line = pipeline(collection(*fcc(), types=np.ones(256)), select(), wrapped)
    twin = copy.copy(wrapped.delegate)
    assert values(twin) == values(wrapped.delegate)
    assert line.compute().attributes["MacePhase.classified_atoms"] == (fcc()[0][:, 2] < 9).sum()


def test_two_models_in_one_pipeline(monkeypatch):
    models = {"one": FakeModel(), "two": FakeModel()}
    for name, model in models.items():
        model.name = name
        model.card = {"name": name}
    install(monkeypatch)
    monkeypatch.setattr(model_store, "get_model", lambda model, device: models[str(model)])
    monkeypatch.setattr(model_store, "file_times", lambda path: ())
    monkeypatch.setattr("ovito_mace_phase.plugin.modifier.get_table", lambda path: model_store.get_table(""))
    first, second = MacePhaseModifier(model="one"), MacePhaseModifier(model="two", phases="BCC,HCP")
    line = copper(first, second)
    data = line.compute()
    assert data.attributes["MacePhase.model"] == "two"
    assert set(np.unique(data.particles["Phase"])) == {2, 3}
    assert (models["one"].calls, models["two"].calls) == (1, 1)
    first.confidence_threshold = 0.5
    second.confidence_threshold = 0.1
    line.compute()
    assert models["one"].calls == 1
    del line.modifiers[-1]
    assert line.compute().attributes["MacePhase.model"] == "one"


# ---------------------------------------------------------------- sources


def test_several_sources(fake):
    """A modifier in a pipeline whose data are of two sources, before and after they are joined."""
    other = StaticSource(data=collection(*fcc(3), types=np.ones(108), names={1: "Cu"}))
    joined = copper(CombineDatasetsModifier(source=other), MacePhaseModifier())
    with pytest.warns(UserWarning, match="108 of 364 atoms .* lie at the place of another atom.*delete"):
        joined.compute()
    shifted = collection(fcc(3)[0] + [0, 0, 40.0], None, types=np.ones(108), names={1: "Cu"})
    line = copper(CombineDatasetsModifier(source=StaticSource(data=shifted)), MacePhaseModifier())
    line.source.data.cell_.pbc = (True, True, False)
    data = line.compute()
    assert data.attributes["MacePhase.classified_atoms"] == 256 + 108
    before = copper(MacePhaseModifier(), CombineDatasetsModifier(source=StaticSource(data=shifted))).compute()
    assert before.attributes["MacePhase.classified_atoms"] == 256


def test_one_modifier_in_two_pipelines(fake):
    modifier = MacePhaseModifier()
    lines = [copper(modifier), copper(modifier, repeat=3)]
    counts = [line.compute().attributes["MacePhase.classified_atoms"] for line in lines]
    modifier.phases = "BCC"
    assert counts == [256, 108]
    assert [set(np.unique(line.compute().particles["Phase"])) for line in lines] == [{3}, {3}]


def test_a_source_put_in_place_of_another(fake):
    line = copper(MacePhaseModifier())
    assert line.compute().attributes["MacePhase.classified_atoms"] == 256
    line.source = StaticSource(data=collection(*fcc(3), types=np.ones(108)))
    assert line.compute().attributes["MacePhase.classified_atoms"] == 108
    assert fake.calls == 2


def test_particle_types_edited_upstream(fake):
    """A change of types is a change of input: names that become alike merge species."""
    from ovito_mace_phase.plugin.read_atoms import read_atoms

    positions, cell = fcc()
    source = collection(positions, cell, types=np.arange(256) % 2 + 1, names={1: "Cu", 2: "Au"})
    seen = []

    def rename(frame, data):
        if rename.on:
            data.particles_.particle_types_.type_by_id_(2).name = "Cu"

    def look(frame, data):
        seen.append(read_atoms(data).frame.species_names)

    rename.on = False
    renaming = PythonModifier(function=rename)
    line = pipeline(source, renaming, PythonModifier(function=look), MacePhaseModifier())
    line.compute()
    rename.on = True
    renaming.function = lambda frame, data: rename(frame, data)
    line.compute()
    assert seen == [("Au", "Cu"), ("Cu",)]
    assert fake.calls == 2
    assert [kind.name for kind in source.particles.particle_types.types] == ["Cu", "Au"]


def test_atoms_deleted_upstream(fake):
    line = copper(select(), DeleteSelectedModifier(), MacePhaseModifier())
    data = line.compute()
    assert data.attributes["MacePhase.classified_atoms"] == data.particles.count < 256


def test_frames_of_changing_numbers_of_atoms(fake):
    sizes = [4, 2, 0, 3]

    def create(frame: int, data: DataCollection):
        positions, cell = fcc(sizes[frame]) if sizes[frame] else (np.zeros((0, 3)), 10 * np.eye(3))
        data.objects = collection(positions, cell, types=np.ones(len(positions)), names={1: "Cu"}).objects

    line = Pipeline(source=PythonSource(function=create))
    line.modifiers.append(MacePhaseModifier(order_parameters="FCC", compatibility="CNA"))
    for frame in (0, 1, 2, 3, 0, 2, 1):
        data = line.compute(frame)
        n_atoms = 4 * sizes[frame] ** 3
        assert len(data.particles["Phase"]) == len(data.particles["OP_FCC"]) == n_atoms
        assert sum(v for k, v in data.attributes.items() if k.startswith("MacePhase.counts.")) == n_atoms
    assert fake.calls == 4


# ---------------------------------------------------------------- kinds of input


@pytest.mark.filterwarnings("ignore:there is no simulation cell")
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("box", ["full", "flat", "none"])
def test_precision_and_cell(fake, kind, box):
    positions, cell = fcc()
    if box == "flat":
        positions = positions[positions[:, 2] < 0.1]
        cell = cell * [1, 1, 0]
    types = np.ones(len(positions))
    data = collection(positions.astype(kind), None if box == "none" else cell, types=types, is2D=box == "flat")
    found = pipeline(data, MacePhaseModifier()).compute()
    np.testing.assert_array_equal(found.particles["Phase"], np.where(positions[:, 0] < SPLIT, 1, 2))
    np.testing.assert_array_equal(found.particles.positions, positions.astype(kind))
    assert ("no simulation cell" in found.attributes["MacePhase.warnings"]) == (box == "none")


def test_cheap_changes_and_frames_seen_evaluate_nothing(fake):
    frames = [fcc(noise=0.05, seed=seed) for seed in range(3)]

    def create(frame: int, data: DataCollection):
        positions, cell = frames[frame]
        data.objects = collection(positions, cell, types=np.ones(256), names={1: "Cu"}).objects

    line = Pipeline(source=PythonSource(function=create))
    modifier = MacePhaseModifier()
    line.modifiers.append(modifier)
    for frame in (0, 1, 2):
        line.compute(frame)
    assert fake.calls == 3
    fake.card["distances"] = {"FCC": [5.0, 0.1, 1.0], "BCC": [5.0, 0.1, 1.0]}
    fake.units = lambda *args, **keywords: pytest.fail("the length factor was found anew")
    cheap = {
        "confidence_threshold": 0.4,
        "phases": "FCC,BCC",
        "prior": "frame",
        "order_parameters": "FCC,BCC",
        "distances": True,
        "color_by_type": False,
        "compatibility": "PTM",
        "further_phases": False,
        "apply_to_positions": True,
        "structure_settings": '{"FCC": {"color": [1, 0, 0]}}',
    }
    for name, value in cheap.items():
        setattr(modifier, name, value)
        for frame in (2, 0, 1):
            data = line.compute(frame)
    assert {"Distance_FCC", "Distance_BCC", "OP_BCC"} <= set(data.particles.keys())
    assert fake.calls == 3
