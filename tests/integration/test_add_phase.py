"""A phase added to a model from one structure file: it is found, the old ones stay, and faults are said.

The base of most tests is the shipped model with a few of its phases, so that rehearsal takes seconds.
"""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write
from ase.spacegroup import crystal
from pipelines import collection, pipeline

from ovito_mace_phase import MacePhaseModifier, PhaseModel, classify, phase_table
from ovito_mace_phase.cli import main
from ovito_mace_phase.lab.add_phase.add_phase import AddSettings, add_phase, check_output
from ovito_mace_phase.lab.samples.disorder import random_packing
from ovito_mace_phase.model.network.model_file import load_model, read_card, save_model
from ovito_mace_phase.model.registry import SHIPPED
from ovito_mace_phase.model.store import get_table
from ovito_mace_phase.phases.own import FIRST_OWN_ID, checked_key, own_phases, table_with
from ovito_mace_phase.runtime.errors import InputError, ModelFileError

KEPT = ("OTHER", "FCC", "HCP", "BCC", "CUBIC_DIAMOND", "ROCKSALT", "CSCL", "CLATHRATE_SII", "ICE_IC", "ALPHA_B")
QUICK = {"per_phase": 5, "background": 20, "new": 120, "per_confusable": 8}
QUICK |= {"test_per_phase": 3, "test_new": 8, "test_per_confusable": 3}
T_CARBON = crystal("C", [(0.0706,) * 3], spacegroup=227, setting=2, cellpar=[7.52] * 3 + [90] * 3)
TI3SIC2 = crystal(
    ["Ti", "Ti", "Si", "C"],
    [(0, 0, 0), (1 / 3, 2 / 3, 0.1355), (0, 0, 0.25), (1 / 3, 2 / 3, 0.5722)],
    spacegroup=194,
    cellpar=[3.0665, 3.0665, 17.671, 90, 90, 120],
)


def settings() -> AddSettings:
    seed = int(np.random.SeedSequence().entropy % 2**32)
    print(f"seed of the samples: {seed}")
    return AddSettings(**QUICK, seed=seed)


def cif(folder, name: str, atoms: Atoms):
    path = folder / f"{name}.cif"
    write(path, atoms)
    return path


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The shipped model with ten of its phases."""
    tensors, card = load_model(SHIPPED)
    rows = [card["phases"].index(key) for key in KEPT]
    tensors |= {f"head.last.{name}": tensors[f"head.last.{name}"][rows] for name in ("weight", "bias")}
    path = tmp_path_factory.mktemp("base") / "small.v1"
    save_model(path, tensors, {**card, "head": {**card["head"], "n_phases": len(rows)}, "phases": list(KEPT)})
    return path


@pytest.fixture(scope="module")
def extended(base):
    """T-carbon, a crystal that the table does not have, added to the base."""
    found = add_phase(cif(base.parent, "t_carbon", T_CARBON), "t_carbon", base=base, settings=settings())
    assert found.save(base.parent / "with_t_carbon", force=True) == base.parent / "with_t_carbon"
    return found


@pytest.fixture
def path(extended, base):
    return base.parent / "with_t_carbon"


def turned(atoms: Atoms, rng, sigma: float = 0.05, unit: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Noisy positions and cell of a crystal, turned at random, in another length unit."""
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    positions = atoms.positions + rng.normal(0.0, sigma, atoms.positions.shape)
    return unit * positions @ turn, unit * atoms.cell[:] @ turn


# ---------------------------------------------------------------- it works


def test_report_and_card(extended, path):
    report = extended.report
    assert report.accuracy > 0.75  # few samples to fit on; the shipped model is asked for more below
    assert next(iter(report.by_noise)) == "0.00-0.05"
    assert 0.0 <= report.old_before - report.old_after < 0.03  # of ten phases, few samples each
    card = read_card(path)
    assert card["name"] == "with_t_carbon"
    assert card["phases"] == [*KEPT, "T_CARBON"]
    assert card["additions"][0]["report"]["accuracy"] == report.accuracy
    phase = own_phases(card)[0]
    assert (phase.id, phase.key, phase.source) == (FIRST_OWN_ID, "T_CARBON", "t_carbon.cif")
    assert phase.space_group in (227, None)  # None: no spglib
    np.testing.assert_allclose(phase.reference.fractional, extended.phase.reference.fractional, atol=1e-6)


def test_classify_finds_it_in_any_unit_and_direction(path, rng):
    positions, cell = turned(T_CARBON * (2, 2, 2), rng)
    result = classify(positions, None, cell, True, model=path)
    assert result.fractions().get("T_CARBON", 0.0) > 0.9, result.fractions()
    assert set(result.phase[result.phase >= FIRST_OWN_ID]) == {FIRST_OWN_ID}
    assert np.isfinite(result.order_parameter("T_CARBON")).all()


def test_the_modifier_finds_it(path, rng, extended):
    positions, cell = turned(T_CARBON * (2, 2, 2), rng, unit=1.0)
    modifier = MacePhaseModifier(model=str(path), order_parameters="t_carbon, FCC")
    data = pipeline(collection(positions, cell, types=np.ones(len(positions))), modifier).compute()
    assert data.attributes["MacePhase.fractions.T_CARBON"] > 0.9
    assert "MacePhase.counts.FCC" in data.attributes
    kind = next(kind for kind in data.particles["Phase"].types if kind.id == FIRST_OWN_ID)
    assert kind.name == "T_CARBON"
    np.testing.assert_allclose(kind.color, extended.phase.color, atol=1e-6)
    assert {"OP_T_CARBON", "OP_FCC"} <= set(data.particles.keys())
    with pytest.raises(InputError, match="NO_SUCH"):
        pipeline(collection(positions, cell), MacePhaseModifier(model=str(path), phases="NO_SUCH")).compute()


def test_old_logits_and_labels_stay(base, path, rng):
    """At a fixed density the new phase takes its share p of each atom: old logits move together, by log(1 - p)."""
    old, new = PhaseModel.load(base), PhaseModel.load(path)
    crystals = [
        turned(bulk("Cu", cubic=True) * (3, 3, 3), rng),
        turned(bulk("Si", cubic=True) * (2, 2, 2), rng),
        turned(bulk("Fe", cubic=True) * (3, 3, 3), rng),
    ]
    packing = random_packing(rng, 1)
    for positions, cell in [*crystals, (packing.positions, packing.cell)]:
        before, after = (classify(positions, None, cell, True, model=model, prior="uniform") for model in (old, new))
        share = np.exp(after.logits[:, -1] - np.logaddexp.reduce(after.logits.astype(float), axis=1))
        moved = after.logits[:, :-1] - before.logits
        np.testing.assert_allclose(moved, np.broadcast_to(np.log1p(-share)[:, None], moved.shape), atol=1e-4)
        assert (after.phase == before.phase).mean() > 0.99
        if positions is not packing.positions:
            np.testing.assert_allclose(moved, 0.0, atol=1e-3)


def test_the_command_line_knows_it(path, rng, tmp_path, capsys):
    positions, cell = turned(T_CARBON * (2, 2, 2), rng, unit=1.0)
    write(tmp_path / "frame.xyz", Atoms("C" * len(positions), positions=positions, cell=cell, pbc=True))
    out = tmp_path / "out"
    options = ("--model", path, "--phases", "t_carbon,fcc", "--no-picture", "-o", out)
    assert run("classify", tmp_path / "frame.xyz", *options) == 0
    assert "T_CARBON" in capsys.readouterr().out
    assert "T_CARBON" in (out / "frame.phases.csv").read_text()
    assert "T_CARBON" in (out / "frame.xyz").read_text()
    assert run("phases", "--model", path, "--grep", "t_carbon") == 0
    assert str(FIRST_OWN_ID) in capsys.readouterr().out
    assert run("classify", tmp_path / "frame.xyz", "--phases", "t_carbon") == 2
    assert "no phase has the key 'T_CARBON'" in capsys.readouterr().err


def test_a_second_phase_through_the_command(path, tmp_path, rng, capsys, monkeypatch):
    monkeypatch.setattr(
        "ovito_mace_phase.lab.add_phase.add_phase.AddSettings", lambda seed: AddSettings(**QUICK, seed=seed)
    )
    source = cif(tmp_path, "ti3sic2", TI3SIC2)
    options = (
        "--key",
        "MAX_312",
        "--name",
        "Ti3SiC2",
        "--model",
        path,
        "-o",
        tmp_path / "both",
        "--seed",
        rng.integers(99),
    )
    assert run("add-phase", source, *options, "--force") == 0
    text = capsys.readouterr().out
    assert "Ti3SiC2" in text
    assert "accuracy of the old phases" in text
    table = get_table(str(tmp_path / "both"))
    assert [table.by_key(key).id for key in ("T_CARBON", "MAX_312")] == [FIRST_OWN_ID, FIRST_OWN_ID + 1]
    both = PhaseModel.load(tmp_path / "both")
    for key, atoms in (("T_CARBON", T_CARBON * (2, 2, 2)), ("MAX_312", TI3SIC2 * (3, 3, 1))):
        positions, cell = turned(atoms, rng)
        assert classify(positions, atoms.numbers, cell, True, model=both).fractions().get(key, 0.0) > 0.9


@pytest.mark.slow
def test_the_shipped_model(tmp_path, rng):
    found = add_phase(cif(tmp_path, "t_carbon", T_CARBON), "T_CARBON", settings=AddSettings(seed=int(rng.integers(99))))
    assert found.report.accuracy > 0.9
    assert found.report.old_before - found.report.old_after < 0.005
    assert not found.report.faults


# ---------------------------------------------------------------- what is refused


def test_a_copy_of_a_known_phase_is_refused(base, tmp_path):
    found = add_phase(cif(tmp_path, "cu", bulk("Cu", cubic=True)), "MY_FCC", base=base, settings=settings())
    assert next(iter(found.report.labelled_before_as)) == "FCC"
    assert found.report.faults
    with pytest.raises(InputError, match=r"MY_FCC was not added: .*FCC.*--force"):
        found.save(tmp_path / "copy")
    assert not (tmp_path / "copy.json").exists()
    found.save(tmp_path / "copy", force=True)
    assert read_card(tmp_path / "copy")["additions"][0]["faults"]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        *[(key, "letters, digits") for key in ("my phase", "ß", "a-b", "", "a.b")],
        ("1A", "begins with a letter"),
        ("A" * 41, "40 characters"),
        ("auto", "means something else"),
        ("fcc", "has a phase FCC already"),
    ],
)
def test_bad_keys(base, tmp_path, key, message):
    with pytest.raises(InputError, match=message):
        add_phase(cif(tmp_path, "t_carbon", T_CARBON), key, base=base)


def test_key_of_an_own_phase(path, tmp_path):
    with pytest.raises(InputError, match="model has a phase T_CARBON already"):
        add_phase(cif(tmp_path, "t_carbon", T_CARBON), "T_carbon", base=path)
    assert checked_key("t_carbon") == "T_CARBON"


HALF = """data_x
_cell_length_a 3
_cell_length_b 3
_cell_length_c 3
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Cu 0 0 0 0.5
"""
CUBE = {"cell": [6.0] * 3, "pbc": True}
STRUCTURES = {
    "missing.cif": (None, "there is no file"),
    "words.cif": ("these are words", "ase cannot read .*words.cif"),
    "half.cif": (HALF, "partly occupied sites .*0.5"),
    "no_cell.xyz": (Atoms("Cu2", [[0, 0, 0], [2, 0, 0]]), "no cell of three"),
    "open.xyz": (Atoms("Cu", cell=[3, 3, 3], pbc=[True, True, False]), "periodic only along"),
    "several.xyz": ([bulk("Cu"), bulk("Fe")], "several structures"),
    "large.xyz": (bulk("Cu", cubic=True) * (5, 5, 5), "500 atoms in its cell"),
    "overlap.xyz": (Atoms("Cu2", [[0, 0, 0], [0.05, 0, 0]], **CUBE), "same place"),
    "empty.xyz": (Atoms(cell=[3, 3, 3], pbc=True), "0 atoms|cannot read"),
    "species.xyz": (Atoms("HLiBeBCNOF", np.random.default_rng(0).permutation(8)[:, None] * [2, 0, 0] + 0.5,
                          cell=[16, 3, 3], pbc=True), "8 species .* tells 6 apart"),
}  # fmt: skip


@pytest.mark.parametrize("name", STRUCTURES)
def test_bad_structures(base, tmp_path, name):
    content, message = STRUCTURES[name]
    file = tmp_path / name
    if isinstance(content, str):
        file.write_text(content)
    elif content is not None:
        write(file, content)
    with pytest.raises(InputError, match=message) as caught:
        add_phase(file, "MY_PHASE", base=base)
    assert name in str(caught.value)


def test_the_base_is_not_overwritten(base, tmp_path):
    for target, given in ((base, base), (SHIPPED, None), (SHIPPED.with_suffix(".json"), base)):
        with pytest.raises(InputError, match="would overwrite"):
            check_output(target, given)
    check_output(tmp_path / "new", None)


# ---------------------------------------------------------------- model files are untrusted


EDITS = {
    "id": lambda e: e.update(id=1),
    "id is no number": lambda e: e.update(id="100000"),
    "id is true": lambda e: e.update(id=True),
    "id too large": lambda e: e.update(id=2**31),
    "key": lambda e: e.update(key="__import__('os')"),
    "reserved": lambda e: e.update(key="OTHER"),
    "name": lambda e: e.update(name="two\nlines"),
    "long name": lambda e: e.update(name="a" * 1000),
    "no field": lambda e: e.pop("color"),
    "more fields": lambda e: e.update(extra=1),
    "color": lambda e: e.update(color=[0, 2, 0]),
    "color words": lambda e: e.update(color="red"),
    "space group": lambda e: e.update(space_group=231),
    "n_species": lambda e: e.update(n_species=7),
    "merged": lambda e: e.update(merged=["A_cF4_225_a-001"]),
    "flat cell": lambda e: e["reference"].update(cell=[[1, 0, 0], [2, 0, 0], [0, 0, 1]]),
    "cell of text": lambda e: e["reference"].update(cell="abc"),
    "ragged": lambda e: e["reference"]["fractional"].append([0.5]),
    "not finite": lambda e: e["reference"]["fractional"].__setitem__(0, [float("nan"), 0, 0]),
    "huge": lambda e: e["reference"]["fractional"].__setitem__(0, [1e300, 0, 0]),
    "species gap": lambda e: e["reference"].update(species=[5] * len(e["reference"]["species"])),
    "species": lambda e: e["reference"].update(species={}),
    "many atoms": lambda e: e["reference"].update(species=[0] * 401),
    "no reference": lambda e: e.update(reference=None),
}


@pytest.mark.parametrize("name", EDITS)
def test_records_are_checked(extended, name):
    entry = copy.deepcopy(extended.card["own_phases"][0])
    EDITS[name](entry)
    with pytest.raises(ModelFileError, match=r"own_phases.*copy both files"):
        own_phases({"own_phases": [entry]})


@pytest.mark.parametrize("entries", [{}, "text", [None], [[]], 3])
def test_entries_are_checked(entries):
    with pytest.raises(ModelFileError, match="own_phases"):
        own_phases({"own_phases": entries})


def test_a_model_with_a_bad_record_is_not_loaded(extended, tmp_path):
    tensors, card = copy.copy(extended.tensors), copy.deepcopy(extended.card)
    card["own_phases"][0]["id"] = 1
    save_model(tmp_path / "bad", tensors, card)
    with pytest.raises(ModelFileError, match="id = 1 "):
        PhaseModel.load(tmp_path / "bad")
    with pytest.raises(ModelFileError, match="id = 1 "):
        get_table(str(tmp_path / "bad"))
    card["own_phases"] = []
    save_model(tmp_path / "none", tensors, card)
    with pytest.raises(ModelFileError, match="T_CARBON"):
        PhaseModel.load(tmp_path / "none")


def test_keys_never_collide(extended):
    entry = copy.deepcopy(extended.card["own_phases"][0])
    with pytest.raises(ModelFileError, match="twice"):
        own_phases({"own_phases": [entry, entry]})
    entry["key"] = "FCC"
    with pytest.raises(ModelFileError, match="another key"):
        table_with({"own_phases": [entry]})
    assert table_with({}) is phase_table()
    assert max(phase.id for phase in phase_table()) < FIRST_OWN_ID
    json.dumps(extended.card, allow_nan=False)
