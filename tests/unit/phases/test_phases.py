"""The phase table: identity, look-ups, names, colours, and every reference cell against its label."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest
from click.testing import CliRunner

from ovito_mace_phase.cli.phases import phases_command
from ovito_mace_phase.lab.phase_table.cells import label_composition, space_group
from ovito_mace_phase.lab.phase_table.groups import matching_pairs, same_structure
from ovito_mace_phase.lab.phase_table.ices import bonds, oxygen_net
from ovito_mace_phase.lab.phase_table.names import STRUKTURBERICHT, clean_name
from ovito_mace_phase.lab.phase_table.sheets import SHEETS
from ovito_mace_phase.lab.phase_table.simple import PTM
from ovito_mace_phase.model.registry import DEFAULT
from ovito_mace_phase.phases import Phase, PhaseTable, phase_table
from ovito_mace_phase.phases.colors import spread_color
from ovito_mace_phase.phases.record import FIRST_OWN_ID
from ovito_mace_phase.phases.table import read_table, write_table
from ovito_mace_phase.runtime.errors import InputError

# AFLOW labels bixbyite by its two Mn sites; here they are one species.
MERGED_SITES = {"BIXBYITE": [4, 6]}
# RGB difference that a screen still shows.
MIN_COLOR_STEP = 0.004

WELL_KNOWN = [
    "FCC", "BCC", "HCP", "DHCP", "SAMARIUM_9R", "OMEGA", "A15", "BETA_SN", "BETA_MN", "ROCKSALT", "CSCL",
    "ZINCBLENDE", "WURTZITE", "FLUORITE", "L1_2", "L1_0", "D0_19", "D0_22", "D0_3", "HEUSLER_L2_1",
    "HALF_HEUSLER", "LAVES_C14", "LAVES_C15", "LAVES_C36", "PEROVSKITE", "SPINEL", "RUTILE", "ANATASE",
    "CORUNDUM", "ALPHA_QUARTZ", "BADDELEYITE", "BROOKITE", "COSN", "CU2SB", "GAMMA_BRASS", "SIGMA", "FEB",
    "ZRNIAL", "BIXBYITE", "GARNET", "GARNET_YAG", "ICE_IH", "BETA_W", "NITI_B19P", "BETA_GA2O3", "LI3N", "ALPHA_CO",
    "BETA_O2", "TISI2_C54", "ZRO2_PCA21", "NET_ICE_VI", "MONO_HEXAGONAL", "MONO_MOS2_2H", "MONO_BLACK_P",
]  # fmt: skip
SEPARATE = [["FCC", "HCP", "DHCP", "SAMARIUM_9R"], ["ZINCBLENDE", "WURTZITE", "SIC_4H", "SIC_6H"], ["BCC", "CSCL"]]

TABLE = phase_table()
CRYSTALS = [phase for phase in TABLE if phase.reference is not None and phase.key not in SHEETS]
WATER = [phase for phase in TABLE if phase.key.startswith(("ICE_", "CLATHRATE_"))]


def test_size():
    assert sum(phase.reference is not None for phase in TABLE) >= 620
    assert sum(phase.key.startswith("ICE_") for phase in TABLE) >= 12
    assert {"CLATHRATE_SI", "CLATHRATE_SII", "CLATHRATE_SH"} <= {phase.key for phase in TABLE}


def test_ids_and_keys_are_unique():
    assert len({phase.id for phase in TABLE}) == len(TABLE)
    assert len({phase.key for phase in TABLE}) == len(TABLE)
    assert len({phase.name for phase in TABLE}) == len(TABLE)
    assert all(re.fullmatch(r"[A-Z0-9_]+", phase.key) for phase in TABLE)
    assert [phase.id for phase in TABLE] == sorted(phase.id for phase in TABLE)
    assert all(phase.id <= 8 or phase.id >= 100 for phase in TABLE)


def test_ptm_phases():
    assert [(p.id, p.key, p.name, p.color) for p in TABLE[:9]] == list(PTM)
    assert [p.name for p in TABLE[:9]] == [
        *("Other", "FCC", "HCP", "BCC", "ICO"),
        *("Simple cubic", "Cubic diamond", "Hexagonal diamond", "Graphene"),
    ]
    assert TABLE.by_id(0).reference is None
    assert TABLE.by_key("ICO").reference is None


def test_ptm_names_and_colors_are_ovitos():
    modifiers = pytest.importorskip("ovito.modifiers")
    structures = modifiers.PolyhedralTemplateMatchingModifier().structures
    for phase, structure in zip(TABLE[:9], structures, strict=True):
        assert (phase.id, phase.name) == (structure.id, structure.name)
        np.testing.assert_allclose(phase.color, structure.color, atol=1e-3)


@pytest.mark.parametrize("key", WELL_KNOWN)
def test_well_known_phases_are_there(key: str):
    assert TABLE.by_key(key).key == key


@pytest.mark.parametrize("phase", CRYSTALS, ids=lambda phase: phase.key)
def test_reference_cell_agrees_with_its_label(phase: Phase):
    cell = phase.reference
    assert cell is not None
    assert cell.cell.shape == (3, 3)
    assert cell.fractional.shape == (cell.n_atoms, 3)
    assert cell.cell.dtype == cell.fractional.dtype == np.float64
    assert cell.species.dtype == np.int64
    counts = np.bincount(cell.species)
    assert len(counts) == phase.n_species
    assert counts.min() > 0
    # The letters of a water phase are oxygen and hydrogen; its space group is that of the oxygen net.
    net = oxygen_net(cell) if phase in WATER else cell
    assert space_group(net) == phase.space_group
    if phase.aflow is None:
        return
    assert phase.space_group == int(phase.aflow.split("_")[2])
    assert phase.pearson == phase.aflow.split("_")[1]
    composition = np.array(MERGED_SITES.get(phase.key, label_composition(phase.aflow)))
    np.testing.assert_array_equal(counts * composition.sum(), composition * counts.sum())


@pytest.mark.parametrize("phase", CRYSTALS, ids=lambda phase: phase.key)
def test_atoms_of_a_reference_cell_do_not_touch(phase: Phase):
    assert phase.reference is not None
    cell = phase.reference
    shifts = np.stack(np.meshgrid(*3 * ([-1, 0, 1],), indexing="ij"), axis=-1).reshape(-1, 3)
    vectors = (cell.fractional[:, None, None] - cell.fractional[None, :, None] + shifts) @ cell.cell
    distances = np.linalg.norm(vectors, axis=-1)
    assert distances[distances > 1e-6].min() > 0.7
    assert (distances <= 1e-6).sum() == cell.n_atoms


@pytest.mark.parametrize("phase", WATER, ids=lambda phase: phase.key)
def test_water_obeys_the_ice_rules(phase: Phase):
    cell = phase.reference
    assert cell is not None
    net = oxygen_net(cell)
    assert np.array_equal(np.bincount(cell.species), [net.n_atoms, 2 * net.n_atoms])
    if phase.key != "ICE_VII":  # two nets, whose bonds are as long as the contacts between them
        assert len(bonds(net)) == 2 * net.n_atoms
    vectors = cell.fractional[cell.species == 0][:, None] - cell.fractional[cell.species == 1][None]
    distances = np.linalg.norm((vectors - np.round(vectors)) @ cell.cell, axis=-1)
    near = np.sort(distances, axis=1)
    np.testing.assert_allclose(near[:, :2], 0.9572, atol=1e-3)  # its own hydrogen
    assert np.all((near[:, 2:4] > 1.6) & (near[:, 2:4] < 2.2))  # two that it accepts
    assert np.all((distances < 2.2).sum(axis=0) == 2)


def test_ice_vii_has_no_bonds_by_distance():
    cell = TABLE.by_key("ICE_VII").reference
    assert cell is not None
    with pytest.raises(ValueError, match="four-coordinated"):
        bonds(oxygen_net(cell))


def test_phases_that_match_share_a_group():
    pairs = list(matching_pairs([phase.reference for phase in CRYSTALS if phase.reference is not None]))
    paired = {CRYSTALS[k].key for pair in pairs for k in pair}
    assert {phase.key for phase in CRYSTALS if phase.group != phase.key} <= paired
    for a, b in pairs:
        assert CRYSTALS[a].group == CRYSTALS[b].group, (CRYSTALS[a].key, CRYSTALS[b].key)


def test_groups_are_led_by_a_phase_of_the_table():
    for phase in TABLE:
        lead = TABLE.by_key(phase.group)
        assert lead.group == lead.key
        assert lead.id <= phase.id
    for separate in SEPARATE:
        assert len({TABLE.by_key(key).group for key in separate}) == len(separate)


def test_matcher_knows_like_from_unlike():
    fcc, rocksalt, zincblende, diamond = (
        TABLE.by_key(key).reference for key in ("FCC", "ROCKSALT", "ZINCBLENDE", "CUBIC_DIAMOND")
    )
    assert fcc is not None
    assert rocksalt is not None
    assert zincblende is not None
    assert diamond is not None
    assert same_structure(rocksalt, rocksalt)
    assert not same_structure(rocksalt, zincblende)
    assert not same_structure(zincblende, diamond)
    assert not same_structure(fcc, diamond)


def test_labels_belong_to_one_phase():
    labels = [label for phase in TABLE for label in (phase.aflow, *phase.merged) if label]
    assert len(labels) == len(set(labels)) == len(TABLE.labels)


def test_names_are_clean():
    for phase in TABLE:
        assert not re.search(r"[\\$`{}]|cdot|  |^em ", phase.name), phase.name
        assert "_" not in STRUKTURBERICHT.sub("", phase.name), phase.name
        assert phase.name == phase.name.strip()


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Mo_2FeB_2", "Mo2FeB2"),
        ("CdPt_3 (``New'' L1_3)", "CdPt3 (New L1_3)"),
        ("gamma'-Fe_4N (L'1_0)", "gamma'-Fe4N (L'1_0)"),
        ("LiZnPO_4cdotH_2O", "LiZnPO4\N{MIDDLE DOT}H2O"),
        ("K_2CuCl_4 cdot 2H_2O (H4_1)", "K2CuCl4\N{MIDDLE DOT}2H2O (H4_1)"),
        ("Rosick'yite (gamma-monoclinic Sulfur)", "Rosickyite (gamma-monoclinic Sulfur)"),
        ("C_2CeNi", "C2CeNi"),
        ("BN (B_k)", "BN (B_k)"),
        ("Dolomite [MgCa(CO_3)_2, G1_1", "Dolomite [MgCa(CO3)2, G1_1]"),
    ],
)
def test_clean_name(title: str, name: str):
    assert clean_name(title) == name


def test_colors_are_distinct_and_keyed_on_the_id():
    colors = np.array([phase.color for phase in TABLE])
    assert np.all((colors >= 0) & (colors <= 1))
    distances = np.abs(colors[:, None] - colors[None]).max(axis=-1)
    np.fill_diagonal(distances, 1)
    assert distances.min() >= MIN_COLOR_STEP
    assert all(phase.color == spread_color(phase.id) for phase in TABLE if phase.id >= 100)


@pytest.mark.parametrize("number", [100, 709, 710, 5000, FIRST_OWN_ID, FIRST_OWN_ID + 700])
def test_every_id_has_a_color(number):
    assert all(0.0 <= value <= 1.0 for value in spread_color(number))


def test_phases_that_users_add_keep_their_colors():
    assert spread_color(FIRST_OWN_ID) == (0.728, 0.543, 0.941)
    assert spread_color(FIRST_OWN_ID + 1) == (0.158, 0.502, 0.387)


def test_look_ups():
    assert TABLE.by_id(1).key == "FCC"
    assert TABLE.by_key("l1_2").key == "L1_2"
    assert TABLE.by_aflow("A_hP2_194_c-001").key == "HCP"
    assert TABLE.by_aflow("A_hP2_194_c").key == "HCP"
    assert TABLE.by_aflow("A_tI2_139_a-001").key == "FCC"  # merged
    assert TABLE.by_aflow("AB2_hP3_191_a_d").key == "ALB2"  # not its isopointal cluster UHG2
    assert TABLE.by_aflow("AB2_hP3_191_a_d-001@mp-2281971").key == "UHG2"
    assert [phase.key for phase in TABLE.find("wurtz")] == ["WURTZITE"]
    assert {phase.key for phase in TABLE.find("b8_1")} >= {"NIAS"}
    assert TABLE.find("no such phase") == []


def test_failed_look_ups_name_near_matches():
    with pytest.raises(InputError, match="WURTZITE"):
        TABLE.by_key("WURZITE")
    with pytest.raises(InputError, match="A_hP2_194_c-001"):
        TABLE.by_aflow("A_hP2_194_d-001")
    with pytest.raises(InputError, match="give it in full"):
        TABLE.by_aflow("A_tI2_139_a")
    with pytest.raises(InputError, match="no phase has the id 50"):
        TABLE.by_id(50)


def test_file_is_stable(tmp_path):
    text = files("ovito_mace_phase.phases").joinpath("table.json").read_text(encoding="utf-8")
    assert len(text) < 2_500_000
    write_table(tmp_path / "table.json", TABLE)
    assert (tmp_path / "table.json").read_text(encoding="utf-8") == text
    with pytest.raises(InputError, match="format 99"):
        read_table(json.loads(text) | {"format": 99})


def test_every_phase_has_a_source():
    for phase in TABLE:
        assert phase.source
        assert phase.citation


def test_table_is_a_sequence():
    assert isinstance(TABLE, PhaseTable)
    assert TABLE[1] is TABLE.by_id(1)
    assert phase_table() is TABLE


def test_command_prints_an_aligned_table():
    result = CliRunner().invoke(phases_command, ["--grep", "Laves"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0].split()[:3] == ["id", "key", "name"]
    assert [line.split()[1] for line in lines[1:-1]] == ["LAVES_C15", "LAVES_C14", "LAVES_C36"]
    assert lines[-1] == f"3 of {len(TABLE)} phases; {DEFAULT} predicts 3 of them"
    assert len({line.index("AB2_") for line in lines if "AB2_" in line}) == 1
    assert "no phase matches" in CliRunner().invoke(phases_command, ["--grep", "no such phase"]).output


def test_import_needs_numpy_only():
    code = (
        "import sys, ovito_mace_phase.phases as p; p.phase_table();"
        "print([m for m in ('torch', 'spglib', 'pymatgen', 'genice2', 'ovito', 'scipy', 'numba') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
