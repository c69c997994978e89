"""Denoising heals no defect and makes none: interstitials by Wigner-Seitz cells, dislocations by OVITO's DXA.

Vacancies, stacking faults and twins: `test_denoising.py`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from ovito.data import DataCollection, SimulationCell
from ovito.modifiers import DislocationAnalysisModifier
from ovito.pipeline import Pipeline, StaticSource
from scipy.spatial import cKDTree

from ovito_mace_phase import PhaseModel
from ovito_mace_phase.atoms.frame import Frame, make_frame
from ovito_mace_phase.classification.denoise import denoise
from ovito_mace_phase.lab.crystals import cubic
from ovito_mace_phase.lab.evaluation.frames.defects import point_defect

A = 3.732  # fcc of 13 A^3 an atom


@pytest.fixture(scope="module")
def model() -> PhaseModel:
    return PhaseModel.load(None, device="cpu")


def shaken(frame: Frame, sigma: float, rng) -> Frame:
    return dataclasses.replace(frame, positions=frame.positions + rng.normal(0, sigma, frame.positions.shape))


def occupation(frame: Frame, sites: np.ndarray) -> np.ndarray:
    """Atoms in the Wigner-Seitz cell of each site; a common shift is taken off first."""
    box = np.diag(frame.cell)
    tree = cKDTree(sites % box, boxsize=box)
    positions = frame.positions
    for _ in range(3):
        away = positions - sites[tree.query(positions % box)[1]]
        positions = positions - np.median(away - box * np.round(away / box), axis=0)
    return np.bincount(tree.query(positions % box)[1], minlength=len(sites))


@pytest.mark.parametrize(("phase", "repeat"), [("FCC", 4), ("BCC", 5)])
def test_an_interstitial_stays(rng, model, phase, repeat):
    sites, _ = cubic(phase, repeat)
    frame = shaken(point_defect(phase, "dumbbell", repeat).frame, 0.06, rng)
    done = denoise(frame, model)
    assert np.bincount(occupation(done.frame, sites)).tolist() == [0, len(sites) - 1, 1]


def screw_dislocation(radius: float, periods: int) -> Frame:
    """Return a cylinder of fcc with a screw dislocation of b = a/2 [110] along it: u_z = b theta / (2 pi)."""
    along, normal = np.array([1, 1, 0]) / np.sqrt(2), np.array([-1, 1, 1]) / np.sqrt(3)
    axes = np.array([np.cross(normal, along), normal, along])
    n_cells = int(2.2 * radius / A) + 8
    corners = np.array(list(np.ndindex(*[2 * n_cells] * 3)), dtype=float) - n_cells
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    positions = (corners[:, None] + basis).reshape(-1, 3) @ axes.T * A
    burgers = A / np.sqrt(2)
    length = periods * burgers
    inside = (positions[:, 2] > -1e-6) & (positions[:, 2] < length - 1e-6)
    positions = positions[inside & (np.hypot(positions[:, 0], positions[:, 1]) < radius)]
    positions[:, 2] += burgers * np.arctan2(positions[:, 1] - 0.4, positions[:, 0] - 0.3) / (2 * np.pi)
    positions[:, :2] += 1.5 * radius
    return make_frame(positions, None, np.diag([3 * radius, 3 * radius, length]), (False, False, True))


def dislocations(frame: Frame) -> list[tuple[float, list[float]]]:
    """Length and sorted absolute Burgers vector of every line that DXA finds."""
    data = DataCollection()
    data.create_particles(count=len(frame)).create_property("Position", data=frame.positions)
    cell = SimulationCell(pbc=tuple(bool(one) for one in frame.pbc))
    cell[:, :3] = frame.cell.T
    data.objects.append(cell)
    pipeline = Pipeline(source=StaticSource(data=data))
    pipeline.modifiers.append(DislocationAnalysisModifier())
    lines = pipeline.compute().dislocations.lines
    return [(line.length, np.sort(np.abs(line.true_burgers_vector)).round(3).tolist()) for line in lines]


def test_a_dislocation_stays(rng, model):
    frame = screw_dislocation(18.0, 4)
    before = dislocations(frame)
    assert [burgers for _, burgers in before] == [[0.0, 0.5, 0.5]]
    done = denoise(shaken(frame, 0.08, rng), model)
    after = dislocations(done.frame)
    assert [burgers for _, burgers in after] == [[0.0, 0.5, 0.5]]
    assert after[0][0] == pytest.approx(before[0][0], rel=0.05)


def test_a_perfect_crystal_gets_none(rng, model):
    positions, cell = cubic("FCC", 5)
    done = denoise(shaken(make_frame(positions, None, cell, True), 0.15, rng), model)
    assert dislocations(done.frame) == []
    assert (occupation(done.frame, positions) == 1).all()
