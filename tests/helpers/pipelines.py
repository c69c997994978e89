"""Small OVITO pipelines for the tests of the modifier."""

from __future__ import annotations

import numpy as np
from ovito.data import DataCollection, ParticleType, SimulationCell
from ovito.pipeline import Pipeline, StaticSource


def fcc(repeat: int = 4, lattice: float = 3.6, noise: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n_atoms, 3) and cell rows (3, 3) of an fcc crystal."""
    corners = np.array(list(np.ndindex(repeat, repeat, repeat)), dtype=float)
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    positions = lattice * (corners[:, None] + basis).reshape(-1, 3)
    positions += noise * np.random.default_rng(seed).standard_normal(positions.shape)
    return positions, lattice * repeat * np.eye(3)


def collection(positions, cell=None, *, types=None, names=None, pbc=(True, True, True), is2D=False) -> DataCollection:  # noqa: N803
    """A data collection; `cell` has rows, as everywhere outside OVITO."""
    data = DataCollection()
    particles = data.create_particles(count=len(positions))
    particles.create_property("Position", data=np.asarray(positions))
    if types is not None:
        kinds = particles.create_property("Particle Type", data=np.asarray(types, dtype=np.int32))
        for number, name in (names or {}).items():
            kinds.types.append(ParticleType(id=number, name=name))
    if cell is not None:
        box = SimulationCell(pbc=pbc, is2D=is2D)
        box[:, :3] = np.asarray(cell).T
        box[:, 3] = (-3.0, 1.0, 2.0)  # the origin must not matter
        data.objects.append(box)
    return data


def pipeline(data: DataCollection, *modifiers) -> Pipeline:
    """A pipeline of a data collection and modifiers."""
    line = Pipeline(source=StaticSource(data=data))
    for modifier in modifiers:
        line.modifiers.append(modifier)
    return line


def copper(*modifiers, **keywords) -> Pipeline:
    """256 atoms of fcc, x from 0 to 12.6, one named type."""
    positions, cell = fcc(**keywords)
    return pipeline(collection(positions, cell, types=np.ones(len(positions)), names={1: "Cu"}), *modifiers)
