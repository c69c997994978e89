"""Titanium, slabs of alpha and omega joined: how the order parameters cross at the boundaries.

cd examples/order_parameters; python order_parameters.py
"""

from pathlib import Path

import numpy as np
import ovito
from matplotlib.figure import Figure
from ovito.io import import_file

from ovito_mace_phase import MacePhaseModifier, phase_table

DUMP = Path(__file__).parents[2] / "sample_dumps" / "ti_alpha_omega.dump.gz"
KEYS = ("HCP", "OMEGA")

pipeline = import_file(str(DUMP))
pipeline.modifiers.append(MacePhaseModifier(order_parameters=", ".join(KEYS)))
data = pipeline.compute()

z = data.particles.positions[:, 2] - data.cell[2, 3]
edges = np.linspace(0, data.cell[2, 2], 31)
place = np.digitize(z % data.cell[2, 2], edges) - 1
middles = (edges[1:] + edges[:-1]) / 2
axes = Figure(figsize=(6, 3.4), layout="constrained").subplots()
means = {}
for key in KEYS:
    values, color = data.particles[f"OP_{key}"][...], phase_table().by_key(key).color
    means[key] = np.array([values[place == number].mean() for number in range(len(middles))])
    axes.plot(z, values, ",", color=color)
    axes.plot(middles, means[key], "o-", color=color, markersize=3, label=key)
axes.set(xlabel="z, Å", ylabel="order parameter (logit)", title="Alpha and omega titanium at 300 K")
axes.legend()
axes.figure.savefig("order_parameters.png", dpi=120)
alpha = means["HCP"] > means["OMEGA"]
print("HCP is the higher one from", *(f"{edges[k + 1]:.0f} A" for k in np.flatnonzero(alpha[1:] != alpha[:-1])))

pipeline.add_to_scene()
ovito.scene.save("order_parameters.ovito")
