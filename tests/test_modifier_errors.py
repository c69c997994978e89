"""Bad input gives one clear sentence, and odd but honest input works."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from fake_model import N_CARRIERS, install
from ovito.data import DataCollection
from ovito.modifiers import ClearSelectionModifier, ExpressionSelectionModifier
from pipelines import collection, copper, fcc, pipeline
from traits.api import TraitError

from ovito_mace_phase import MacePhaseModifier
from ovito_mace_phase.errors import InputError, MissingPackageError, ModelFileError


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    return install(monkeypatch)


def compute(positions, cell=None, **keywords):
    settings = keywords.pop("settings", {})
    return pipeline(collection(positions, cell, **keywords), MacePhaseModifier(**settings)).compute()


def test_no_particles():
    with pytest.raises(InputError, match="no particles"):
        pipeline(DataCollection(), MacePhaseModifier()).compute()


def test_no_cell_means_open_boundaries():
    positions, _ = fcc()
    with pytest.warns(UserWarning, match="no simulation cell"):
        data = compute(positions, types=np.ones(256))
    assert "no simulation cell" in data.attributes["MacePhase.warnings"]
    assert data.attributes["MacePhase.counts.FCC"] > 0


def test_no_types_means_all_alike():
    positions, cell = fcc()
    with pytest.warns(UserWarning, match="no types"):
        data = compute(positions, cell)
    assert "alike" in data.attributes["MacePhase.warnings"]
    with pytest.raises(InputError, match="species"):
        compute(positions, cell, settings={"species": "1,2"})


def test_more_species_than_carriers():
    positions, cell = fcc()
    types = np.arange(256) % (N_CARRIERS + 1) + 1
    with pytest.raises(InputError, match=r"`species`"):
        compute(positions, cell, types=types)
    compute(positions, cell, types=types, settings={"species": "1,2"})
    compute(positions, cell, types=types, settings={"species": "ignore"})


def test_unknown_species():
    positions, cell = fcc()
    with pytest.raises(InputError, match="9"):
        compute(positions, cell, types=np.ones(256), settings={"species": "1,9"})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_positions_that_are_no_numbers(value):
    positions, cell = fcc()
    positions[5, 1] = value
    with pytest.raises(InputError, match=r"NaN or infinite.*index 5"):
        compute(positions, cell, types=np.ones(256))


def test_two_atoms_at_the_same_place():
    positions, cell = fcc()
    positions[7] = positions[8]
    with pytest.raises(InputError, match="same place"):
        compute(positions, cell, types=np.ones(256))


@pytest.mark.parametrize("cell", [None, 20.0 * np.eye(3)])
def test_one_atom_alone(cell):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = compute(np.zeros((1, 3)), cell, types=[1], pbc=(False, False, False))
    assert data.attributes["MacePhase.classified_atoms"] == 1
    assert np.isfinite(data.particles["Confidence"]).all()


@pytest.mark.parametrize("order_parameters", ["auto", "FCC"])
def test_no_atoms(fake, order_parameters):
    data = compute(
        np.zeros((0, 3)), 10.0 * np.eye(3), types=np.zeros(0), settings={"order_parameters": order_parameters}
    )
    assert data.attributes["MacePhase.counts.OTHER"] == 0
    assert data.attributes["MacePhase.fractions.OTHER"] == 0.0
    assert len(data.particles["Phase"]) == 0
    assert data.tables["mace-phase"].y[0] == 0


def test_selection_is_missing_or_empty():
    with pytest.raises(InputError, match="selection"):
        copper(MacePhaseModifier(only_selected=True)).compute()
    with pytest.warns(UserWarning, match="no atom is selected"):
        data = copper(ExpressionSelectionModifier(expression="0"), MacePhaseModifier(only_selected=True)).compute()
    assert data.attributes["MacePhase.counts.OTHER"] == 256
    with pytest.raises(InputError, match="selection"):
        copper(ClearSelectionModifier(), MacePhaseModifier(only_selected=True)).compute()


def test_degenerate_cell():
    positions, cell = fcc()
    cell[1] = cell[0]
    with pytest.raises(InputError, match="degenerate"):
        compute(positions, cell, types=np.ones(256))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("length_scale", -1.0, "length_scale"),
        ("length_scale", 0.0, "length_scale"),
        ("phases", "FFC", "FCC"),
        ("order_parameters", "no_such_phase", "NO_SUCH_PHASE|no_such_phase"),
    ],
)
def test_bad_parameter(name, value, message):
    with pytest.raises(InputError, match=message):
        copper(MacePhaseModifier(**{name: value})).compute()


@pytest.mark.parametrize(
    ("name", "value"), [("confidence_threshold", 1.5), ("prior", "flat"), ("device", "tpu"), ("species", 3)]
)
def test_values_that_the_parameter_itself_refuses(name, value):
    with pytest.raises(TraitError, match=name):
        MacePhaseModifier(**{name: value})


def test_error_leaves_no_thread_and_can_be_repaired(fake):
    modifier = MacePhaseModifier(phases="FFC")
    line = copper(modifier)
    with pytest.raises(InputError):
        line.compute()
    modifier.phases = "FCC"
    assert line.compute().attributes["MacePhase.counts.FCC"] > 0


def test_fault_of_the_model_keeps_its_type(fake, monkeypatch):
    def broken(*args, **keywords):
        raise ModelFileError("checksum differs")

    monkeypatch.setattr(fake, "scores", broken)
    with pytest.raises(ModelFileError, match="checksum"):
        copper(MacePhaseModifier()).compute()


def test_missing_model_file(monkeypatch):
    monkeypatch.undo()
    with pytest.raises(ModelFileError, match="no_such_model"):
        copper(MacePhaseModifier(model_file="no_such_model.safetensors")).compute()


def test_missing_package_names_the_command(monkeypatch):
    from ovito_mace_phase.model import PhaseModel

    def without_torch(*args, **keywords):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.undo()
    monkeypatch.setattr(PhaseModel, "load", without_torch)
    with pytest.raises(MissingPackageError, match="ovitos -m pip install --user torch"):
        copper(MacePhaseModifier(device="cpu")).compute()
