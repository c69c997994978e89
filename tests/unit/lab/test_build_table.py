"""The builder of the phase table on a small data folder: cells, clusters, groups, ids, and the facts of phases."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import json

import numpy as np
import pytest
from ase.geometry import cell_to_cellpar
from click.testing import CliRunner

from ovito_mace_phase.lab.phase_table import build
from ovito_mace_phase.lab.phase_table.groups import same_structure
from ovito_mace_phase.lab.phase_table.ices import ICES
from ovito_mace_phase.lab.phase_table.isopointal import MIN_MEMBERS, sort_clusters
from ovito_mace_phase.lab.phase_table.sheets import PLANES
from ovito_mace_phase.lab.phase_table.simple import FACTS, PTM_PROPOSALS, omega_phase
from ovito_mace_phase.lab.phase_table.sources import Proposal, Sources, facts_of
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.phases.record import FACTS as DEFAULTS
from ovito_mace_phase.phases.table import phase_to_json, read_table

KEYS = ("FCC", "HCP", "BCC", "SC", "CUBIC_DIAMOND", "HEX_DIAMOND", "DHCP", "ROCKSALT", "L1_0", "ALB2")
ALB2 = "AB2_hP3_191_a_d-001"


def structure(cell, fractional, numbers):
    return cell_to_cellpar(cell), np.asarray(fractional), np.asarray(numbers)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tables of some phases as if they came from AFLOW and the Materials Project, with two clusters of AlB2."""
    out = tmp_path_factory.mktemp("data")
    phases = [phase_table().by_key(key) for key in KEYS]
    with (out / "aflow1999_list.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["label", "strukturbericht", "title", "part"])
        rows.writerows([phase.aflow, phase.strukturbericht or "", phase.name, "1"] for phase in phases)
    with (out / "class_list_proposal.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["name", "tier", "representative", "merged", "natoms_prim"])
        rows.writerows([phase.name, "A", phase.aflow, "", phase.reference.n_atoms] for phase in phases)
    cells = [
        {"label": phase.aflow, "cell": phase.reference.cell.tolist(), "species": phase.reference.species.tolist(),
         "frac": phase.reference.fractional.tolist()}
        for phase in phases
    ]  # fmt: skip
    with gzip.open(out / "aflow1999_structures.json.gz", "wt") as stream:
        json.dump(cells, stream)
    entries = [
        ("mp-rocksalt", "AB_cF8_225_a_b-001", phase_table().by_key("ROCKSALT").reference, 1.0),
        ("mp-near", f"{ALB2}@mp-near", phase_table().by_key("ALB2").reference, 1.02),
        *[(f"mp-{k}", f"{ALB2}@mp-0", phase_table().by_key("ALB2").reference, 1.7) for k in range(MIN_MEMBERS)],
        ("mp-few", f"{ALB2}@mp-few", phase_table().by_key("ALB2").reference, 0.55),
    ]
    made = [
        structure(cell.cell * [[1.0], [1.0], [stretch]], cell.fractional, cell.species + 11)
        for _, _, cell, stretch in entries
    ]
    np.savez(
        out / "mp_labelled.npz",
        ids=np.array([entry[0] for entry in entries]),
        label=np.array([entry[1] for entry in entries]),
        d=np.full(len(entries), 0.01),
        cell=np.array([parameters for parameters, _, _ in made]),
        natoms=np.array([len(numbers) for _, _, numbers in made]),
        Z=np.concatenate([numbers for _, _, numbers in made]),
        frac=np.concatenate([fractional for _, fractional, _ in made]),
    )
    return out


@pytest.fixture(autouse=True)
def one_ice(monkeypatch):
    monkeypatch.setattr(build, "ICES", ICES[1:2])


def test_clusters_near_belong_to_the_phase_and_far_large_ones_are_phases(folder):
    sources = Sources(folder)
    cell = phase_table().by_key("ALB2").reference
    near, own = sort_clusters(sources, [Proposal(label=ALB2, merged=(), title="AlB2")], {ALB2: cell})
    assert near == {ALB2: [f"{ALB2}@mp-near"]}
    assert [proposal.label for proposal in own] == [f"{ALB2}@mp-0"]
    assert own[0].title == "AlB2, other geometry (mp-0)"
    assert sort_clusters(sources, [], {}) == ({}, [])


def test_the_table_is_built_and_keeps_its_ids(folder, tmp_path):
    output = tmp_path / "table.json"
    arguments = ["--data", str(folder), "-o", str(output)]
    done = CliRunner().invoke(build.main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert f"of {MIN_MEMBERS + 3} Materials Project structures" in done.output
    first = output.read_text()
    table = read_table(json.loads(first))
    keys = [phase.key for phase in table]
    assert keys[:9] == [phase.key for phase in phase_table()][:9]  # PTM's nine
    assert {"OMEGA", "ICE_IC", *KEYS} <= set(keys)
    assert len(keys) == 9 + 2 + 4 + 1 + 1 + len(PLANES)  # omega, an ice, the named ones, the cluster, BETA_W, sheets
    for key in KEYS:
        one, other = table.by_key(key), phase_table().by_key(key)
        assert same_structure(one.reference, other.reference), key
        assert (one.aflow, one.pearson, one.space_group) == (other.aflow, other.pearson, other.space_group)
    assert table.by_key("ROCKSALT").source == "Materials Project mp-rocksalt (CC-BY-4.0), symmetrised"
    assert table.by_key("ALB2").merged == (f"{ALB2}@mp-near",)
    facts = {name for name in DEFAULTS if getattr(table.by_key("DHCP"), name) != DEFAULTS[name]}
    assert facts == {"common", "logit_offset"}
    data = json.loads(first)
    for entry in data["phases"]:
        entry["id"] = {"OMEGA": 150}.get(entry["key"], entry["id"])
    output.write_text(json.dumps(data))
    CliRunner().invoke(build.main, arguments, catch_exceptions=False)
    again = read_table(json.loads(output.read_text()))
    assert again.by_key("OMEGA").id == 150
    assert again.by_key("DHCP").id == table.by_key("DHCP").id


def test_what_a_table_has_is_kept(rng):
    """A namesake among the labels takes no key away; cells stay, species in their order, unless the crystal differs."""
    old = [phase_table().by_key(key) for key in ("WURTZITE", "ROCKSALT", "FLUORITE")]
    wurtzite, rocksalt, fluorite = old
    cell = wurtzite.reference
    order = rng.permutation(cell.n_atoms)
    other = dataclasses.replace(cell, species=1 - cell.species[order], fractional=(cell.fractional[order] + 1e-7) % 1.0)
    new = [
        dataclasses.replace(wurtzite, key="LABEL_001", group="LABEL_001", reference=other),
        dataclasses.replace(rocksalt, group="LABEL_001"),
        dataclasses.replace(
            fluorite, reference=dataclasses.replace(fluorite.reference, cell=fluorite.reference.cell * 1.1)
        ),
    ]
    known = {phase.key: phase for phase in old}
    kept = build.keep_cells(build.keep_keys(new, old), known)
    assert [(p.key, p.group) for p in kept] == [("WURTZITE", "WURTZITE"), ("ROCKSALT", "WURTZITE"), ("FLUORITE",) * 2]
    assert kept[0].reference is cell
    assert kept[2].reference is new[2].reference


def test_the_facts_of_the_table_are_those_of_its_sources(folder):
    """`table.json` says of every phase what the builder would."""
    named = Sources(folder).named
    ices = {ice.key: ice for ice in ICES}
    for phase in phase_table():
        if phase.key in ices:
            wanted = {"common": True, "lattice": ices[phase.key].oxygens}
        elif phase.key in PTM_PROPOSALS:
            wanted = FACTS[phase.key]
        elif phase.key == "OMEGA":
            wanted = {name: getattr(omega_phase(), name) for name in DEFAULTS}
        else:
            wanted = facts_of(named.get(phase.aflow or "", {}))
        facts = DEFAULTS | wanted | {"family": phase.family, "family_strain": phase.family_strain}  # these are measured
        assert {name: getattr(phase, name) for name in DEFAULTS} == facts, phase.key
    assert phase_table().by_key("DHCP").logit_offset == 2.0
    assert sum(phase.common for phase in phase_table()) == 43


def test_facts_are_left_out_of_a_record_where_they_are_the_default():
    assert "common" not in phase_to_json(phase_table().by_key("SIGMA"))
    assert phase_to_json(phase_table().by_key("ZINCBLENDE"))["lattice"] == "CUBIC_DIAMOND"
    assert facts_of({"common": "yes", "logit_offset": "1.5", "lattice": "FCC", "key": "X", "stacking": None}) == {
        "common": True,
        "logit_offset": 1.5,
        "lattice": "FCC",
    }
