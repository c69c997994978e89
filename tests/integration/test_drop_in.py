"""Scripts written for PTM or CNA, run once with them and once with ours: the same kind of output, the same numbers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ovito.data import DataCollection
from ovito.io import export_file
from ovito.io.ase import ase_to_ovito
from ovito.modifiers import (
    ClusterAnalysisModifier,
    ColorByTypeModifier,
    CommonNeighborAnalysisModifier,
    DeleteSelectedModifier,
    DislocationAnalysisModifier,
    ExpressionSelectionModifier,
    GrainSegmentationModifier,
    HistogramModifier,
    PolyhedralTemplateMatchingModifier,
    SelectTypeModifier,
    TimeSeriesModifier,
)
from ovito.pipeline import Pipeline, PythonSource, StaticSource
from ovito.vis import ColorLegendOverlay

from ovito_mace_phase import MacePhaseModifier

THEIRS = {"PTM": PolyhedralTemplateMatchingModifier, "CNA": CommonNeighborAnalysisModifier}
PREFIX = {"PTM": "PolyhedralTemplateMatching.counts.", "CNA": "CommonNeighborAnalysis.counts."}
MODES = tuple(THEIRS)


def crystals() -> dict[str, Atoms]:
    """Cool crystals that PTM, CNA and this model agree on, atom for atom."""
    found = {
        "fcc": bulk("Cu", cubic=True).repeat((5, 5, 5)),
        "bcc": bulk("Fe", cubic=True).repeat((6, 6, 6)),
        "hcp": bulk("Mg", orthorhombic=True).repeat((5, 4, 4)),
    }
    for name, atoms in found.items():
        atoms.rattle(0.03, seed=len(name))
    return found


def pipeline_of(atoms: Atoms) -> Pipeline:
    return Pipeline(source=StaticSource(data=ase_to_ovito(atoms)))


def modifier(mode: str, ours: bool, **parameters):
    return MacePhaseModifier(compatibility=mode, **parameters) if ours else THEIRS[mode](**parameters)


def both(mode, atoms, script, **parameters):
    """Outputs of a script with their modifier and with ours."""
    out = []
    for ours in (False, True):
        pipeline = pipeline_of(atoms)
        pipeline.modifiers.append(modifier(mode, ours, **parameters))
        out.append(script(pipeline))
    return out


def types_of(typed):
    return {one.id: (one.name, *one.color) for one in typed.types}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", list(crystals()))
def test_property_attributes_and_table_are_those_of_the_other_modifier(mode, name):
    theirs, ours = both(mode, crystals()[name], lambda pipeline: pipeline.compute())
    one, other = theirs.particles["Structure Type"], ours.particles["Structure Type"]
    np.testing.assert_array_equal(one, other)
    assert one.dtype == other.dtype
    expected, found = types_of(one), types_of(other)
    assert {key: value[0] for key, value in expected.items()} == {key: value[0] for key, value in found.items()}
    for key, value in expected.items():
        assert found[key][1:] == pytest.approx(value[1:], abs=1e-3)
    keys = {key for key in theirs.attributes if key.startswith(PREFIX[mode])}
    assert keys
    assert {key: theirs.attributes[key] for key in keys} == {key: ours.attributes[key] for key in keys}
    mine = ours.tables["structures"]
    table = theirs.tables["structures"]
    assert len(mine.xy()) >= 4
    np.testing.assert_array_equal(table.xy()[: len(mine.xy())], mine.xy())
    assert (table.title, table.plot_mode) == (mine.title, mine.plot_mode)
    assert (table.x.name, table.y.name) == (mine.x.name, mine.y.name)
    assert table.y.dtype == mine.y.dtype
    assert {t.id for t in table.x.types} <= {t.id for t in mine.x.types}
    color, own = theirs.particles["Color"], ours.particles["Color"]
    np.testing.assert_allclose(color, own, atol=1e-3)
    assert color.dtype == own.dtype


@pytest.mark.parametrize("mode", MODES)
def test_select_delete_and_count(mode):
    def script(pipeline):
        pipeline.modifiers.append(SelectTypeModifier(property="Structure Type", types={"FCC"}))
        pipeline.modifiers.append(DeleteSelectedModifier())
        data = pipeline.compute()
        return data.particles.count, data.attributes[PREFIX[mode] + "FCC"]

    atoms = crystals()["fcc"]
    theirs, ours = both(mode, atoms, script)
    assert theirs == ours == (0, len(atoms))


@pytest.mark.parametrize("mode", MODES)
def test_expressions_clusters_colours_and_histograms(mode):
    def script(pipeline):
        number = 1
        pipeline.modifiers.append(ExpressionSelectionModifier(expression=f"StructureType == {number}"))
        pipeline.modifiers.append(ClusterAnalysisModifier(cutoff=3.2, only_selected=True))
        pipeline.modifiers.append(ColorByTypeModifier(property="Structure Type"))
        pipeline.modifiers.append(HistogramModifier(property="Structure Type", bin_count=9))
        data = pipeline.compute()
        return data, data.particles["Selection"][...].sum(), data.attributes["ClusterAnalysis.cluster_count"]

    (theirs, chosen, clusters), (ours, own_chosen, own_clusters) = both(mode, crystals()["fcc"], script)
    assert (chosen, clusters) == (own_chosen, own_clusters)
    np.testing.assert_allclose(theirs.particles["Color"], ours.particles["Color"], atol=1e-6)
    key = "histogram[Structure Type]"
    np.testing.assert_array_equal(theirs.tables[key].y, ours.tables[key].y)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["xyz", "lammps/dump"])
def test_exports_are_alike(mode, kind, tmp_path):
    def script(pipeline):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.txt"
        columns = ["Particle Identifier", "Position.X", "Position.Y", "Position.Z", "Structure Type"]
        export_file(pipeline, path, kind, columns=columns)
        return path.read_text()

    theirs, ours = both(mode, crystals()["bcc"], script)
    assert theirs == ours


@pytest.mark.parametrize("mode", MODES)
def test_counts_over_time(mode):
    frames = [crystals()["fcc"], crystals()["bcc"]]

    def create(frame: int, data: DataCollection):
        data.objects = ase_to_ovito(frames[frame]).objects

    series = []
    for ours in (False, True):
        source = PythonSource(function=create)
        pipeline = Pipeline(source=source)
        pipeline.modifiers.append(modifier(mode, ours))
        counts = [pipeline.compute(frame).attributes[PREFIX[mode] + "BCC"] for frame in (0, 1)]
        pipeline.modifiers.append(TimeSeriesModifier(operate_on=[PREFIX[mode] + "FCC", PREFIX[mode] + "BCC"]))
        data = pipeline.compute()
        series.append((counts, {key: data.tables[key].y[...].shape for key in data.tables if "series" in key.lower()}))
    assert series[0] == series[1]
    assert series[0][0] == [0, len(frames[1])]


def test_a_colour_legend_finds_the_types():
    pipeline = pipeline_of(crystals()["fcc"])
    pipeline.modifiers.append(MacePhaseModifier(compatibility="PTM"))
    pipeline.add_to_scene()
    try:
        legend = ColorLegendOverlay(property="particles/Structure Type")
        assert legend.property == "particles/Structure Type"
        names = [one.name for one in pipeline.compute().particles["Structure Type"].types]
        assert names[:4] == ["Other", "FCC", "HCP", "BCC"]
    finally:
        pipeline.remove_from_scene()


def test_after_another_one_the_table_is_structures_2():
    pipeline = pipeline_of(crystals()["fcc"])
    pipeline.modifiers.append(PolyhedralTemplateMatchingModifier())
    pipeline.modifiers.append(MacePhaseModifier(compatibility="PTM"))
    data = pipeline.compute()
    assert {"structures", "structures.2"} <= set(data.tables)
    assert len(data.particles["Structure Type"].types) == 9  # none left of the first
    alone = pipeline_of(crystals()["fcc"])
    alone.modifiers.append(PolyhedralTemplateMatchingModifier())
    alone.modifiers.append(PolyhedralTemplateMatchingModifier())
    theirs = alone.compute()
    assert {"structures", "structures.2"} <= set(theirs.tables)

    def counts(found):
        return {name: value for name, value in found.attributes.items() if "counts.FCC" in name and "Mace" not in name}

    assert counts(data) == counts(theirs)
    assert set(counts(data)) == {f"PolyhedralTemplateMatching.counts.FCC{suffix}" for suffix in ("", ".2")}


def test_what_catches_the_error_of_theirs_catches_ours():
    """PTM raises RuntimeError where there is no selection to work on."""
    for modifier in (
        PolyhedralTemplateMatchingModifier(only_selected=True),
        MacePhaseModifier(compatibility="PTM", only_selected=True),
    ):
        pipeline = pipeline_of(crystals()["fcc"])
        pipeline.modifiers.append(modifier)
        with pytest.raises(RuntimeError, match=r"(?i)selection"):
            pipeline.compute()


def test_two_of_ours_that_list_different_phases():
    """The second one replaces the table of the first, whatever the number of its rows."""
    pipeline = pipeline_of(crystals()["fcc"])
    pipeline.modifiers.append(MacePhaseModifier(phases="FCC, HCP, BCC, CSCL", denoise_steps=1))
    pipeline.modifiers.append(MacePhaseModifier(phases="FCC", denoise_steps=2))
    data = pipeline.compute()
    assert len(data.tables["mace-phase"].y) == 2
    assert data.tables["mace-denoising"].y[...].shape[0] <= 3


def test_before_another_one():
    pipeline = pipeline_of(crystals()["hcp"])
    pipeline.modifiers.append(MacePhaseModifier(compatibility="CNA"))
    pipeline.modifiers.append(
        DislocationAnalysisModifier(input_crystal_structure=DislocationAnalysisModifier.Lattice.HCP)
    )
    data = pipeline.compute()
    assert data.attributes["DislocationAnalysis.counts.HCP"] == len(crystals()["hcp"])
    assert data.attributes["CommonNeighborAnalysis.counts.HCP"] == len(crystals()["hcp"])


def test_grain_segmentation_with_ptm_upstream():
    """The recipe of docs/migrating.md: orientations from PTM, structure types from us."""
    pipeline = pipeline_of(crystals()["fcc"])
    pipeline.modifiers.append(PolyhedralTemplateMatchingModifier(output_orientation=True, rmsd_cutoff=0))
    alone = pipeline.compute()
    pipeline.modifiers.append(MacePhaseModifier(compatibility="PTM"))
    pipeline.modifiers.append(GrainSegmentationModifier())
    data = pipeline.compute()
    assert data.attributes["GrainSegmentation.grain_count"] == 1
    np.testing.assert_array_equal(data.particles["Orientation"], alone.particles["Orientation"])


def test_grain_segmentation_never_meets_ids_it_does_not_know():
    pipeline = pipeline_of(rocksalt())
    pipeline.modifiers.append(PolyhedralTemplateMatchingModifier(output_orientation=True, rmsd_cutoff=0))
    pipeline.modifiers.append(MacePhaseModifier(compatibility="PTM"))
    data = pipeline.compute()
    assert np.array(data.particles["Structure Type"]).max() < 9
    assert np.array(data.particles["Phase"]).min() >= 100


def rocksalt() -> Atoms:
    return bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat((3, 3, 3))


def test_further_phases_have_ids_from_100_or_are_other():
    pipeline = pipeline_of(rocksalt())
    modifier = MacePhaseModifier(compatibility="PTM")
    pipeline.modifiers.append(modifier)
    data = pipeline.compute()
    typed = data.particles["Structure Type"]
    (number,) = set(np.array(typed))
    assert number >= 100
    assert typed.type_by_id(int(number)).name == "ROCKSALT"
    assert data.attributes["PolyhedralTemplateMatching.counts.ROCKSALT"] == len(rocksalt())
    table = data.tables["structures"]
    np.testing.assert_array_equal(table.xy()[:, 0], [*range(9), number])
    modifier.further_phases = False
    data = pipeline.compute()
    assert set(np.array(data.particles["Structure Type"])) == {0}
    assert data.attributes["PolyhedralTemplateMatching.counts.OTHER"] == len(rocksalt())
    np.testing.assert_allclose(data.particles["Color"], 0.95, atol=1e-6)
    assert set(np.array(data.particles["Phase"])) == {number}


def test_structures_can_be_switched_off_and_coloured():
    pipeline = pipeline_of(crystals()["hcp"])
    ours = MacePhaseModifier(compatibility="PTM")
    pipeline.modifiers.append(ours)
    data = pipeline.compute()
    n_atoms = data.particles.count
    assert data.attributes["PolyhedralTemplateMatching.counts.HCP"] == n_atoms
    ours.structures[MacePhaseModifier.Type.HCP].color = (1.0, 1.0, 0.0)
    np.testing.assert_allclose(pipeline.compute().particles["Color"], np.tile([1.0, 1.0, 0.0], (n_atoms, 1)))
    ours.structures[ours.Type.HCP].enabled = False
    data = pipeline.compute()
    assert data.attributes["PolyhedralTemplateMatching.counts.HCP"] == 0
    assert data.attributes["PolyhedralTemplateMatching.counts.OTHER"] == n_atoms
    typed = data.particles["Structure Type"]
    assert [t.enabled for t in typed.types if t.name == "HCP"] == [False]
    assert 2 not in {t.id for t in data.tables["structures"].x.types}
    ours.structures["HCP"].enabled = True
    assert pipeline.compute().attributes["PolyhedralTemplateMatching.counts.HCP"] == n_atoms
    assert ours.structures["HCP"].color == (1.0, 1.0, 0.0)
    assert len(ours.structures) > 500
    assert [entry.key for entry in ours.structures][:3] == ["OTHER", "FCC", "HCP"]


@pytest.mark.parametrize("mode", MODES)
def test_only_selected(mode):
    def script(pipeline):
        pipeline.modifiers.insert(0, ExpressionSelectionModifier(expression="ParticleIndex < 250"))
        return np.array(pipeline.compute().particles["Structure Type"])

    theirs, ours = both(mode, crystals()["fcc"], script, only_selected=True)
    assert len(theirs) == len(ours) == 500
    assert (theirs[250:] == 0).all()
    assert (ours[250:] == 0).all()
    inside = theirs == 1  # those of the chosen slab that have all their neighbours in it
    assert inside.sum() > 50
    assert (ours[inside] == 1).mean() > 0.95


@pytest.mark.parametrize("mode", MODES)
def test_without_colours(mode):
    for data in both(mode, crystals()["fcc"], lambda pipeline: pipeline.compute(), color_by_type=False):
        assert "Color" not in data.particles


def test_parameters_that_mean_nothing_here_are_refused_with_the_remedy():
    for name in ("output_ordering", "cutoff", "mode"):
        with pytest.raises(TypeError, match=name):
            MacePhaseModifier(**{name: 0.1})
        ours = MacePhaseModifier()
        with pytest.raises(TypeError, match=name):
            setattr(ours, name, 0.1)
        with pytest.raises(AttributeError, match=name):
            getattr(ours, name)
    with pytest.raises(TypeError, match="phases of their own"):
        MacePhaseModifier(output_ordering=True)
    MacePhaseModifier(output_ordering=False, cutoff=None)  # their defaults ask for nothing


def test_bad_settings_of_structures_are_named():
    ours = MacePhaseModifier()
    with pytest.raises(ValueError, match="OTHER cannot be switched off"):
        ours.structures["OTHER"].enabled = False
    with pytest.raises(ValueError, match="three numbers from 0 to 1"):
        ours.structures["FCC"].color = (255, 0, 0)
    with pytest.raises(ValueError, match="no phase has the id 50"):
        ours.structures[50]
    atoms = crystals()["fcc"]
    for text in ("{", '{"FCC": 1}', "[]"):
        pipeline = pipeline_of(atoms)
        pipeline.modifiers.append(MacePhaseModifier(structure_settings=text))
        with pytest.raises(ValueError, match=r"structure_settings must be a JSON object"):
            pipeline.compute()
    pipeline = pipeline_of(atoms)
    pipeline.modifiers.append(MacePhaseModifier(structure_settings='{"FCCC": {"enabled": false}}'))
    with pytest.raises(ValueError, match="'FCCC'"):
        pipeline.compute()


def test_structures_are_saved_with_the_session(tmp_path):
    """In this process; tests/integration/test_modifier.py loads sessions in a fresh one."""
    from ovito import scene

    pipeline = pipeline_of(crystals()["hcp"])
    ours = MacePhaseModifier(compatibility="PTM")
    ours.structures["HCP"].enabled = False
    pipeline.modifiers.append(ours)
    pipeline.add_to_scene()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scene.save(tmp_path / "session.ovito")
        pipeline.remove_from_scene()
        scene.load(tmp_path / "session.ovito")
    loaded = scene.pipelines[0]
    data = loaded.compute()
    loaded.remove_from_scene()
    assert data.attributes["PolyhedralTemplateMatching.counts.HCP"] == 0
    assert data.attributes["PolyhedralTemplateMatching.counts.OTHER"] == data.particles.count
