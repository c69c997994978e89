"""One list of parameters: the modifier, `classify` and the command line have the names and defaults of `Settings`."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest

from ovito_mace_phase import MacePhaseModifier, PhaseModel, classify
from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.classification.settings import PARAMETERS, Settings, from_parameters, to_parameters
from ovito_mace_phase.cli.classify import classify_command
from ovito_mace_phase.model.registry import SHIPPED
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.plugin.modifier import parameter_names
from ovito_mace_phase.runtime.errors import InputError

TABLE = phase_table()
BUTTONS = {"reload_model", "show_model_card"}
NOT_IN_CLASSIFY = {  # what is written into OVITO's data
    *("only_selected", "apply_to_positions", "color_by_type", "compatibility", "further_phases", "structure_settings"),
    *("output_rmsd", "output_orientation", "output_deformation_gradient", "output_interatomic_distance", "output_site"),
}
NOT_ON_THE_COMMAND_LINE = {"only_selected", "color_by_type", "compatibility", "further_phases", "structure_settings"}


def test_the_panel_has_these_names():
    assert set(parameter_names()) - BUTTONS == set(PARAMETERS) - {"structure_settings"}
    assert MacePhaseModifier().settings(TABLE) == Settings()


def test_classify_has_these_names_and_defaults():
    given = inspect.signature(classify).parameters
    own = {"positions", "types", "cell", "pbc", "progress", "cancelled", "old_names"}
    fields = {field.name: field.default for field in dataclasses.fields(Settings)}
    assert set(given) - own == set(fields) - NOT_IN_CLASSIFY
    assert {name: given[name].default for name in set(given) - own} == {
        name: fields[name] for name in set(fields) - NOT_IN_CLASSIFY
    }


def test_the_command_has_these_names():
    options = {option.name for option in classify_command.params}
    assert set(PARAMETERS) - NOT_ON_THE_COMMAND_LINE <= options
    for option in classify_command.params:
        if option.name in PARAMETERS:
            assert option.opts[0] == "--" + option.name.replace("_", "-")


def test_parameters_and_settings_there_and_back(rng):
    keys = tuple(str(key) for key in rng.choice([phase.key for phase in TABLE[1:]], 3, replace=False))
    asked = Settings(
        species="1,2",
        length_scale=2.5,
        phases=keys,
        prior="frame",
        confidence_threshold=0.25,
        rmsd_cutoff=0.15,
        defects="phase",
        output_rmsd=False,
        output_site=True,
        denoise_steps=4,
        order_parameters=keys[:2],
        model="some/where",
    )
    for settings in (asked, Settings(), Settings(species=None), Settings(order_parameters=())):
        assert from_parameters(to_parameters(settings), TABLE) == settings
        assert MacePhaseModifier(**to_parameters(settings)).settings(TABLE) == settings
    with pytest.raises(AttributeError):
        asked.prior = "local"  # frozen


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (
            {"length_scale": "auto", "order_parameters": "auto", "phases": "", "species": "auto", "model": ""},
            Settings(),
        ),
        ({"species": ""}, Settings(species=None)),
        ({"species": "By name"}, Settings(species=None)),
        ({"species": None}, Settings(species=None)),
        ({}, Settings()),
        ({"phases": "fcc; HCP  bcc,FCC"}, Settings(phases=("FCC", "HCP", "BCC"))),
        ({"phases": ["FCC", "HCP"]}, Settings(phases=("FCC", "HCP"))),
        ({"order_parameters": "none"}, Settings(order_parameters=())),
        ({"order_parameters": ()}, Settings(order_parameters=())),
        ({"order_parameters": None}, Settings()),
    ],
)
def test_texts_that_users_write(parameters, expected):
    assert from_parameters(parameters, TABLE) == expected


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"length_scale": -2.0}, "length_scale must be a positive number.*-2"),
        ({"length_scale": float("nan")}, "length_scale must be a positive number"),
        ({"confidence_threshold": 1.5}, "between 0 and 1, not 1.5"),
        ({"denoise_steps": 1001}, "0 to 1000, not 1001"),
        ({"prior": "jeffreys"}, "prior must be.*jeffreys"),
        ({"verify": "on"}, "verify must be 'auto' or 'off', not 'on'"),
        ({"rmsd_cutoff": float("nan")}, "rmsd_cutoff must lie between 0"),
        ({"verify": "off", "output_orientation": True, "output_site": True}, "output_orientation, output_site: .*auto"),
    ],
)
def test_wrong_values_are_named(values, words):
    with pytest.raises(InputError, match=words):
        Settings(**values)


def test_old_names_still_work_and_name_the_new_ones():
    positions, cell = 4.0 * np.indices((3, 3, 3)).reshape(3, -1).T, np.eye(3) * 12.0
    new = classify(positions, [1, 2, 3] * 9, cell, True, species="1,2", confidence_threshold=0.9)
    with pytest.warns(FutureWarning) as told:
        old = classify(positions, species=[1, 2, 3] * 9, cell=cell, pbc=True, species_spec="1,2", threshold=0.9)
    np.testing.assert_array_equal(new.phase, old.phase)
    text = " ".join(str(one.message) for one in told)
    assert all(f"{name!r} is now" in text for name in ("species", "species_spec", "threshold"))
    with pytest.warns(FutureWarning, match="'model_file' is now 'model'"):
        assert MacePhaseModifier(model_file="a").model == "a"
    with pytest.warns(FutureWarning, match="'path' is now 'model'"):
        model = PhaseModel.load(path=SHIPPED, device="cpu")
    with pytest.warns(FutureWarning, match="score is now log_density_gradient"):
        assert len(model.score(make_frame(positions, None, cell, True)).log_density) == 27
    with pytest.raises(TypeError, match="thershold"):
        classify(positions, None, cell, True, thershold=0.9)
