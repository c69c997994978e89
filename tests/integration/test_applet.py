"""The utility applet, its button pressed as OVITO Pro does it: the handler is run to its end, step by step."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import numpy as np
import ovito
import pytest
from ovito.io import export_file, import_file
from ovito.modifiers import ColorCodingModifier

from ovito_mace_phase import MacePhaseModifier
from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.trajectory.applet import ClassifyTrajectory, file_of, settings_of

DUMP = Path(__file__).parents[2] / "sample_dumps" / "cu_melting.dump.gz"


@pytest.fixture
def scene():
    """An empty scene, and empty again."""

    def clear() -> None:
        for one in list(ovito.scene.pipelines):
            one.remove_from_scene()

    clear()
    yield ovito.scene
    clear()


def pressed(applet) -> list:
    return list(applet.classify())


def test_it_is_found_by_ovito():
    (entry,) = (one for one in importlib.metadata.entry_points(group="OVITO.Utility") if "mace" in one.value)
    assert entry.load() is ClassifyTrajectory


def test_the_file_and_settings_of_the_selected_pipeline(scene, tmp_path, capsys):
    file = tmp_path / "melting.dump"
    source = import_file(str(DUMP))
    export_file(
        source,
        str(file),
        "lammps/dump",
        columns=["Particle Identifier", "Particle Type", "Position.X", "Position.Y", "Position.Z"],
        multiple_frames=True,
    )
    pipeline = import_file(str(file))
    pipeline.modifiers.append(ColorCodingModifier(property="Position.X"))
    pipeline.modifiers.append(MacePhaseModifier(phases="FCC", prior="uniform", device="cpu"))
    pipeline.add_to_scene()
    told = pressed(ClassifyTrajectory(frames="0::6"))
    assert told[0] == "Reading melting.dump"
    assert [one for one in told if isinstance(one, float)] == [0.0, 0.5, 0.5]
    folder = tmp_path / "melting_phases"
    assert {path.name for path in folder.iterdir()} == {"melting.xyz", "melting.phases.csv"}
    assert str(folder) in capsys.readouterr().out
    labelled = scene.pipelines[-1]
    assert labelled.num_frames == 2
    data = labelled.compute(0)
    assert set(np.unique(data.particles["Phase"][...])) <= {0, 1}  # FCC alone was asked for
    expected = pipeline.compute(0).particles["Phase"][...]
    np.testing.assert_array_equal(data.particles["Phase"][...], expected)
    assert "Color" in data.particles
    scene.selected_pipeline = pipeline
    with pytest.raises(InputError, match="would be replaced"):
        pressed(ClassifyTrajectory(frames="0"))
    pressed(ClassifyTrajectory(frames="0", force=True, open_result=False))
    assert len(scene.pipelines) == 2
    rows = (folder / "melting.phases.csv").read_text().splitlines()[1:]
    assert {row.split(",")[0] for row in rows} == {"0"}


def test_a_file_and_a_folder_that_were_chosen(scene, tmp_path):
    told = pressed(
        ClassifyTrajectory(
            file=str(DUMP),
            folder=str(tmp_path / "out"),
            frames="11",
            file_format="dump",
            select="ParticleIdentifier <= 900",
        )
    )
    assert told[-1] == 0.0
    data = scene.pipelines[-1].compute(0)
    assert data.particles.count == 1024  # the others are there, and have no phase
    assert (data.particles["confidence"][...] > 0).sum() == 900
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".dump", ".csv"}


def test_cancelled_it_goes_on_where_it_was(scene, tmp_path):
    applet = ClassifyTrajectory(file=str(DUMP), folder=str(tmp_path), frames="9:12", open_result=False)
    steps = applet.classify()
    for told in steps:
        if told == "Frame 2 of 3":
            break
    steps.close()
    (work,) = (path for path in tmp_path.iterdir() if path.suffix == ".work")
    assert work.is_dir()
    pressed(applet)
    assert not work.exists()
    rows = (tmp_path / "cu_melting.phases.csv").read_text().splitlines()[1:]
    assert {row.split(",")[0] for row in rows} == {"9", "10", "11"}


def test_without_a_pipeline_it_says_what_to_do(scene):
    with pytest.raises(InputError, match="choose a trajectory, or select a pipeline"):
        pressed(ClassifyTrajectory())
    assert settings_of(None).species == "auto"


def test_a_selection_in_the_pipeline_is_not_dropped_silently(scene):
    pipeline = import_file(str(DUMP))
    pipeline.modifiers.append(MacePhaseModifier(only_selected=True))
    pipeline.add_to_scene()
    with pytest.raises(InputError, match="Only atoms where"):
        pressed(ClassifyTrajectory())


def test_several_files_chosen_one_by_one_are_refused():
    class Reads:
        class source:  # noqa: N801 - as OVITO names it
            source_path = ("a.xyz", "b.xyz")

    with pytest.raises(InputError, match="reads 2 files"):
        file_of(Reads())
    Reads.source.source_path = ("https://example.org/a.xyz",)
    with pytest.raises(InputError, match="download it first"):
        file_of(Reads())
