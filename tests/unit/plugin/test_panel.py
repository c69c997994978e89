"""What OVITO Pro builds the panel from: traits with their widgets, groups and defaults; buttons; text in the list."""

from __future__ import annotations

import json
import shutil

import numpy as np
import ovito
import pytest
from fake_model import install
from ovito.traits import FilePath
from pipelines import copper
from traits.api import Bool, Button, Enum, Range, Str, Union

from ovito_mace_phase import MacePhaseModifier
from ovito_mace_phase.model import store as model_store
from ovito_mace_phase.model.registry import SHIPPED
from ovito_mace_phase.plugin.card_text import card_text
from ovito_mace_phase.plugin.modifier import parameter_names
from ovito_mace_phase.runtime.errors import ModelFileError

DEFAULTS = {
    "species": "auto",
    "length_scale": None,
    "only_selected": False,
    "phases": "",
    "prior": "local",
    "confidence_threshold": 0.0,
    "verify": "auto",
    "rmsd_cutoff": 0.0,
    "defects": "other",
    "denoise_steps": 0,
    "apply_to_positions": False,
    "sampling": "auto",
    "order_parameters": "auto",
    "distances": False,
    "output_rmsd": True,
    "output_orientation": False,
    "output_deformation_gradient": False,
    "output_interatomic_distance": False,
    "output_site": False,
    "color_by_type": True,
    "compatibility": "none",
    "further_phases": True,
    "device": "auto",
    "model": "",
}
GROUPS = ["Atoms", "Phases", "Verification", "Denoising", "Output", "Compatibility", "Model"]
BUTTONS = {"reload_model": "Reload model", "show_model_card": "Show model card"}
OVITO_KEYS = {  # those that OVITO documents or its own modifiers use
    "ovito_group",
    "ovito_label",
    "ovito_placeholder",
    "ovito_invalidate_cache",
    "ovito_file_filter",
}


def widget_traits():
    modifier = MacePhaseModifier()
    return {name: modifier.trait(name) for name in (*parameter_names(), *BUTTONS)}


def test_parameters_and_defaults():
    modifier = MacePhaseModifier()
    assert list(parameter_names()) == list(modifier.visible_traits()) == list(DEFAULTS)
    assert {name: getattr(modifier, name) for name in parameter_names()} == DEFAULTS


@pytest.mark.parametrize("name", [*DEFAULTS, *BUTTONS])
def test_widget(name):
    """Type with a widget, caption, group, only metadata that OVITO reads, help text."""
    trait = widget_traits()[name]
    assert type(trait.trait_type) in (Bool, Button, Enum, Range, Str, Union, FilePath)
    caption = trait.ovito_label if isinstance(trait.trait_type, Button) else trait.label
    assert caption
    assert caption[0].isupper()
    assert len(caption) <= 40
    assert trait.ovito_group in GROUPS
    metadata = {key for key in trait.trait_type._metadata if key.startswith("ovito_")}
    assert metadata <= OVITO_KEYS


def test_groups_are_not_scattered():
    groups = [trait.ovito_group for trait in widget_traits().values()]
    assert list(dict.fromkeys(groups)) == GROUPS
    assert groups == sorted(groups, key=GROUPS.index)


def test_captions_are_distinct():
    traits = widget_traits()
    captions = [BUTTONS.get(name) or trait.label for name, trait in traits.items()]
    assert len(set(captions)) == len(captions)
    assert {name: traits[name].ovito_label for name in BUTTONS} == BUTTONS


def test_every_button_has_a_handler():
    handlers = {getattr(value, "_action_button_trait", None) for value in vars(MacePhaseModifier).values()}
    assert set(BUTTONS) <= handlers


def test_hidden_traits_are_not_shown():
    assert {"structure_settings", "times_reloaded"}.isdisjoint(parameter_names())


# ---------------------------------------------------------------- text in the pipeline list


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({}, "all phases"),
        ({"phases": "FCC"}, "FCC"),
        ({"phases": " fcc;bcc "}, "fcc, bcc"),
        ({"phases": "FCC,BCC,HCP,SC,A15"}, "5 phases"),
        (
            {"confidence_threshold": 0.5, "denoise_steps": 8, "only_selected": True, "compatibility": "PTM"},
            "all phases, confidence ≥ 0.5, denoised (8), selected only, like PTM",
        ),
        ({"verify": "off", "rmsd_cutoff": 0.1, "defects": "phase"}, "all phases, not verified"),
        ({"rmsd_cutoff": 0.1, "defects": "phase"}, "all phases, RMSD ≤ 0.1, with defects"),
        ({"model": "/a/b/mine.v2.safetensors"}, "all phases, mine.v2"),
        ({"model": r"C:\models\mine.safetensors"}, "all phases, mine"),
    ],
)
def test_short_info(parameters, text):
    assert MacePhaseModifier(**parameters).get_pipeline_short_info(None, x=1) == text


# ---------------------------------------------------------------- buttons


def test_reload_evaluates_again(monkeypatch):
    fake = install(monkeypatch)
    modifier = MacePhaseModifier()
    line = copper(modifier)
    line.compute()
    modifier.reload_model = True  # a press alone does nothing: OVITO calls the handler
    line.compute()
    assert fake.calls == 1
    modifier.reload()
    line.compute()
    assert fake.calls == 2


def test_reload_reads_the_file_again():
    first = model_store.get_model("", "cpu")
    assert model_store.get_model("", "cpu") is first
    MacePhaseModifier().reload()
    assert model_store.get_model("", "cpu") is not first


def test_a_changed_card_is_read_again(tmp_path):
    path = copy_of_shipped(tmp_path)
    modifier = MacePhaseModifier(model=str(path))
    assert "LAVES_C15" in {entry.key for entry in modifier.structures}
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(ModelFileError, match="not a model card"):
        modifier.show_card()


def copy_of_shipped(folder):
    for suffix in (".json", ".safetensors"):
        shutil.copy(SHIPPED.with_suffix(suffix), folder / f"mine{suffix}")
    return folder / "mine.safetensors"


def test_card_of_the_shipped_model_is_printed(capsys):
    MacePhaseModifier().show_card()
    text = capsys.readouterr().out
    card = json.loads(SHIPPED.with_suffix(".json").read_text())
    for part in (card["name"], str(len(card["phases"])), card["licence"], *card["citation"], "Accuracy (test)", "%"):
        assert part in text
    assert len(text.splitlines()) < 25


def test_card_in_a_window(monkeypatch):
    widgets = pytest.importorskip("PySide6.QtWidgets")
    shown = []
    monkeypatch.setattr(ovito, "gui_mode", True)
    monkeypatch.setattr(widgets.QMessageBox, "information", lambda parent, *texts: shown.append(texts))
    MacePhaseModifier().show_card()
    assert shown[0][0] == "Model card"
    assert "Licence" in shown[0][1]


@pytest.mark.parametrize(
    "card", [{}, {"phases": 3, "scores": [], "original": "x", "citation": 5}, {"scores": {"test": {"ece": None}}}]
)
def test_odd_cards_have_a_text(card):
    assert card_text(card).startswith("Model: unnamed")


def test_buttons_are_not_saved():
    line = copper(MacePhaseModifier(phases="FCC"))
    line.add_to_scene()
    try:
        from ovito._codegen.codegen_scene import codegen_scene

        code = codegen_scene(False)
    finally:
        line.remove_from_scene()
    assert "phases" in code
    assert not any(name in code for name in (*BUTTONS, "times_reloaded"))


def test_a_button_pressed_leaves_the_result(monkeypatch):
    install(monkeypatch)
    modifier = MacePhaseModifier()
    line = copper(modifier)
    first = np.array(line.compute().particles["Phase"])
    modifier.reload()
    np.testing.assert_array_equal(line.compute().particles["Phase"], first)
