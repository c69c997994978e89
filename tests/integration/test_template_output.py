"""What templates say of the atoms, in OVITO: beside Polyhedral Template Matching, sites, reasons, tables, the cache."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import ovito
import pytest
from ase.build import bulk, fcc111
from fake_model import install
from ovito.io import import_file
from ovito.io.ase import ase_to_ovito
from ovito.modifiers import (
    ColorByTypeModifier,
    ExpressionSelectionModifier,
    PolyhedralTemplateMatchingModifier,
    SelectTypeModifier,
)
from ovito.pipeline import Pipeline, StaticSource
from pipelines import copper

from ovito_mace_phase import MacePhaseModifier
from ovito_mace_phase.classification import verified
from ovito_mace_phase.classification.geometry.verdict import Reason, Verdict
from ovito_mace_phase.cli import main
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.phases.site_names import site_id, site_names
from ovito_mace_phase.runtime.errors import InputError

DUMPS = Path(__file__).parents[2] / "sample_dumps"
TABLE = phase_table()
OUTPUT = {
    "output_rmsd": True,
    "output_orientation": True,
    "output_deformation_gradient": True,
    "output_interatomic_distance": True,
}
PROPERTIES = {"RMSD": (), "Orientation": (4,), "Elastic Deformation Gradient": (9,), "Interatomic Distance": ()}
REASONS = (
    "background",
    "low_density",
    "defect",
    "no_template",
    "low_confidence",
    "close",
    "switched_off",
    "not_selected",
)


def line_of(atoms, *modifiers) -> Pipeline:
    line = Pipeline(source=StaticSource(data=ase_to_ovito(atoms)))
    for modifier in modifiers:
        line.modifiers.append(modifier)
    return line


def reasons(data) -> dict[str, int]:
    """The reasons that occur; all are there and add up to the atoms that are Other."""
    found = {name: data.attributes[f"MacePhase.other.{name}"] for name in REASONS}
    assert sum(found.values()) == data.attributes["MacePhase.counts.OTHER"]
    chart = data.tables["mace-other"]
    named = {kind.id: kind.name for kind in chart.x.types}
    assert {named[k].replace(" ", "_"): n for k, n in zip(chart.x[...], chart.y[...], strict=True)} == found
    return {name: count for name, count in found.items() if count}


def turned_fcc(rng, sigma: float):
    """Copper whose crystal is turned at random, with thermal noise."""
    atoms = bulk("Cu", cubic=True) * (5, 5, 5)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.linalg.det(turn)
    atoms.set_cell(atoms.cell[:] @ turn.T, scale_atoms=True)
    atoms.positions += rng.normal(0.0, sigma, atoms.positions.shape)
    return atoms


def test_properties_are_those_of_ptm(rng):
    atoms = turned_fcc(rng, 0.08)
    atoms.positions[7] += rng.normal(0.0, 1.0, 3)
    theirs = line_of(atoms, PolyhedralTemplateMatchingModifier(rmsd_cutoff=0, **OUTPUT)).compute()
    ours = line_of(atoms, MacePhaseModifier(compatibility="PTM", **OUTPUT)).compute()
    alike = np.abs(np.array(ours.particles["RMSD"]) - np.array(theirs.particles["RMSD"])) < 1e-5
    assert alike.mean() > 0.95  # those around the displaced atom may be matched otherwise
    for name, shape in PROPERTIES.items():
        one, other = ours.particles[name], theirs.particles[name]
        assert one[...].dtype == other[...].dtype, name
        assert one[...].shape == other[...].shape == (len(atoms), *shape), name
        assert one.component_names == other.component_names, name
        assert one.type_id == other.type_id, name  # OVITO's standard properties
    for name in ("Interatomic Distance", "RMSD"):
        np.testing.assert_allclose(ours.particles[name][alike], theirs.particles[name][alike], atol=1e-4)
    turns = np.array(ours.particles["Orientation"]), np.array(theirs.particles["Orientation"])
    same = np.abs((turns[0] * turns[1]).sum(axis=1)) > 1.0 - 1e-5
    assert same[alike].mean() > 0.95  # two settings of the cube may turn it as little
    both = alike & same
    gradients = (np.array(data.particles["Elastic Deformation Gradient"])[both] for data in (ours, theirs))
    np.testing.assert_allclose(*gradients, atol=2e-3)
    for name in ("mace-rmsd", "ptm-rmsd"):
        table, expected = ours.tables[name], theirs.tables["ptm-rmsd"]
        assert (table.title, table.axis_label_x, table.plot_mode, table.y.name, table.x) == (
            expected.title, expected.axis_label_x, expected.plot_mode, expected.y.name, None,
        )  # fmt: skip
        assert len(table.y) == 100
        assert table.y[...].sum() == np.count_nonzero(ours.particles["RMSD"])
        assert table.interval[1] == pytest.approx(1.01 * np.max(ours.particles["RMSD"]))


def test_numbers_of_atoms_without_a_fit_are_zero(rng):
    """Isolated atoms and atoms that are not selected, as with PTM."""
    atoms = bulk("Cu", cubic=True) * (4, 4, 4)
    atoms.set_cell(atoms.cell[:] + np.diag([0, 0, 30.0]))
    atoms.append("Cu")
    atoms.positions[-1] = (5.0, 5.0, 30.0)
    selection = ExpressionSelectionModifier(expression="Position.X < 9")
    data = line_of(atoms, selection, MacePhaseModifier(only_selected=True, output_site=True, **OUTPUT)).compute()
    out = (atoms.positions[:, 0] >= 9) | (np.arange(len(atoms)) == len(atoms) - 1)
    for name in PROPERTIES:
        assert (np.array(data.particles[name])[out] == 0).all(), name
    assert (np.array(data.particles["Site"])[out] == 0).all()
    assert set(np.array(data.particles["Site"])) == {0, site_id(1, 0)}
    found = reasons(data)
    assert found["not_selected"] == np.count_nonzero(atoms.positions[:, 0] >= 9)
    assert data.attributes["MacePhase.unverified"] == 0


def perovskite(rng):
    cell = TABLE.by_key("PEROVSKITE").reference
    atoms = bulk("Cu", "sc", a=1.0)
    atoms.set_cell(cell.cell)
    atoms = type(atoms)(
        numbers=[22 + code for code in cell.species], positions=cell.positions, cell=cell.cell, pbc=True
    )
    atoms *= (5, 5, 5)
    atoms.positions += rng.normal(0.0, 0.04, atoms.positions.shape)
    return atoms[rng.permutation(len(atoms))]


def test_sites_of_a_perovskite(rng):
    """One type a site, named after the Wyckoff letter; the atoms of a species are on one site."""
    atoms = perovskite(rng)
    data = line_of(atoms, MacePhaseModifier(output_site=True)).compute()
    assert data.attributes["MacePhase.counts.PEROVSKITE"] == len(atoms)
    site = data.particles["Site"]
    names = {kind.id: kind.name for kind in site.types}
    assert set(names.values()) == {"none", "PEROVSKITE:1a", "PEROVSKITE:1b", "PEROVSKITE:3c"}
    assert len({tuple(kind.color) for kind in site.types}) == 4
    found = {tuple({names[k] for k in site[atoms.numbers == number]}) for number in set(atoms.numbers)}
    assert found == {("PEROVSKITE:1a",), ("PEROVSKITE:1b",), ("PEROVSKITE:3c",)}
    (oxygen,) = {k for k, name in names.items() if name.endswith("3c")}
    assert np.count_nonzero(site[...] == oxygen) == 3 * len(atoms) // 5
    again = line_of(
        atoms,
        MacePhaseModifier(output_site=True),
        ColorByTypeModifier(property="Site"),
        SelectTypeModifier(property="Site", types={"PEROVSKITE:3c"}),
    ).compute()
    np.testing.assert_array_equal(again.particles["Site"], site)
    assert again.particles["Selection"][...].sum() == 3 * len(atoms) // 5


def test_sites_of_an_antisite_crystal():
    """L1_2 with a pair exchanged: the atoms keep the site that they are on, whatever their type."""
    atoms = bulk("Ni", cubic=True, a=3.57) * (5, 5, 5)
    atoms.numbers[::4] = 13
    atoms.numbers[[0, 301]] = atoms.numbers[[301, 0]]
    data = line_of(atoms, MacePhaseModifier(output_site=True, species="by name")).compute()
    site = np.array(data.particles["Site"])
    on_corner = np.arange(len(atoms)) % 4 == 0
    placed = site > 0
    assert placed.mean() > 0.9
    number = TABLE.by_key("L1_2").id
    np.testing.assert_array_equal(site[placed], np.where(on_corner, site_id(number, 0), site_id(number, 1))[placed])


def test_reasons(rng):
    """Surface atoms are defects or background, lone atoms and switched off phases have a reason of their own."""
    slab = fcc111("Cu", (5, 5, 7), vacuum=12.0, periodic=True)
    modifier = MacePhaseModifier()
    line = line_of(slab, modifier)
    surface = reasons(line.compute())
    assert surface in ({"defect": 50}, {"background": 50})
    modifier.structures["FCC"].enabled = False
    assert reasons(line.compute()) == surface | {"switched_off": 125}
    assert "Site" not in line.compute().particles
    modifier.structures["FCC"].enabled = True
    modifier.defects = "phase"
    modifier.output_site = True
    data = line.compute()
    assert reasons(data) == {}
    assert set(data.particles["Site"][...]) == {0, site_id(1, 0)}  # an atom that fits nothing is on no site
    modifier.confidence_threshold = 1.0
    assert set(reasons(line.compute())) == {"low_confidence"}
    modifier.confidence_threshold = 0.0
    modifier.output_site = False
    modifier.verify = "off"
    data = line.compute()
    assert data.attributes["MacePhase.unverified"] == len(slab) - data.attributes["MacePhase.counts.OTHER"] > 0
    assert "RMSD" not in data.particles
    assert "mace-rmsd" not in data.tables


def test_a_changed_cutoff_or_output_does_not_evaluate_again(monkeypatch):
    fake = install(monkeypatch, templates=True)
    modifier = MacePhaseModifier()
    line = copper(modifier, noise=0.02)
    first = line.compute().attributes["MacePhase.counts.OTHER"]
    for name, value in {
        "rmsd_cutoff": 1e-9,
        "defects": "phase",
        "output_site": True,
        **OUTPUT,
        "output_rmsd": False,
    }.items():
        setattr(modifier, name, value)
        data = line.compute()
        if name == "rmsd_cutoff":
            assert data.attributes["MacePhase.counts.OTHER"] > first
    assert "RMSD" not in data.particles
    assert {"Site", "Orientation", "Interatomic Distance", "Elastic Deformation Gradient"} <= set(data.particles.keys())
    modifier.output_site = modifier.output_orientation = False
    modifier.output_deformation_gradient = modifier.output_interatomic_distance = False
    modifier.verify = "off"
    line.compute()
    assert fake.calls == 1


def test_output_that_needs_templates_is_refused_without():
    for name in ("output_site", "output_orientation", "output_deformation_gradient", "output_interatomic_distance"):
        with pytest.raises(InputError, match=f"{name}.*verify='auto'"):
            copper(MacePhaseModifier(verify="off", **{name: True})).compute()


def test_no_atoms():
    empty = bulk("Cu", cubic=True)[:0]
    data = line_of(empty, MacePhaseModifier(output_site=True, compatibility="PTM", **OUTPUT)).compute()
    assert reasons(data) == {}
    assert data.tables["mace-rmsd"].y[...].sum() == 0
    assert len(data.particles["Orientation"]) == 0


def test_atoms_at_the_place_of_others_have_their_numbers(rng):
    """A massless site has the fit of the atom that it lies on; of what is left out there is none."""
    atoms = bulk("Cu", cubic=True) * (4, 4, 4)
    shells = atoms[:40].copy()
    shells.numbers[:] = 18
    shells.positions += rng.normal(0.0, 0.01, shells.positions.shape)
    both = atoms + shells
    with pytest.warns(UserWarning, match="at the place of another atom"):
        data = line_of(both, MacePhaseModifier(output_site=True, **OUTPUT)).compute()
    for name in ("Site", *PROPERTIES):
        values = np.array(data.particles[name])
        np.testing.assert_array_equal(values[:40], values[256:], err_msg=name)
    assert data.attributes["MacePhase.counts.FCC"] == len(both)
    assert reasons(data) == {}


@pytest.mark.parametrize("key", ["PEROVSKITE", "CORUNDUM", "SPINEL", "SIGMA", "ALPHA_QUARTZ"])
def test_names_of_sites(key):
    known = {
        "PEROVSKITE": {"1a", "1b", "3c"},
        "CORUNDUM": {"12c", "18e"},
        "SPINEL": {"8a", "16d", "32e"},
        "SIGMA": {"2a", "4g", "8i(1)", "8i(2)", "8j"},
        "ALPHA_QUARTZ": {"3a", "6c"},
    }
    assert {name.removeprefix(f"{key}:") for name in site_names(TABLE.by_key(key))} == known[key]


# ---------------------------------------------------------------- denoising


def test_melts_stay_other_after_denoising(monkeypatch):
    """Denoising makes crystals of a melt, which templates then fit; what was surely Other before is Other still."""
    data = import_file(str(DUMPS / "cu_melting.dump.gz")).compute(11)
    line = Pipeline(source=StaticSource(data=data))
    line.modifiers.append(MacePhaseModifier(denoise_steps=8))
    found = line.compute()
    assert found.attributes["MacePhase.counts.OTHER"] == 1024
    assert sum(reasons(found).values()) == 1024
    assert reasons(found)["background"] > 900  # of the others no template fitted what the network took for a crystal
    assert found.particles["Confidence"][...].mean() > 0.5
    line.modifiers[0].delegate.model = "mace-phase-6"  # the default makes no crystals of a melt
    assert line.compute().attributes["MacePhase.counts.OTHER"] == 1024
    monkeypatch.setattr(verified, "SURE", 2.0)
    line.modifiers[0].delegate.confidence_threshold = 1e-6  # reads the labels again
    assert line.compute().attributes["MacePhase.counts.OTHER"] < 1000


def test_of_what_was_before_denoising_the_sure_alone_counts(rng):
    n = 4000

    def drawn():
        column = rng.integers(-1, 3, n)
        reason = np.where(column >= 0, Reason.NONE, rng.choice([r for r in Reason if r != Reason.NONE], n))
        return Verdict(column=column, confidence=rng.random(n, np.float32), reason=reason.astype(np.int8))

    first, final = drawn(), drawn()
    kept = verified._still_other(final, first)
    sure = (first.column < 0) & (first.confidence > 0.5)
    melt = sure & (final.column >= 0)
    assert 50 < melt.sum() < n // 4
    assert (kept.column[sure] == -1).all()
    np.testing.assert_array_equal(kept.reason[sure], first.reason[sure])
    np.testing.assert_array_equal(kept.confidence, np.where(melt, first.confidence, final.confidence))
    for name in ("column", "reason"):
        np.testing.assert_array_equal(getattr(kept, name)[~sure], getattr(final, name)[~sure])


# ---------------------------------------------------------------- sessions, files


def test_a_session_keeps_them(tmp_path):
    asked = {"rmsd_cutoff": 0.12, "defects": "phase", "output_site": True, "output_rmsd": False}
    modifier = MacePhaseModifier(**asked)
    line = copper(modifier)
    line.add_to_scene()
    try:
        before = np.array(line.compute().particles["Site"])
        ovito.scene.save(str(tmp_path / "one.ovito"))
    finally:
        line.remove_from_scene()
    ovito.scene.load(str(tmp_path / "one.ovito"))
    line = ovito.scene.pipelines[-1]
    try:
        again = line.modifiers[0].delegate
        assert {name: getattr(again, name) for name in asked} == asked
        data = line.compute()
    finally:
        line.remove_from_scene()
    np.testing.assert_array_equal(data.particles["Site"], before)
    assert "RMSD" not in data.particles
    assert data.attributes["MacePhase.settings.rmsd_cutoff"] == 0.12


@pytest.mark.parametrize("kind", ["xyz", "dump"])
def test_the_command_writes_them(kind, tmp_path, capsys, no_rendering, rng):
    slab = fcc111("Cu", (5, 5, 7), vacuum=12.0, periodic=True)
    slab.positions += rng.normal(0.0, 0.02, slab.positions.shape)  # of several settings of a crystal one turns it least
    path = tmp_path / "slab.xyz"
    slab.info.clear()
    slab.write(path, format="extxyz")
    asked = ["--output-site", "--output-orientation", "--output-interatomic-distance", "--output-deformation-gradient"]
    arguments = ["classify", str(path), "-o", str(tmp_path), "--no-picture", "--format", kind, "--prior", "uniform"]
    with pytest.raises(SystemExit) as done:
        main([*arguments, *asked])
    assert done.value.code == 0
    (others,) = re.findall(r"^Other: (.*)$", capsys.readouterr().out, re.M)
    assert sum(int(number) for number in re.findall(r"(\d+) ", others)) == 50
    labelled = import_file(str(tmp_path / f"slab.{'labelled.xyz' if kind == 'xyz' else 'dump'}")).compute().particles
    alone = line_of(slab, MacePhaseModifier(prior="uniform", output_site=True, **OUTPUT)).compute().particles
    plain = {name.replace(" ", "").lower(): labelled[name] for name in labelled.keys()}  # noqa: SIM118 - not a dict
    for name in PROPERTIES:  # of files OVITO reads names without blanks, and small letters from dumps
        np.testing.assert_allclose(plain[name.replace(" ", "").lower()], alone[name], atol=1e-5, err_msg=name)
    site = plain["site"]
    if kind == "xyz":  # names, which OVITO reads as text
        assert set(site[...]) == {"none", "FCC:4a"}
        site = [site_id(1, 0) if name == "FCC:4a" else 0 for name in site[...]]
    np.testing.assert_array_equal(site, alone["Site"])
