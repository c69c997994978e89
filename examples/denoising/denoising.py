"""Copper at 0.95 of melting: the atoms without thermal motion, and what PTM finds before and after.

cd examples/denoising; python denoising.py
"""

from pathlib import Path

import ovito
from matplotlib.figure import Figure
from ovito.io import import_file
from ovito.modifiers import PolyhedralTemplateMatchingModifier

from ovito_mace_phase import MacePhaseModifier

DUMP = Path(__file__).parents[2] / "sample_dumps" / "cu_hot.dump.gz"

pipeline = import_file(str(DUMP))
matching = PolyhedralTemplateMatchingModifier()
pipeline.modifiers.append(matching)
before = pipeline.compute()
pipeline.modifiers.insert(0, MacePhaseModifier(denoise_steps=8, apply_to_positions=True))
after = pipeline.compute()

axes = Figure(figsize=(7.4, 4), layout="constrained").subplots(1, 2)
for one, data, name in zip(axes, (before, after), ("as it was", "denoised"), strict=True):
    share = data.attributes["PolyhedralTemplateMatching.counts.FCC"] / data.particles.count
    print(f"{name:10} PTM calls {share:6.1%} of the atoms FCC")
    points = data.particles.positions[...]
    slab = points[:, 2] % data.cell[2, 2] < 9.0
    one.plot(*points[slab, :2].T, ".", markersize=3)
    one.set(aspect="equal", xticks=[], yticks=[], title=f"{name}: FCC by PTM {share:.0%}")
axes[0].figure.savefig("denoising.png", dpi=120)
print(f"rms displacement {after.attributes['MacePhase.denoising.rms_displacement']:.3f} A")

pipeline.add_to_scene()
ovito.scene.save("denoising.ovito")
