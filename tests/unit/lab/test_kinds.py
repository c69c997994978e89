"""Kinds of frames that users bring: labels against independent methods, geometry, parts that differ, determinism."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import json
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.lab.crystals import repeat
from ovito_mace_phase.lab.data.ices import ice_structures
from ovito_mace_phase.lab.data.prototypes import ListedGeometry, load_prototypes, primitive_size
from ovito_mace_phase.lab.data.structures import reference_structures
from ovito_mace_phase.lab.ovito_methods import ovito_answer
from ovito_mace_phase.lab.samples.kinds import foreign, interfaces, liquids, made, molecules, surfaces, water
from ovito_mace_phase.lab.samples.kinds.kernels_liquid import pair_forces, triplet_forces
from ovito_mace_phase.lab.samples.kinds.registry import KINDS, KindSource
from ovito_mace_phase.lab.samples.kinds.stock import Stock
from ovito_mace_phase.lab.samples.sampler import SampleSettings
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.runtime.errors import InputError

PHASES = tuple(phase_table())
ALL = np.ones(3, dtype=bool)
WITHOUT_FILE = [name for name in KINDS if name != "other prototypes"]


def stock_of(part="train", **options):
    return Stock(PHASES, reference_structures(PHASES, []), part, **options)


@pytest.fixture(scope="module")
def stock():
    return stock_of()


def shortest(frame):
    edges = neighbour_list(frame.positions, frame.cell, frame.pbc, 1.5)
    return np.linalg.norm(edges.vectors, axis=1).min() if edges.n_edges else np.inf


@pytest.mark.parametrize("name", WITHOUT_FILE)
def test_frames_have_a_label_for_every_atom_and_no_overlap(name, stock, rng):
    source = KindSource(stock, int(rng.integers(2**31)))
    found = source.frame(name, rng)
    assert found.label.shape == (len(found.frame),)
    assert found.label.min() >= made.UNLABELLED
    assert found.label.max() < len(PHASES)
    assert found.frame.n_species <= 6
    assert np.linalg.matrix_rank(found.frame.cell) == 3
    assert shortest(found.frame) > 0.6
    sample = source.sample(name, SampleSettings(), 6, rng)
    assert len(sample.slots) == len(sample.label) == len(sample.displacement)
    assert np.isfinite(sample.displacement).all() == found.still
    assert sample.slots.max() < 6


def test_kinds_that_ovito_labels_are_made_ahead(stock, rng, monkeypatch):
    """On the main thread, so that another can draw of them; without it the fault is said, the process does not end."""
    by_ovito = {name: kind for name, kind in KINDS.items() if kind.by_ovito}
    assert by_ovito
    for name, kind in by_ovito.items():
        monkeypatch.setitem(KINDS, name, dataclasses.replace(kind, pool=4))
    prepared = KindSource(stock, int(rng.integers(2**31)))
    prepared.prepare()
    with ThreadPoolExecutor(1) as executor:
        for name in by_ovito:
            labels = set()
            for _ in range(12):  # a hot icosahedron of 55 atoms may be Other throughout
                labels.update(executor.submit(prepared.sample, name, SampleSettings(), 6, rng).result().label)
            assert {0} < labels
        with pytest.raises(RuntimeError, match="from the main thread alone"):
            executor.submit(KindSource(stock).frame, "metal defects", rng).result()


@pytest.mark.parametrize("name", ["films", "molecules", "antisites", "interstitials"])
def test_a_seed_gives_the_same_frames_whatever_was_drawn_before(name, rng):
    seed = int(rng.integers(2**31))
    one, other = KindSource(stock_of(), seed), KindSource(stock_of(), seed)
    other.frame("molecules", rng)
    first, second = (source.frame(name, np.random.default_rng(seed)) for source in (one, other))
    np.testing.assert_array_equal(first.frame.positions, second.frame.positions)
    np.testing.assert_array_equal(first.label, second.label)


def test_parts_have_no_plan_in_common(rng):
    stocks = {part: stock_of(part) for part in ("train", "validation", "test")}

    def plan(r):
        return int(r.integers(60))

    found = {part: {one.plan("a kind", plan, rng) for _ in range(150)} for part, one in stocks.items()}
    assert all(found.values())
    assert not found["train"] & (found["test"] | found["validation"])
    assert not found["test"] & found["validation"]
    outside = next(iter(found["test"]))
    with pytest.raises(InputError, match="another seed of the split"):
        stocks["train"].plan("a kind", lambda r: outside, rng)


@pytest.mark.parametrize("key", ["FCC", "BCC", "HCP"])
@pytest.mark.parametrize("build", [surfaces.slab, surfaces.particle, surfaces.void, surfaces.film])
def test_labels_at_surfaces_are_those_of_common_neighbour_analysis(key, build, rng):
    stock = stock_of(atoms=(300, 600))
    few = [one for one in reference_structures(PHASES, []) if PHASES[one.phase].key == key]
    stock._groups = {few[0].phase: {"only": few}}
    if build is surfaces.film:
        stock.columns = dict.fromkeys(stock.columns, few[0].phase)
    found = build(stock, rng)
    truth = ovito_answer(found.frame, "CNA")
    ours = np.where(found.label == made.OTHER, "OTHER", key)
    assert (ours == "OTHER").any()
    np.testing.assert_array_equal(ours, np.where(truth == "ICO", "OTHER", truth))


def test_labels_beside_an_interface_are_those_of_common_neighbour_analysis(stock, rng):
    checked, both = 0, 0
    for _ in range(20):
        found = interfaces.interface(stock, rng)
        keys = np.array([PHASES[column].key if column >= 0 else "" for column in found.label])
        if set(keys) - {"", "FCC", "HCP", "BCC"}:
            continue
        labelled = keys != ""
        np.testing.assert_array_equal(ovito_answer(found.frame, "CNA")[labelled], keys[labelled], found.name)
        checked, both = checked + 1, both + (len(set(keys[labelled])) == 2)
        assert 0.05 < labelled.mean() < 0.95
    assert checked
    assert both


@pytest.mark.parametrize(("first", "second"), list(interfaces.RELATIONS))
def test_related_lattices_share_a_plane_and_a_direction(first, second, rng):
    known = interfaces.RELATIONS[first, second]
    turn, back = (interfaces.relation(*pair, rng) for pair in ((first, second), (second, first)))
    for found, columns in ((turn, (0, 1, 2, 3)), (back, (2, 3, 0, 1))):
        np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(found) == pytest.approx(1.0)

        def parallel(a, b, found=found):
            return np.allclose(np.cross(b @ found.T, a), 0.0, atol=1e-9)

        assert any(
            parallel(one[columns[0]], one[columns[2]]) and parallel(one[columns[1]], one[columns[3]]) for one in known
        )
    assert interfaces.relation(first, first, rng) is None


@pytest.mark.parametrize("key", ["FCC", "BCC", "HCP", "DHCP", "OMEGA"])
def test_lattices_of_interfaces_have_one_atom_a_volume_and_are_their_phase(key, rng):
    cell, fractional = interfaces.lattice(key, rng)
    assert abs(np.linalg.det(cell)) == pytest.approx(len(fractional))
    reference = phase_table().by_key(key).reference

    def sizes(cell, fractional):
        positions = fractional @ cell
        return set(interfaces.shells(positions, cell, made.nearest_distances(positions, cell))[0])

    assert sizes(cell, fractional) == sizes(reference.cell, reference.fractional)


def test_holes_of_fcc_are_octahedral_and_tetrahedral():
    cell, basis = np.eye(3) * 4.0, np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    (large, octahedral), (small, tetrahedral) = made.holes(cell, basis)
    assert (large, small) == (pytest.approx(2.0), pytest.approx(np.sqrt(3.0)))
    assert (len(octahedral), len(tetrahedral)) == (4, 8)
    assert np.allclose((2 * octahedral) % 1.0, 0.0)


def test_forces_are_the_slopes_of_the_energy(rng):
    cell = np.eye(3) * 4.2
    x = liquids.push_apart(rng.uniform(0, 4.2, (24, 3)), cell, 0.85)
    species = rng.integers(0, 2, 24)
    size, attraction = np.array([[1.0, 0.9], [0.9, 0.8]]), np.array([[1.0, 1.6], [1.6, -0.4]])

    def listed(places, reach):
        edges = neighbour_list(places, cell, ALL, reach)
        return edges, edges.vectors - places[edges.neighbour] + places[edges.centre]

    def pairs(places):
        edges, _ = listed(places, 2.0)
        r = np.linalg.norm(edges.vectors, axis=1)
        a, b = species[edges.centre], species[edges.neighbour]
        d, c = size[a, b], attraction[a, b]
        end = -2.0 * 6 * ((d / 2.0) ** 12 - c * (d / 2.0) ** 6) / 2.0
        return 0.5 * ((d / r) ** 12 - 2 * c * (d / r) ** 6 - end * r).sum()

    def triplets(places):
        edges, _ = listed(places, 1.79)
        r = np.linalg.norm(edges.vectors, axis=1)
        energy = 0.5 * (7.049556277 * (0.6022245584 / r**4 - 1) * np.exp(1 / (r - 1.8))).sum()
        for i in range(len(places)):
            own = slice(edges.offsets[i], edges.offsets[i + 1])
            unit, cut = edges.vectors[own] / r[own, None], np.exp(1.2 / (r[own] - 1.8))
            bend = 21.0 * (unit @ unit.T + 1 / 3) ** 2 * np.outer(cut, cut)
            energy += 0.5 * (bend.sum() - np.trace(bend))
        return energy

    out = np.zeros_like(x)
    for energy, reach, run in ((pairs, 2.0, "pairs"), (triplets, 1.8, "triplets")):
        edges, shift = listed(x, reach)
        if run == "pairs":
            pair_forces(x, shift, edges.offsets, edges.neighbour, species, size, attraction, 6, 2.0, out)
        else:
            triplet_forces(x, shift, edges.offsets, edges.neighbour, 21.0, out)
        for atom, axis in ((0, 0), (7, 1), (23, 2)):
            step = np.zeros_like(x)
            step[atom, axis] = 1e-5
            slope = (energy(x + step) - energy(x - step)) / 2e-5
            assert out[atom, axis] == pytest.approx(-slope, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("state", ["hot", "undercooled", "glass"])
def test_tetrahedral_liquids_are_liquid_and_about_fourfold(state, rng):
    positions, cell = liquids.tetrahedral_net(300, state, 23.15, rng)
    frame = made.made("net", positions, None, cell, 0).frame
    assert (ovito_answer(frame, "Diamond") == "OTHER").mean() > 0.97
    neighbours = np.diff(neighbour_list(positions, cell, ALL, 3.4).offsets).mean()
    assert 3.8 < neighbours < 6.5


def test_molecules_of_water_have_their_model_s_geometry(rng):
    structures = ice_structures([one for one in PHASES if one.key in ("OTHER", "CLATHRATE_SI")])["test"][:1]
    phases = [one for one in PHASES if one.key in ("OTHER", "CLATHRATE_SI")]
    stock = Stock(phases, structures, "train", atoms=(120, 140))
    guests = 0
    for _ in range(8):
        found = water.ice(stock, rng)
        frame = found.frame
        edges = neighbour_list(frame.positions, frame.cell, ALL, 1.2)
        own = (frame.species[edges.centre] == 0) & (frame.species[edges.neighbour] == 1)
        count = np.bincount(edges.centre[own], minlength=len(frame))[frame.species == 0]
        assert (count == 2).all()
        lengths = np.linalg.norm(edges.vectors[own], axis=1)
        if "SPC/E" in found.name:
            assert lengths == pytest.approx(1.0)
        if "TIP" in found.name:
            assert lengths == pytest.approx(0.9572)
        assert (lengths > 0.92).all()
        assert (lengths < 1.04).all()
        assert (found.label[frame.species > 1] == made.OTHER).all()
        assert (found.label[frame.species < 2] == 1).all()
        guests += int((frame.species > 1).sum())
    assert guests > 0


def test_cages_are_trivalent_and_tubes_have_their_radius(rng):
    faces = int(rng.integers(14, 50))
    cage = molecules.cage(faces, 1.42, rng)
    assert len(cage) == 2 * faces - 4
    distance = np.sort(np.linalg.norm(cage[:, None] - cage[None], axis=2), axis=1)
    assert (distance[:, 4] > 1.05 * distance[:, 3]).mean() > 0.8
    positions, _, radius = molecules.tube(8, 3, 1.42, 30.0)
    assert radius == pytest.approx(1.42 * np.sqrt(3 * (64 + 9 + 24)) / (2 * np.pi))
    count = (np.linalg.norm(positions[:, None] - positions[None], axis=2) < 1.6).sum(axis=1) - 1
    assert np.median(count) == 3


@pytest.mark.parametrize(
    ("key", "size"), [("FCC", 1), ("CUBIC_DIAMOND", 2), ("ROCKSALT", 1), ("HCP", 2), ("RUTILE", 6)]
)
def test_strained_crystals_are_as_simple_as_their_parents(key, size, rng):
    (one,) = reference_structures((phase_table().by_key("OTHER"), phase_table().by_key(key)), [])
    cell, fractional, species = repeat(one.cell, one.fractional, one.species, (1, 2, 1))
    bend = rng.normal(size=(3, 3))
    cell = cell @ (np.eye(3) + 0.15 * (bend + bend.T) / np.linalg.norm(bend + bend.T))
    assert primitive_size(dataclasses.replace(one, cell=cell, fractional=fractional, species=species)) == size


def test_random_crystals_have_symmetry_and_are_no_phase_of_the_table(stock, rng):
    import spglib

    setting, found = 0, None
    while found is None:
        setting = int(rng.integers(16, 531))
        found = foreign._draw(setting, 2, rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        symmetry = spglib.get_symmetry((found.cell, found.fractional, found.species), symprec=1e-3)
        wanted = spglib.get_symmetry_from_database(setting)
    assert len(symmetry["rotations"]) >= len(wanted["rotations"])
    listed = ListedGeometry(PHASES)
    assert all(listed.has(one) for one in reference_structures(PHASES, [])[::40])


def test_prototypes_that_are_phases_or_like_them_are_left_out(tmp_path):
    table = phase_table()
    rock, spinel = table.by_key("ROCKSALT"), table.by_key("SPINEL")

    def entry(label, phase, stretch=(1.0, 1.0, 1.0)):
        cell = phase.reference.cell * np.array(stretch)
        return {
            "label": label,
            "cell": cell.tolist(),
            "frac": phase.reference.fractional.tolist(),
            "species": phase.reference.species.tolist(),
        }

    odd = (1.0, 1.35, 0.8)
    entries = [entry(rock.aflow, rock, odd), entry("copy", rock), entry("near", spinel, odd), entry("far", spinel, odd)]
    path = tmp_path / "prototypes.json.gz"
    with gzip.open(path, "wt") as stream:
        json.dump(entries, stream)
    with (tmp_path / "aflow1999_near_duplicates.csv").open("w") as stream:
        csv.writer(stream).writerows([["label_a", "label_b"], ["near", rock.aflow]])
    parts = load_prototypes(path, PHASES, 0)
    assert [one.system for part in parts.values() for one in part] == ["prototype far"]
    with pytest.raises(InputError, match="no file of prototypes"):
        load_prototypes(tmp_path / "none.json.gz", PHASES, 0)
    (tmp_path / "bad.json.gz").write_bytes(b"nothing")
    with pytest.raises(InputError, match="no gzipped JSON"):
        load_prototypes(tmp_path / "bad.json.gz", PHASES, 0)


def test_an_unknown_kind_is_named(stock, rng):
    with pytest.raises(InputError, match="no kind 'foam'"):
        KindSource(stock).frame("foam", rng)
