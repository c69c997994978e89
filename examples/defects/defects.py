"""Silicon with one vacancy at 900 K: where it is in every frame, and why atoms around it are Other.

cd examples/defects; python defects.py
"""

from pathlib import Path

import numpy as np
import ovito
from matplotlib.figure import Figure
from ovito.io import import_file

from ovito_mace_phase import MacePhaseModifier

DUMP = Path(__file__).parents[2] / "sample_dumps" / "si_vacancy.dump.gz"

pipeline = import_file(str(DUMP))
pipeline.modifiers.append(MacePhaseModifier())

axes = Figure(figsize=(9, 3.4), layout="constrained").subplots(1, pipeline.num_frames)
for frame, data in enumerate(pipeline.frames):
    lengths = np.diag(data.cell[:3, :3])
    positions = (data.particles.positions - data.cell[:3, 3]) % lengths
    other = data.particles["Phase"] == 0
    turns = np.exp(2j * np.pi * positions[other] / lengths)  # a mean across periodic boundaries
    vacancy = np.angle(turns.mean(axis=0)) / (2 * np.pi) * lengths % lengths
    reasons = {key[16:]: n for key, n in data.attributes.items() if key.startswith("MacePhase.other.") and n}
    print(f"{data.attributes['Time']:5.1f} ps: {other.sum()} atoms are Other, {reasons}, around {vacancy.round(1)} A")
    slab = np.abs((positions[:, 2] - vacancy[2] + lengths[2] / 2) % lengths[2] - lengths[2] / 2) < 4.0
    axes[frame].scatter(*positions[slab, :2].T, c=np.where(other[slab], "crimson", "0.75"), s=22)
    axes[frame].plot(*vacancy[:2], "k+", markersize=14)
    axes[frame].set(aspect="equal", xticks=[], yticks=[], title=f"{data.attributes['Time']:.0f} ps")
axes[0].figure.suptitle("Silicon, a slab of 8 Å: Other (red) and where the vacancy is (cross)")
axes[0].figure.savefig("defects.png", dpi=120)

pipeline.add_to_scene()
ovito.scene.save("defects.ovito")
