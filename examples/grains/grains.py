"""A polycrystal of copper, built here: its grains, their sizes, and the atoms of the boundaries.

cd examples/grains; python grains.py
"""

import numpy as np
import ovito
from ase import Atoms
from ase.build import bulk
from matplotlib.figure import Figure
from ovito.io.ase import ase_to_ovito
from ovito.modifiers import GrainSegmentationModifier, PolyhedralTemplateMatchingModifier
from ovito.pipeline import Pipeline, StaticSource
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from ovito_mace_phase import MacePhaseModifier

BOX, GRAINS, SEED = 42.0, 5, 3


def polycrystal(rng: np.random.Generator) -> Atoms:
    """Fill the cells of random centres with turned crystals; of two atoms closer than 2 A one is left out."""
    centres = rng.uniform(0, BOX, (GRAINS, 3))
    crystal = (bulk("Cu", cubic=True) * (24, 24, 24)).positions
    crystal -= crystal.mean(axis=0)
    parts = []
    for number, turn in enumerate(Rotation.random(GRAINS, rng=rng)):
        points = turn.apply(crystal)
        points = (points[np.abs(points).max(axis=1) < BOX / 2] + centres[number]) % BOX
        parts.append(points[cKDTree(centres, boxsize=BOX).query(points)[1] == number])
    points = np.concatenate(parts)
    close = cKDTree(points, boxsize=BOX).query_pairs(2.0, output_type="ndarray")
    points = np.delete(points, close[:, 1], axis=0)
    return Atoms(f"Cu{len(points)}", points + rng.normal(0, 0.05, points.shape), cell=[BOX] * 3, pbc=True)


atoms = polycrystal(np.random.default_rng(SEED))
pipeline = Pipeline(source=StaticSource(data=ase_to_ovito(atoms)))  # or import_file("your.dump")
pipeline.modifiers.append(PolyhedralTemplateMatchingModifier(output_orientation=True, rmsd_cutoff=0))
pipeline.modifiers.append(MacePhaseModifier(compatibility="PTM", further_phases=False, output_orientation=True))
pipeline.modifiers.append(GrainSegmentationModifier(min_grain_size=100, orphan_adoption=False))
data = pipeline.compute()

sizes = data.tables["grains"]["Grain Size"][...]
print(f"{len(sizes)} grains of {', '.join(map(str, sizes))} atoms")
print(f"{data.attributes['MacePhase.fractions.OTHER']:.0%} of the atoms are in boundaries")

grain, positions = data.particles["Grain"][...], data.particles.positions[...]
slab = np.abs(positions[:, 2] - BOX / 2) < 3.0
axes = Figure(figsize=(5.4, 4.2), layout="constrained").subplots()
axes.scatter(*positions[slab & (grain < 0), :2].T, color="0.8", s=16, label="boundary")
for number in np.unique(grain[grain >= 0]):
    axes.scatter(*positions[slab & (grain == number), :2].T, s=16, label=f"grain {number}, {sizes[number]} atoms")
axes.set(aspect="equal", xticks=[], yticks=[], title="A slab of 6 Å")
axes.figure.legend(loc="outside right center", fontsize=8)
axes.figure.savefig("grains.png", dpi=120)

pipeline.add_to_scene()
ovito.scene.save("grains.ovito")
