"""Copper in contact with its melt, 8 % above melting: how much is crystalline, and when it is gone.

cd examples/trajectory; python trajectory.py
"""

from pathlib import Path

import ovito
from matplotlib.figure import Figure
from ovito.io import import_file

from ovito_mace_phase import MacePhaseModifier, phase_table

DUMP = Path(__file__).parents[2] / "sample_dumps" / "cu_melting.dump.gz"
KEYS = ("FCC", "HCP", "OTHER")

pipeline = import_file(str(DUMP))
pipeline.modifiers.append(MacePhaseModifier(order_parameters="FCC, HCP"))

times, fractions = [], []
for data in pipeline.frames:
    times.append(data.attributes["Time"])
    fractions.append([data.attributes[f"MacePhase.fractions.{key}"] for key in KEYS])
    print(f"{times[-1]:5.1f} ps", *(f"{key} {share:6.1%}" for key, share in zip(KEYS, fractions[-1], strict=True)))

axes = Figure(figsize=(5, 3.2), layout="constrained").subplots()
for key, shares in zip(KEYS, zip(*fractions, strict=True), strict=True):
    color = phase_table().by_key(key).color if key != "OTHER" else "0.5"
    axes.plot(times, shares, "o-", color=color, label=key)
axes.set(xlabel="time, ps", ylabel="fraction of the atoms", title="A copper slab in its melt at 1430 K")
axes.legend()
axes.figure.savefig("trajectory.png", dpi=120)

pipeline.add_to_scene()
ovito.scene.save("trajectory.ovito")
