"""The examples of docs/orientations_and_grains.md give the rotation and the strain of the crystal that they build."""

from __future__ import annotations

import numpy as np
import pytest
from doc_pages import ROOT, python_blocks

from ovito_mace_phase.model.registry import SHIPPED

PAGE = ROOT / "docs" / "orientations_and_grains.md"
pytestmark = pytest.mark.skipif(
    not SHIPPED.with_suffix(".safetensors").exists(), reason="no shipped weights in this working tree"
)


@pytest.fixture(scope="module")
def found():
    """All that the page computes, by the names it gives them."""
    names: dict = {}
    for block in python_blocks(PAGE):
        exec(compile(block.code, f"{PAGE.name}:{block.line}", "exec"), names)
    return names


def test_angles_are_those_of_the_grains(found):
    of_phase, near = found["of_phase"], found["near"]
    assert of_phase.mean() > 0.5
    upper = found["atoms"].positions[:, 2] > 0
    assert (near[of_phase] == ~upper[of_phase]).all()
    angle = np.array(found["data"].particles["Misorientation"])
    assert np.isnan(angle[~of_phase]).all()
    np.testing.assert_allclose(angle[of_phase & near], 0.0, atol=0.5)
    np.testing.assert_allclose(angle[of_phase & ~near], found["built"], atol=1.0)
    assert found["angle"] == pytest.approx(found["built"], abs=0.5)
    colors = np.array(found["data"].particles["Color"])
    assert np.ptp(colors[of_phase & near], axis=0).max() < 0.05
    assert np.abs(colors[of_phase & near].mean(axis=0) - colors[of_phase & ~near].mean(axis=0)).max() > 0.2


def test_equivalent_quaternions_have_one_mean(found, rng):
    rotation = found["Rotation"].random(rng=rng)
    turns = found["template"](found["FCC"]).rotations
    ways = rotation * found["Rotation"].from_matrix(turns[rng.integers(len(turns), size=30)])
    mean = found["mean_orientation"](ways.as_quat(), found["FCC"])
    (angle,), _ = found["misorientation"](mean.as_quat()[None], rotation, found["FCC"])
    assert angle < 1e-3


def test_strain_is_that_of_the_upper_grain(found):
    strain, of_phase, near = found["strain"], found["of_phase"], found["near"]
    np.testing.assert_allclose(np.median(strain[of_phase & near], axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(np.median(strain[of_phase & ~near], axis=0), [0, 0, 0.03, 0, 0, 0], atol=1e-4)
    assert (strain[~of_phase] == 0).all()
    assert found["histogram"][:, 1].sum() == of_phase.sum()


@pytest.mark.parametrize("own", [False, True], ids=["orientations of PTM", "ours"])
def test_grain_segmentation_finds_both_grains(found, own):
    """The recipe of docs/migrating.md, with either modifier's orientations."""
    (recipe,) = [block.code for block in python_blocks(ROOT / "docs" / "migrating.md") if "GrainSeg" in block.code]
    source, theirs = 'import_file("sample_dumps/cu_hot.dump.gz")', "further_phases=False"
    assert recipe.count(source) == recipe.count(theirs) == 1
    recipe = recipe.replace(source, "Pipeline(source=StaticSource(data=ase_to_ovito(atoms)))")
    names = dict(found)
    exec(recipe.replace(theirs, f"{theirs}, output_orientation={own}"), names)
    data = names["pipeline"].compute()
    assert data.attributes["GrainSegmentation.grain_count"] == 2
    upper, grain = found["atoms"].positions[:, 2] > 0, np.array(data.particles["Grain"])
    of_phase = found["of_phase"]
    (low,), (high,) = (np.unique(grain[of_phase & side]) for side in (~upper, upper))
    assert low != high
