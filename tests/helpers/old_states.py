"""Load session files in a process that has imported nothing of this package, compute, and tell what came out, as JSON.

    python tests/helpers/old_states.py SESSION ...        (file names; a model file is looked up in the current folder)

Labels are verified since 0.2: what a session then gives is told by its counts, and all else without verification.
A session that names no model gets the one that was the default then.

Written with what OVITO alone offers, so that it does not change with the package.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import ovito
from ovito.data import DataCollection

PARAMETERS = (
    "species", "length_scale", "only_selected", "phases", "prior", "confidence_threshold", "denoise_steps",
    "apply_to_positions", "order_parameters", "distances", "color_by_type", "compatibility", "further_phases",
    "structure_settings", "device", "model_file",
)  # fmt: skip
TYPED = ("Phase", "Phase Before Denoising", "Structure Type")
NUMBERS = ("Confidence", "Phase Margin", "Denoising Displacement", "Denoised Position", "Color", "Position")


def tell(data: DataCollection) -> dict[str, Any]:
    """Counts of every type and its colour, mean and rms of every number, attributes, tables."""
    particles = data.particles
    found: dict[str, Any] = {"types": {}, "numbers": {}, "tables": {}}
    for name in TYPED:
        if name in particles:
            values = particles[name][...]
            found["types"][name] = {
                kind.name: [kind.id, [round(x, 3) for x in kind.color], kind.enabled, int(np.sum(values == kind.id))]
                for kind in particles[name].types
            }
    for name in sorted(particles.keys()):
        if name in NUMBERS or name.startswith(("OP_", "Distance_")):
            values = np.asarray(particles[name], dtype=np.float64)
            known = values[np.isfinite(values)]
            found["numbers"][name] = [len(known), float(known.mean()), float(np.sqrt((known**2).mean()))]
    found["attributes"] = {
        name: value
        for name, value in sorted(data.attributes.items())
        if name.startswith(("MacePhase.", "PolyhedralTemplateMatching.", "CommonNeighborAnalysis."))
    }
    for name in ("mace-phase", "mace-denoising", "structures"):
        if name in data.tables:
            table = data.tables[name]
            found["tables"][name] = {column: np.asarray(table[column]).tolist() for column in table.keys()}  # noqa: SIM118
    found["phase of each atom"] = particles["Phase"][...].tolist()
    return found


def load(path: str) -> dict[str, Any]:
    """The parameters of the last modifier of a session and what the first frame becomes."""
    ovito.scene.load(path)
    line = ovito.scene.pipelines[0]
    modifier = line.modifiers[-1].delegate
    parameters = {name: getattr(modifier, name) for name in PARAMETERS}
    if not modifier.model:
        modifier.model = "mace-phase-6"
    data = line.compute(0)
    verified = {
        kind.name: int(np.sum(data.particles["Phase"][...] == kind.id)) for kind in data.particles["Phase"].types
    }
    modifier.verify = "off"
    found = {"parameters": parameters, "verified": verified, **tell(line.compute(0))}
    for one in list(ovito.scene.pipelines):
        one.remove_from_scene()
    return found


if __name__ == "__main__":
    print(json.dumps({name: load(name) for name in sys.argv[1:]}))
