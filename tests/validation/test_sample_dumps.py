"""The sample dumps are what `sample_dumps/expected.json` says they are."""

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest
from ovito.data import CutoffNeighborFinder
from ovito.io import import_file
from ovito.modifiers import (
    CommonNeighborAnalysisModifier,
    DeleteSelectedModifier,
    IdentifyDiamondModifier,
    PolyhedralTemplateMatchingModifier,
    SelectTypeModifier,
)

from ovito_mace_phase.phases import phase_table

FOLDER = Path(__file__).parents[2] / "sample_dumps"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
SIZE_LIMIT = 300_000


def test_expected_names_every_dump():
    assert set(EXPECTED) == {path.name for path in FOLDER.glob("*.dump.gz")}


def test_readme_lists_every_dump():
    text = (FOLDER / "README.md").read_text()
    assert [name for name in EXPECTED if f"`{name}`" not in text] == []


@pytest.mark.parametrize("name", EXPECTED)
def test_file_is_small_gzip(name):
    path = FOLDER / name
    assert path.stat().st_size < SIZE_LIMIT
    with gzip.open(path, "rt") as file:
        assert file.readline() == "ITEM: UNITS\n"


@pytest.mark.parametrize("name", EXPECTED)
def test_opens_in_ovito(name):
    known = EXPECTED[name]
    pipeline = import_file(FOLDER / name)
    assert pipeline.num_frames == known["n_frames"]
    for frame in range(pipeline.num_frames):
        data = pipeline.compute(frame)
        positions = np.asarray(data.particles.positions)
        assert len(positions) == known["n_atoms"]
        assert np.isfinite(positions).all()
        assert data.cell.pbc == (True, True, True)
        assert data.cell.volume / len(positions) == pytest.approx(20, rel=0.6)
        names = {kind.id: kind.name for kind in data.particles.particle_types.types}
        assert [names[number] for number in sorted(names)] == known["elements"]
        assert set(np.unique(data.particles.particle_types)) == set(names)


@pytest.mark.parametrize("name", EXPECTED)
def test_times_rise(name):
    pipeline = import_file(FOLDER / name)
    times = [pipeline.compute(frame).attributes["Time"] for frame in range(pipeline.num_frames)]
    assert times == sorted(set(times))


@pytest.mark.parametrize("name", EXPECTED)
def test_regions_are_of_listed_phases(name):
    known = EXPECTED[name]
    assert known["phases"]
    for key in known["phases"]:
        phase_table().by_key(key)
    ends = [end for region in known["regions"] for end in region["fractional"]]
    assert ends == sorted(ends)
    assert all(0 <= end <= 1 for end in ends)
    assert {region["phase"] for region in known["regions"]} <= set(known["phases"])


@pytest.mark.parametrize("name", EXPECTED)
def test_atoms_keep_their_distance(name):
    # the shortest bond is O-H, 0.957 A; elsewhere two atoms of a melt come as close as 2.0 A
    data = import_file(FOLDER / name).compute(0)
    limit = 0.9 if "H" in EXPECTED[name]["elements"] else 1.7
    pairs, _ = CutoffNeighborFinder(limit, data).find_all(indices=np.arange(data.particles.count))
    assert len(pairs) == 0


# ---------------------------------------------------------------- what classical methods make of them

TABLE = (FOLDER / "README.md").read_text().partition("## Results of classical methods")[2].partition("\n## ")[0]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.splitlines() if line.startswith("| `")]
OVITO_NAMES = {
    "SC": "Simple cubic",
    "cubic diamond": "Cubic diamond",
    "hexagonal diamond": "Hexagonal diamond",
    "its neighbours": " neighbor)",
}


def classical(column: int):
    if column == 2:
        return CommonNeighborAnalysisModifier()
    if column == 3:
        return IdentifyDiamondModifier()
    matching = PolyhedralTemplateMatchingModifier(rmsd_cutoff=(0.1, 0.0)[column])
    for structure in matching.structures:
        structure.enabled = structure.name != "Graphene"
    return matching


def test_readme_has_the_methods_of_every_dump():
    assert {re.match(r"`(.*?)`", row[0])[1] for row in ROWS} == set(EXPECTED)


@pytest.mark.parametrize("row", ROWS, ids=[row[0].replace("`", "") for row in ROWS])
def test_readme_tells_what_classical_methods_find(row):
    name, _, where = row[0].replace("`", "").partition(", ")
    pipeline = import_file(FOLDER / name)
    if where == "oxygens":
        pipeline.modifiers.append(SelectTypeModifier(types={"H"}))
        pipeline.modifiers.append(DeleteSelectedModifier())
    frame = pipeline.num_frames - 1 if where == "last frame" else 0
    of_word = {"solid": "FCC", "melt": "OTHER", "alpha": "HCP", "omega": "OMEGA"}
    ends = [0.0, 1.0]
    if where.endswith(" region"):
        regions = EXPECTED[name]["regions"]
        (ends,) = [region["fractional"] for region in regions if region["phase"] == of_word[where.split()[0]]]
    for column, cell in enumerate(row[1:]):
        if cell == "-":
            continue
        pipeline.modifiers.append(classical(column))
        data = pipeline.compute(frame)
        del pipeline.modifiers[-1]
        types = data.particles["Structure Type"]
        height = data.particles.positions[:, 2] / data.cell[2, 2] % 1
        found = types[...][(height >= ends[0]) & (height <= ends[1])]
        for part in cell.split(", "):
            words, _, number = part.rpartition(" ")
            kind = OVITO_NAMES.get(words, words)
            ids = [one.id for one in types.types if one.name == kind or (kind[0] == " " and one.name.endswith(kind))]
            assert ids, f"OVITO has no type {kind}"
            assert abs(100 * np.isin(found, ids).mean() - float(number)) <= 0.0501, part  # as printed
