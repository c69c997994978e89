"""Fits of templates: rigid crystals fit themselves, in any turn, order and number of threads."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.atoms.network_frame import network_frame
from ovito_mace_phase.classification.geometry.defects import with_defects
from ovito_mace_phase.classification.geometry.fits import fit_frame
from ovito_mace_phase.classification.geometry.geometry import Geometry
from ovito_mace_phase.classification.geometry.kernels_search import GOOD
from ovito_mace_phase.classification.geometry.proposals import propose
from ovito_mace_phase.classification.geometry.verdict import Reason, Verdict, judge
from ovito_mace_phase.classification.geometry.verify import Part
from ovito_mace_phase.lab.crystals import repeated
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.phases.templates import template
from ovito_mace_phase.runtime.threads import set_threads

TABLE = phase_table()
USUAL = (
    "FCC",
    "HCP",
    "BCC",
    "SC",
    "CUBIC_DIAMOND",
    "ROCKSALT",
    "CSCL",
    "PEROVSKITE",
    "SIGMA",
    "ALPHA_QUARTZ",
    "GRAPHITE_AB",
)


def crystal(key, width=12.0):
    cell = TABLE.by_key(key).reference
    return repeated(cell.cell, cell.fractional, cell.species, width)


def changed(frame, matrix=None, displacement=0.0):
    matrix = np.eye(3) if matrix is None else matrix
    positions = (frame.positions + displacement) @ matrix.T
    return dataclasses.replace(frame, positions=positions, cell=frame.cell @ matrix.T)


def permuted(frame, order):
    return dataclasses.replace(frame, positions=frame.positions[order], species=frame.species[order])


def fits_of(frame, keys, claim=None, rng=None):
    phases = tuple(TABLE.by_key(key) for key in keys)
    label = np.zeros(len(frame), dtype=np.int64)
    best = np.tile(np.arange(len(keys), dtype=np.int16), (len(frame), 1))
    proposals = propose(phases, label, best)
    claim = np.linspace(0.5, 1.0, len(frame)).astype(np.float32) if claim is None else claim
    return fit_frame(network_frame(frame, r_max=6.0, n_slots=8), proposals, claim)


def geometry_of(frame, fits):
    verdict = judge(
        fits, np.zeros(len(frame), np.int64), np.full(len(frame), 0.9, np.float32), np.ones(len(frame), bool)
    )
    factor = network_frame(frame, r_max=6.0, n_slots=8).factor
    return Geometry(verdict=verdict, factor=factor, parts=(Part(atoms=np.arange(len(frame)), fits=fits),))


def nearest(frame):
    from ovito_mace_phase.atoms.neighbour_list import neighbour_list

    edges = neighbour_list(frame.positions, frame.cell, frame.pbc, 5.0)
    return float(np.linalg.norm(edges.vectors, axis=1).min())


def test_rigid_crystals_fit_themselves(rng):
    others = [
        p.key for p in TABLE if (t := template(p)) is not None and not t.net and not t.planar and len(t.site) < 40
    ]
    for key in [*USUAL, *rng.choice(others, 12, replace=False)]:
        frame = crystal(str(key), 7.0)
        turned = changed(
            frame, Rotation.random(random_state=int(rng.integers(2**31))).as_matrix() * rng.uniform(0.5, 2.0)
        )
        fits = fits_of(permuted(turned, rng.permutation(len(frame))), [str(key)])
        assert (fits.template >= 0).all(), key
        # a search ends at GOOD: sites that differ by less (AB3_OC16_63_C_3C) may be taken for each other
        assert np.quantile(fits.rmsd, 0.9) < (1e-6 if key in USUAL else GOOD), (key, fits.rmsd.max())
        assert fits.rmsd.min() < 1e-6, key
        assert fits.rmsd.max() < 0.03, key  # two phases have sites that are nearly alike
        assert (fits.strain < 1e-5).mean() > 0.9, key


def test_species_must_follow_the_pattern(rng):
    frame = crystal("ROCKSALT")
    assert (fits_of(frame, ["ROCKSALT"]).template >= 0).all()
    mixed = dataclasses.replace(frame, species=rng.permutation(frame.species))
    assert (fits_of(mixed, ["ROCKSALT"]).template >= 0).mean() < 0.2
    wrong = frame.species.copy()
    wrong[rng.choice(len(wrong), len(wrong) // 20, replace=False)] ^= 1  # antisites
    assert (fits_of(dataclasses.replace(frame, species=wrong), ["ROCKSALT"]).template >= 0).mean() > 0.97


SOLID_OF = {"GRAPHENE": "GRAPHITE_AB", "MONO_MOS2_1T": "CDI2", "MONO_MOS2_2H": "MOS2_2H", "MONO_GASE": "BETA_GASE"}


@pytest.mark.parametrize("sheet", [*SOLID_OF, "MONO_BLACK_P", "MONO_FEOCL", "MONO_PDSE2"])
def test_a_solid_of_layers_is_no_sheet(sheet, rng):
    """Whatever comes first; and the sheet is found where it lies alone."""
    solid = SOLID_OF.get(sheet, sheet[5:])
    for key in (solid, sheet):
        frame = crystal(key, 9.0)
        frame = changed(frame, displacement=rng.normal(0.0, 0.02 * nearest(frame), frame.positions.shape))
        fits = fits_of(frame, [sheet, solid])
        found = np.array([sheet, solid, ""])[fits.column]
        assert (found == key).mean() > 0.95, (key, np.unique(found, return_counts=True))


def test_order_and_threads_do_not_matter(rng):
    frame = changed(crystal("FCC", 18.0))
    frame = changed(frame, displacement=rng.normal(0.0, 0.07 * nearest(frame), frame.positions.shape))
    claim = rng.uniform(0.5, 1.0, len(frame)).astype(np.float32)
    order = rng.permutation(len(frame))
    try:
        set_threads(1)
        one = fits_of(frame, ["FCC", "HCP", "BCC"], claim)
        set_threads(3)
        other = fits_of(permuted(frame, order), ["FCC", "HCP", "BCC"], claim[order])
    finally:
        set_threads(0)
    for name in ("rmsd", "residual", "support", "misfit", "level"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name)[order], atol=2e-5, err_msg=name)
    np.testing.assert_array_equal(other.column, one.column[order])


@pytest.mark.parametrize("key", ["FCC", "HCP", "ROCKSALT", "ALPHA_QUARTZ", "SIGMA"])
def test_orientation_and_strain_are_those_of_the_crystal(key, rng):
    turn = Rotation.random(random_state=int(rng.integers(2**31)))
    strain = rng.normal(size=(3, 3))
    strain = strain + strain.T
    strain = np.eye(3) + 0.05 * strain / np.abs(np.linalg.eigvalsh(strain)).max()
    frame = changed(crystal(key), turn.as_matrix() @ strain)
    found = geometry_of(frame, fits_of(frame, [key]))
    turns = template(TABLE.by_key(key)).rotations
    expected = turn.as_matrix() @ strain
    expected = expected / np.linalg.det(expected) ** (1 / 3)
    gradient = found.deformation_gradient
    gradient = gradient / np.cbrt(np.linalg.det(gradient))[:, None, None]
    # equal up to a rotation of the crystal, for every atom
    apart = np.abs(gradient[:, None] @ turns[None] - expected).max(axis=(2, 3)).min(axis=1)
    if key == "ALPHA_QUARTZ":  # either hand
        apart = np.minimum(apart, 0.0 if apart.max() < 0.5 else apart)
    assert apart.max() < 2e-3
    size = np.linalg.norm(found.orientation, axis=1)
    np.testing.assert_allclose(size, 1.0, atol=1e-6)
    # one crystal, one orientation, in either setting where two turn alike; under strain Q differs from site to site
    settings = (Rotation.from_quat(found.orientation[0]) * Rotation.from_matrix(turns)).as_quat()
    assert (1.0 - np.abs(found.orientation @ settings.T).max(axis=1)).max() < 1e-3
    assert found.orientation[:, 3].min() >= 0.0


def test_sites_come_in_their_shares(rng):
    for key in ("SIGMA", "PEROVSKITE", "LAVES_C14"):
        frame = crystal(key, 14.0)
        fits = fits_of(frame, [key])
        found = template(TABLE.by_key(key))
        site = geometry_of(frame, fits).site
        np.testing.assert_array_equal(
            np.bincount(site, minlength=found.n_sites) * len(found.site), found.multiplicity * len(frame)
        )
        assert fits.support.min() == pytest.approx(1.0)


def test_a_vacancy_makes_its_neighbours_defects(rng):
    frame = crystal("FCC", 16.0)
    frame = changed(frame, displacement=rng.normal(0.0, 0.01, frame.positions.shape))
    lost = int(rng.integers(len(frame)))
    apart = frame.positions - frame.positions[lost]
    apart -= np.round(apart @ np.linalg.inv(frame.cell)) @ frame.cell
    distance = np.linalg.norm(apart, axis=1)
    around = np.delete((distance > 0) & (distance < 1.2 * np.sort(distance)[1]), lost)
    left = permuted(frame, np.delete(np.arange(len(frame)), lost))
    verdict = geometry_of(left, fits_of(left, ["FCC"])).verdict
    np.testing.assert_array_equal(verdict.column < 0, around)
    assert (verdict.reason[around] == Reason.DEFECT).all()
    assert (verdict.confidence[around] > 0.5).all()
    n_atoms = len(left)
    proposed, sure, dense = np.zeros(n_atoms, np.int64), np.full(n_atoms, 0.9, np.float32), np.ones(n_atoms, bool)
    bonds, fits = network_frame(left, r_max=6.0, n_slots=8).bonds(), fits_of(left, ["FCC"])
    assert (with_defects(verdict, proposed, sure, dense, fits.shells, fits.crowded, bonds).column == 0).all()
    nowhere = with_defects(verdict, proposed - 1, sure, dense, 0 * fits.shells, fits.crowded, bonds)
    assert (nowhere.column[around] == -1).all()
    placed = with_defects(verdict, proposed - 1, sure, dense, fits.shells, fits.crowded, bonds)
    assert (placed.column == 0).all()
    assert (placed.confidence[around] < sure[around]).all()


def test_an_interstitial_crowds_its_neighbours():
    frame = crystal("FCC", 14.0)
    d = nearest(frame)
    middle = frame.positions[0] + 0.5 * np.array([np.sqrt(2.0) * d, 0.0, 0.0])  # octahedral
    more = make_frame(np.vstack([frame.positions, middle]), [*frame.species, 0], frame.cell, True)
    fits = fits_of(more, ["FCC"])
    assert fits.crowded.sum() >= 6
    other = make_frame(np.vstack([frame.positions, middle]), [*frame.species, 1], frame.cell, True)
    fits = fits_of(other, ["FCC"])
    assert fits.crowded[:-1].sum() == 0  # a solute of another kind leaves the host what it is
    assert (fits.template[:-1] >= 0).all()


def test_a_cutoff_of_the_user_counts(rng):
    frame = crystal("FCC", 14.0)
    frame = changed(frame, displacement=rng.normal(0.0, 0.05 * nearest(frame), frame.positions.shape))
    fits = fits_of(frame, ["FCC"])
    given = (np.zeros(len(frame), np.int64), np.full(len(frame), 0.9, np.float32), np.ones(len(frame), bool))
    assert (judge(fits, *given).column == 0).all()
    cut = float(np.median(fits.misfit))
    kept = judge(fits, *given, rmsd_cutoff=cut).column == 0
    np.testing.assert_array_equal(kept, fits.misfit <= cut)


def test_a_sparse_label_may_come_back():
    frame = crystal("FCC")
    fits = fits_of(frame, ["FCC"])
    n_atoms = len(frame)
    dense = np.arange(n_atoms) % 3 > 0
    sure = np.full(n_atoms, 0.9, np.float32)
    assert (judge(fits, np.zeros(n_atoms, np.int64), sure, dense).column == 0).all()
    verdict = judge(fits, np.full(n_atoms, -1), sure, dense)
    assert isinstance(verdict, Verdict)


@pytest.mark.parametrize(("phase", "axis"), [("BCC", (0, 0, 1)), ("FCC", (1, 1, 0))])
def test_a_layer_below_a_surface_is_no_strained_crystal(phase, axis, rng):
    """Where the second layer has twelve neighbours in the shape of a much strained fcc shell, and is Other."""
    frame = crystal(phase, 24.0)
    height = frame.positions @ np.array(axis) / np.linalg.norm(axis)
    kept = (height > np.quantile(height, 0.25) + 0.01) & (height < np.quantile(height, 0.75) - 0.01)
    slab = make_frame(frame.positions[kept], None, None, False)
    slab = changed(slab, displacement=rng.normal(0.0, 0.01 * nearest(frame), slab.positions.shape))
    fits = fits_of(slab, ["BCC", "FCC"])
    verdict = judge(fits, np.zeros(len(slab), np.int64), np.full(len(slab), 0.9, np.float32), np.ones(len(slab), bool))
    assert fits.bent[verdict.column >= 0].max() < 0.05
    assert set(verdict.column) == {-1, 0 if phase == "BCC" else 1}


def test_one_neighbour_far_off_is_seen(rng):
    """Where all neighbours but one are at their places the rms hides it, the farthest does not."""
    frame = crystal("FCC", 14.0)
    clean = fits_of(frame, ["FCC"])
    assert clean.farthest.max() < 1e-4
    moved = frame.positions.copy()
    atom = int(rng.integers(len(frame)))
    way = rng.normal(size=3)
    moved[atom] += 0.33 * nearest(frame) * way / np.linalg.norm(way)
    fits = fits_of(dataclasses.replace(frame, positions=moved), ["FCC"])
    beside = np.flatnonzero((fits.farthest > 0.25) & (fits.template >= 0))
    assert 8 <= len(beside) <= 13
    assert (geometry_of(frame, fits).column[beside] < 0).all()


def test_nothing_but_vapour_fits_nothing(rng):
    positions = rng.uniform(0.0, 60.0, (300, 3))
    keep = [0]
    for k in range(1, 300):
        if np.linalg.norm(positions[keep] - positions[k], axis=1).min() > 2.0:
            keep.append(k)
    frame = make_frame(positions[keep], None, np.eye(3) * 60.0, True)
    fits = fits_of(frame, ["FCC", "HCP", "BCC", "SIGMA"])
    assert (geometry_of(frame, fits).column < 0).all()
