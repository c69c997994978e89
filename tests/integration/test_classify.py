"""`classify` with the shipped model: crystals, invariances, settings, errors."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from ovito_mace_phase import PhaseModel, classify, phase_table
from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.classification.settings import Settings
from ovito_mace_phase.classification.stages import logits_of, result_of
from ovito_mace_phase.lab.samples.disorder import push_apart
from ovito_mace_phase.runtime.errors import CancelledError, InputError, ModelFileError

CRYSTALS = {
    "FCC": bulk("Cu", cubic=True) * (4, 4, 4),
    "BCC": bulk("Fe", cubic=True) * (5, 5, 5),
    "CUBIC_DIAMOND": bulk("Si", cubic=True) * (3, 3, 3),
    "ROCKSALT": bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (3, 3, 3),
    "CSCL": bulk("CsCl", "cesiumchloride", a=4.12, cubic=True) * (5, 5, 5),
    "ZINCBLENDE": bulk("ZnS", "zincblende", a=5.41, cubic=True) * (3, 3, 3),
    "FLUORITE": bulk("CaF2", "fluorite", a=5.46, cubic=True) * (3, 3, 3),
}


@pytest.fixture(scope="module")
def model():
    return PhaseModel.load()


def rattled(crystal, rng, sigma=0.08):
    crystal = crystal.copy()
    crystal.positions += rng.normal(0, sigma, crystal.positions.shape)
    return crystal


def run(crystal, model, **settings):
    return classify(crystal.positions, crystal.numbers, crystal.cell[:], crystal.pbc, model=model, **settings)


@pytest.mark.parametrize("key", CRYSTALS)
def test_warm_crystals_get_their_phase(model, rng, key):
    result = run(rattled(CRYSTALS[key], rng), model)
    assert result.fractions().get(key, 0.0) > 0.9, result.fractions()
    assert result.phase.dtype == np.int32
    assert result.logits.shape == (len(result.phase), len(model.phases))
    right = np.array([result.counts().get(key, 0)]) / len(result.phase)
    assert ((result.confidence > 1 / len(model.phases)) & (result.confidence <= 1)).all()
    assert result.confidence.mean() == pytest.approx(float(right[0]), abs=0.1)
    best = np.argmax(result.logits, axis=1)
    chosen = np.array([phase.id for phase in model.phases])[best] == result.phase
    assert chosen.mean() > 0.9
    ordered = np.sort(result.logits[chosen], axis=1)
    np.testing.assert_allclose(result.margin[chosen], ordered[:, -1] - ordered[:, -2], atol=1e-4)


def test_logits_do_not_depend_on_units_names_order_or_place(model, rng):
    crystal = rattled(CRYSTALS["ROCKSALT"], rng)
    plain = run(crystal, model).logits
    order = rng.permutation(len(crystal))
    names = np.where(crystal.numbers == 11, "b", "a")
    moved = (crystal.positions + rng.normal(0, 40, 3))[order] * 0.1
    changed = classify(moved, names[order], crystal.cell[:] * 0.1, True, model=model).logits
    np.testing.assert_allclose(changed, plain[order], atol=2e-2)


def test_ase_atoms_are_read(model, rng):
    """The object is as good as its arrays; what is given besides counts."""
    from ase.build import bulk, molecule

    crystal = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (3, 3, 3)
    crystal.positions += rng.normal(0.0, 0.05, crystal.positions.shape)
    whole = classify(crystal, model=model)
    apart = classify(crystal.positions, crystal.numbers, crystal.cell[:], crystal.pbc, model=model)
    np.testing.assert_array_equal(whole.phase, apart.phase)
    assert whole.counts() == {"ROCKSALT": len(crystal)}
    assert classify(crystal, np.zeros(len(crystal), int), model=model).counts() != whole.counts()
    assert classify(molecule("C60"), model=model).counts() == {"OTHER": 60}


def test_supercell(model, rng):
    crystal = rattled(bulk("Cu", cubic=True) * (3, 3, 3), rng)
    np.testing.assert_allclose(
        run(crystal * (2, 1, 1), model).logits[: len(crystal)], run(crystal, model).logits, atol=2e-2
    )


def test_settings_of_the_readout(model, rng):
    crystal = rattled(CRYSTALS["FCC"], rng, 0.28)  # so hot that some atoms are taken for others
    frame = make_frame(crystal.positions, crystal.numbers, crystal.cell[:], True)
    kept = logits_of(model.network_frame(frame), model, Settings())
    plain = result_of(kept, model, Settings())
    threshold = float(np.median(plain.confidence))
    strict = result_of(kept, model, Settings(confidence_threshold=threshold))
    doubted = plain.confidence < threshold
    assert 0 < doubted.sum() < len(doubted)
    np.testing.assert_array_equal(strict.phase, np.where(doubted, 0, plain.phase))
    two = result_of(kept, model, Settings(phases=("BCC", "HCP")))
    assert {phase.key for phase in two.phases} == {"OTHER", "BCC", "HCP"}
    assert two.logits.shape[1] == 3
    never = result_of(kept, model, Settings(prior={"FCC": 0.0}))
    assert "FCC" in plain.counts()
    assert "FCC" not in never.counts()
    framed = result_of(kept, model, Settings(prior="frame", verify="off"))
    alone = result_of(kept, model, Settings(prior="uniform", verify="off"))
    local = result_of(kept, model, Settings(verify="off"))
    shares = [labels.fractions()["FCC"] for labels in (alone, local, framed)]
    assert shares == sorted(shares)  # in a draw where hardly an atom is taken for another two may be equal
    assert shares[0] > 0.3
    assert plain.fractions()["FCC"] >= shares[1] - 0.02  # templates find what the network alone does not, and lose few
    np.testing.assert_array_equal(
        plain.order_parameter("FCC"), kept.logits[:, [phase.key for phase in model.phases].index("FCC")]
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"confidence_threshold": 1.5}, "between 0 and 1"),
        ({"phases": ["FCCC"]}, "FCCC"),
        ({"phases": ["OTHER"]}, "no phase is left"),
        ({"prior": "jeffreys"}, "jeffreys"),
        ({"prior": {"FCC": -1.0}}, "at least 0"),
        ({"prior": {"XYZ": 1.0}}, "XYZ"),
        ({"length_scale": -1.0}, "length_scale"),
        ({"length_scale": 1e9}, "far too long"),
        ({"species": "1,2"}, "does not occur"),
        ({"device": "tpu"}, "tpu"),
    ],
)
def test_bad_settings_are_named(settings, words):
    crystal = CRYSTALS["FCC"]
    with pytest.raises(InputError, match=words):
        classify(crystal.positions, crystal.numbers, crystal.cell[:], True, **settings)


def test_foreign_model_file(tmp_path):
    with pytest.raises(ModelFileError, match="nothing"):
        PhaseModel.load(tmp_path / "nothing")


def test_empty_single_and_isolated(model):
    assert len(classify(np.zeros((0, 3)), [], None, None, model=model).phase) == 0
    alone = classify([[0.0, 0.0, 0.0]], [1], None, None, model=model)
    assert alone.phase.tolist() == [0]
    far = classify([[0.0, 0, 0], [500.0, 0, 0], [0, 500.0, 0]], [1, 1, 1], None, None, model=model, length_scale=2.3)
    assert far.phase.tolist() == [0, 0, 0]


def test_random_points_are_other_or_unsure(model, rng):
    """Points without any order, pushed apart as in a liquid (a shaken grid would keep its long-range order)."""
    cell = np.eye(3) * 20.0
    points = push_apart(rng.uniform(0, 20, (615, 3)), cell, 2.2)
    result = classify(points, None, cell, True, model=model)
    assert np.mean((result.phase == 0) | (result.confidence < 0.5)) > 0.9


def test_cancel(model):
    crystal = CRYSTALS["FCC"]
    with pytest.raises(CancelledError):
        run(crystal, model, cancelled=lambda: True)


def test_model_phases_are_of_the_table(model):
    assert model.phases[0].key == "OTHER"
    assert set(model.phases) <= set(phase_table())
    assert len(model.phases) >= 450


def test_brookite_of_the_literature_is_brookite_where_it_may_be(rng):
    """Meagher and Lager, Can. Mineral. 17, 77 (1979): a cell that neither model nor table was made from."""
    from ase.spacegroup import crystal

    basis = [(0.1289, 0.0972, 0.8628), (0.0095, 0.1491, 0.1835), (0.2314, 0.1110, 0.5366)]
    brookite = crystal(["Ti", "O", "O"], basis, spacegroup=61, cellpar=[9.174, 5.449, 5.138, 90, 90, 90]) * (2, 3, 3)
    positions = brookite.positions + rng.normal(0.0, 0.03, brookite.positions.shape)
    found = classify(
        positions, brookite.numbers, np.array(brookite.cell), True, phases=("BROOKITE", "ANATASE", "RUTILE")
    )
    keys = {phase.id: phase.key for phase in phase_table()}
    assert {keys[number] for number in found.phase} == {"BROOKITE"}
    strain = found.deformation_gradient
    assert np.abs(np.linalg.svd(strain, compute_uv=False) - 1.0).max() < 0.1
