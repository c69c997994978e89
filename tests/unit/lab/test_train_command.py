"""The whole training once, from a tiny data file and a tiny network to a model that loads and classifies."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from labelled_file import write_labelled
from tiny_network import CONFIG, random_tensors

from ovito_mace_phase import PhaseModel, classify
from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.cli import main
from ovito_mace_phase.lab.crystals import repeated
from ovito_mace_phase.lab.samples.sampler import SampleSettings
from ovito_mace_phase.lab.samples.source import SampleMix
from ovito_mace_phase.lab.training import class_head as refit
from ovito_mace_phase.lab.training import end_to_end
from ovito_mace_phase.lab.training.class_head import ClassFitSettings
from ovito_mace_phase.lab.training.end_to_end import EndToEndSettings
from ovito_mace_phase.lab.training.first_stage import Sources
from ovito_mace_phase.lab.training.new_network import NewShape
from ovito_mace_phase.lab.training.new_run import NewRunSettings
from ovito_mace_phase.lab.training.pipeline import train
from ovito_mace_phase.lab.training.settings import PipelineSettings
from ovito_mace_phase.lab.training.settings_file import read_settings
from ovito_mace_phase.model.calibration import FITTED
from ovito_mace_phase.model.network.model_file import read_card, save_model
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.runtime.errors import InputError

KEYS = ("FCC", "ROCKSALT")
MIX = SampleMix(background=0.1, sample=SampleSettings(correlated=0.1))
FIT = ClassFitSettings(n_parts=2, n_samples=30, keep=16, passes=6, batch=96, first_rate=1e-2, rate=1e-2)
SETTINGS = PipelineSettings(
    n_hidden=16,
    head=FIT,
    training=EndToEndSettings(n_steps=4, n_atoms=150, n_density=8, warm_up=2, mix=MIX),
    classes=FIT,
    per_phase=3,
    keep=16,
    background=5,
    trust_samples=4,
    name="tiny",
)


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(refit, "WHITENING_SAMPLES", 40)
    monkeypatch.setattr(end_to_end, "_ROWS", 300)


@pytest.fixture
def sources(tmp_path, rng):
    phases = [phase_table().by_key(key) for key in (*KEYS, "BCC")]
    data = write_labelled(tmp_path / "labelled.npz", phases, rng, 120)  # enough for every part of the split
    save_model(tmp_path / "network", random_tensors(rng), {"network": CONFIG.to_card()})
    return Sources(data=data, start=tmp_path / "network", phases=KEYS)


def silent(stage: str, done: float) -> None:
    assert 0.0 <= done <= 1.0 + 1e-9, stage


def crystal(key: str, rng: np.random.Generator) -> Frame:
    """A crystal of the phase with a little noise."""
    cell = phase_table().by_key(key).reference
    frame = repeated(cell.cell, cell.fractional, cell.species, 12.0)
    return dataclasses.replace(frame, positions=frame.positions + rng.normal(0.0, 0.03, frame.positions.shape))


def logits_of(path: Path, frame: Frame) -> np.ndarray:
    return classify(frame.positions, frame.species, frame.cell, True, model=path, prior="uniform").logits


def share_right(path: Path, key: str, rng: np.random.Generator) -> float:
    """Share of the atoms of a crystal whose largest logit is that of its phase, whatever the density."""
    column = next(k for k, phase in enumerate(PhaseModel.load(path).phases) if phase.key == key)
    return float((logits_of(path, crystal(key, rng)).argmax(1) == column).mean())


def test_from_a_converted_network_to_a_model(sources, tmp_path, rng):
    stages: dict[str, float] = {}
    path = train(sources, tmp_path / "run", SETTINGS, lambda stage, done: stages.update({stage.split(",")[0]: done}))
    assert path == tmp_path / "run" / "mace_phase"
    assert list(stages) == [
        "new head",
        "classes once more",
        "scores",
        "trust in templates",
    ]  # four steps are too few for a report
    model = PhaseModel.load(path)
    assert [phase.key for phase in model.phases] == ["OTHER", *KEYS]
    assert model.noise_scale == SETTINGS.training.noise_scale
    card = model.card
    assert card["name"] == "tiny"
    assert set(card["distances"]) <= set(KEYS)
    assert set(card["calibration"]["floors"]) == set(KEYS)
    assert set(card["score_errors"]) == {*KEYS}
    assert set(model.calibration.fitted) == set(FITTED)
    assert card["scores"]["validation"]["n_phases"] == 2
    assert card["training"]["data"]["structures"]["train"] > 10
    assert len(card["citation"]) == 3
    shares = {key: share_right(path, key, rng) for key in KEYS}  # by chance a third; the network is drawn at random
    assert np.mean(list(shares.values())) > 0.65, shares


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9 has no Muon")
def test_a_new_network_to_a_model(sources, tmp_path, rng):
    """Another shape than that of the start, whose weights it does not have; then as any other."""
    shape = NewShape(n_channels=8, l_max=2, r_max=4.5, radial_hidden=(8,), n_hidden=16, n_density=8)
    new = NewRunSettings(shape=shape, n_steps=60, n_atoms=600, warm_up=5, score_begins=0.7, mix=MIX)
    settings = dataclasses.replace(SETTINGS, stages=("new",), new=new)
    path = train(sources, tmp_path / "run", settings, silent)
    card = read_card(path)
    assert card["network"]["n_channels"] == 8
    assert card["network"]["l_max"] == 2
    assert "original" not in card
    model = PhaseModel.load(path)
    assert [phase.key for phase in model.phases] == ["OTHER", *KEYS]
    assert np.mean([share_right(path, key, rng) for key in KEYS]) > 0.65
    with pytest.raises(InputError, match="leave the stage 'head' out"):
        train(sources, tmp_path / "run", dataclasses.replace(settings, stages=("new", "head")), silent)


def test_stopped_anywhere_it_goes_on_to_the_same_model(sources, tmp_path, rng):
    """Interrupted in every stage; what was done is not done again."""
    expected = train(sources, tmp_path / "one", SETTINGS, silent)
    folder = tmp_path / "two"

    def stop_in(wanted: str, after: float):
        def report(stage: str, done: float) -> None:
            if stage.startswith(wanted) and done >= after:
                raise KeyboardInterrupt

        return report

    for wanted, after in (("new head", 0.3), ("new head", 0.9), ("classes", 0.3), ("classes", 0.9), ("scores", 0.3)):
        with pytest.raises(KeyboardInterrupt):
            train(sources, folder, SETTINGS, stop_in(wanted, after))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("rows*")}
    assert len(before) == 4
    found = train(sources, folder, SETTINGS, silent)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("rows*")} == before
    for key in KEYS:  # not the weights: those of directions that hardly vary follow rounding, and logits a little
        frame = crystal(key, rng)
        one, other = (logits_of(path, frame) for path in (expected, found))
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.99, key


def test_a_folder_of_another_run_is_refused(sources, tmp_path, rng):
    """Other data, another network; the head stage alone has no density."""
    head_only = dataclasses.replace(SETTINGS, stages=("head",))
    path = train(sources, tmp_path / "run", head_only, silent)
    assert "noise_scale" not in read_card(path)
    assert PhaseModel.load(path).card["head"]["n_density"] == 0
    phases = [phase_table().by_key(key) for key in (*KEYS, "BCC")]
    other = write_labelled(tmp_path / "other.npz", phases, rng, 120)
    with pytest.raises(InputError, match=r"whitening\.npz was made with other data; remove it or choose another"):
        train(dataclasses.replace(sources, data=other), tmp_path / "run", head_only, silent)
    save_model(tmp_path / "second", random_tensors(rng), {"network": CONFIG.to_card()})
    with pytest.raises(InputError, match=r"was made with other start_model; remove it"):
        train(dataclasses.replace(sources, start=tmp_path / "second"), tmp_path / "run", head_only, silent)


def test_a_new_head_on_a_model_with_a_density_has_none(sources, tmp_path):
    """What the card of the start says of its density goes, and a stage of no parts is left out."""
    short = dataclasses.replace(SETTINGS.classes, n_parts=0)
    steps = dataclasses.replace(SETTINGS.training, n_steps=1)
    whole = train(sources, tmp_path / "run", dataclasses.replace(SETTINGS, training=steps, classes=short), silent)
    assert "noise_scale" in read_card(whole)
    assert not (tmp_path / "run" / "classes").exists()
    again = dataclasses.replace(sources, start=whole)
    path = train(again, tmp_path / "second", dataclasses.replace(SETTINGS, stages=("head",)), silent)
    assert not {"noise_scale", "distances", "score_errors"} & set(read_card(path))


def test_a_run_out_of_time_goes_on(sources, tmp_path):
    head_only = dataclasses.replace(SETTINGS, stages=("head",))
    assert train(sources, tmp_path / "run", head_only, silent, seconds=0.0) is None
    assert [path.name for path in (tmp_path / "run" / "head").glob("rows*")] == ["rows_00.npz"]
    assert train(sources, tmp_path / "run", head_only, silent) is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ("classes",)}, "'classes' needs a model with a head"),
        ({"stages": ("fit",)}, "no stage fit; the stages are new, head, end-to-end, classes"),
        ({"phases": ("NO_SUCH",)}, "NO_SUCH"),
        ({"phases": ("ICO",)}, "ICO cannot be trained: there is no reference cell"),
    ],
)
def test_what_cannot_be_trained_is_said(sources, tmp_path, changes, message):
    settings = dataclasses.replace(SETTINGS, stages=changes.get("stages", ()))
    given = dataclasses.replace(sources, phases=changes.get("phases", KEYS))
    with pytest.raises(InputError, match=message):
        train(given, tmp_path / "run", settings, silent)


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code


def test_the_commands(sources, tmp_path, rng, capsys, monkeypatch):
    """`train` with its options, then `finetune`, which warns, from the model that came out; each writes a model."""
    default = dataclasses.replace(
        PipelineSettings(), per_phase=3, keep=16, background=5, trust_samples=4, head=FIT, classes=FIT
    )
    monkeypatch.setattr("ovito_mace_phase.lab.training.pipeline.PipelineSettings", lambda: default)
    options = ("--data", sources.data, "--phases", ",".join(KEYS), "--part-samples", 30, "--seed", 3)
    first = tmp_path / "first"
    assert command("train", *options, "--backbone", sources.start, "--stages", "head", "--hidden", 16, "-o", first) == 0
    shown = capsys.readouterr()
    assert "--backbone is deprecated; use --start" in shown.err
    assert f"wrote {first}/mace_phase.safetensors" in shown.out
    assert read_card(first / "mace_phase")["training"]["split_seed"] == 3
    second = ("--model", first / "mace_phase", "--steps", 2, "--atoms", 150, "-o", tmp_path / "second")
    assert command("finetune", *options, *second, "--minutes", 0) == 0
    shown = capsys.readouterr()
    assert "finetune is deprecated; use `train --stages end-to-end,classes`" in shown.err
    assert "call the command again" in shown.out
    assert command("finetune", *options, *second, "--name", "second") == 0
    assert "wrote" in capsys.readouterr().out
    card = read_card(tmp_path / "second" / "mace_phase")
    assert card["name"] == "second"
    assert card["training"]["split_seed"] == 3
    assert card["training"]["start"]["settings"]["stages"] == ["head"]
    shares = [share_right(tmp_path / "second" / "mace_phase", key, rng) for key in KEYS]
    print(f"right by phase: {shares}")
    assert np.mean(shares) > 0.5  # of all phases: two steps of so few samples may lose one of them
    assert command("train", *options, "-o", tmp_path / "third") == 2
    assert "Missing option '--start'" in capsys.readouterr().err
    assert command("train", *options, "--start", first / "mace_phase", "--phases", "BCC", "-o", tmp_path / "third") == 2
    assert "has a head for other phases" in capsys.readouterr().err


def test_settings_of_a_file_and_of_a_card(tmp_path):
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"new": {"shape": {"radial_hidden": [16, 16]}, "rate": 1}, "grown": True}))
    found = read_settings(file, SETTINGS)
    assert found.new.shape.radial_hidden == (16, 16)
    assert found.new.rate == 1.0
    assert found.grown
    assert dataclasses.replace(found, new=SETTINGS.new, grown=False) == SETTINGS
    card = {"network": {}, "training": {"settings": dataclasses.asdict(SETTINGS)}}
    file.write_text(json.dumps(card))
    assert read_settings(file, PipelineSettings()) == SETTINGS


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"new": {"rats": 1.0}}, "there is no setting 'rats'; perhaps rate"),
        ({"new": {"rate": "fast"}}, "rate is 'fast', but must be like 0.003"),
        ({"new": {"n_steps": 1.5}}, "n_steps is 1.5"),
        ({"new": {"n_steps": True}}, "n_steps is True"),
        ({"new": 3}, "settings are a JSON object, not 3"),
        ({"stages": "new"}, "stages is 'new'"),
        ([1], "settings are a JSON object"),
    ],
)
def test_settings_that_are_none(tmp_path, given, said):
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(given))
    with pytest.raises(InputError, match=said):
        read_settings(file, PipelineSettings())


def test_settings_and_options_do_not_mix(tmp_path, capsys):
    file = tmp_path / "settings.json"
    file.write_text("{}")
    arguments = ["train", "--data", "x.npz", "--start", "x", "-o", str(tmp_path), "--settings", str(file)]
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--degree", "3", "--grow"])
    assert caught.value.code == 2
    assert "--settings says what --degree, --grow would" in capsys.readouterr().err
