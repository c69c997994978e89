"""mace-phase-6, the model before, which comes with the package by name: on the sample dumps, and against mace-torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ovito.io import import_file

from ovito_mace_phase import MacePhaseModifier, PhaseModel, phase_table
from ovito_mace_phase.model.registry import DEFAULT, MODELS

NAME = "mace-phase-6"
WITHIN = 0.005
FOLDER = Path(__file__).parents[2] / "sample_dumps"
EXPECTED = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
ANSWERS = [(name, answer) for name, known in EXPECTED.items() for answer in known["answers"]]


@pytest.fixture(scope="module")
def model() -> PhaseModel:
    return PhaseModel.load(NAME, device="cpu")


def test_every_model_of_the_package_has_the_name_it_is_asked_for_by():
    assert {DEFAULT, NAME} <= set(MODELS)
    for name in MODELS:
        assert PhaseModel.load(name, device="cpu").name == name


def test_the_default_knows_the_whole_table_and_this_one_less(model):
    every, without = {phase.key for phase in phase_table()}, {"ICO"}
    assert {phase.key for phase in PhaseModel.load(device="cpu").phases} == every - without
    predicted = {phase.key for phase in model.phases}
    assert len(predicted) == 532
    assert predicted < every - without
    assert 0.05 < model.noise_scale < 0.3
    assert 0.0 < np.median(model.step_errors) < 0.1


@pytest.mark.parametrize("n_species", [1, 3])
def test_logits_are_those_of_mace_torch(n_species, model, rng):
    """A random packing, where no symmetry hides a mistake."""
    from ovito_mace_phase.atoms.frame import Frame

    cell = np.diag(rng.uniform(7.0, 9.0, 3))
    grid = np.array(list(np.ndindex(3, 3, 3))) / 3.0
    frame = Frame(
        positions=grid @ cell + rng.normal(0.0, 0.3, (27, 3)),
        species=rng.integers(0, n_species, 27),
        species_names=("A", "B", "C")[:n_species],
        cell=cell,
        pbc=np.ones(3, dtype=bool),
    )
    reference = PhaseModel.load(NAME, device="cpu", backend="mace").logits(frame)
    np.testing.assert_allclose(model.logits(frame), reference, rtol=2e-4, atol=2e-3)


@pytest.mark.parametrize("name", EXPECTED)
def test_it_gives_the_answers_on_the_sample_dumps(name):
    table = phase_table()
    pipeline = import_file(FOLDER / name)
    pipeline.modifiers.append(MacePhaseModifier(model=NAME))
    for answer in EXPECTED[name]["answers"]:
        for number in sorted(set(answer["frames"])):
            data = pipeline.compute(number)
            keys = np.array([table.by_id(int(one)).key for one in data.particles["Phase"][...]])
            cell = np.asarray(data.cell)
            height = ((np.asarray(data.particles.positions) - cell[:, 3]) @ np.linalg.inv(cell[:, :3]).T)[:, 2] % 1.0
            inside = (height >= answer["fractional"][0]) & (height < answer["fractional"][1])
            right = inside & (keys == answer["phase"])
            assert right.sum() / inside.sum() >= answer["share"] - WITHIN, (answer["phase"], number)
            assert data.attributes["MacePhase.model"] == NAME
