"""Time what a changed parameter costs in OVITO once the logits of a frame are kept.

    python docs/tools/panel_timing.py [atoms]

Prints seconds of `pipeline.compute()` after every change, frame switches among them, on shaken fcc copper.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
from ovito.data import DataCollection, ParticleType, SimulationCell
from ovito.pipeline import Pipeline, PythonSource

from ovito_mace_phase import MacePhaseModifier
from ovito_mace_phase.model import store
from ovito_mace_phase.plugin import session

LATTICE = 3.62
MOST = ",".join(key for key in store.get_card(None)["phases"] if key not in ("SC", "BCC"))
OUTPUT = ("orientation", "deformation_gradient", "site", "interatomic_distance")
CHANGES = (
    ("threshold", {"confidence_threshold": 0.5}),
    ("rmsd cutoff", {"rmsd_cutoff": 0.15}),
    ("rmsd cutoff, automatic", {"rmsd_cutoff": 0.0}),
    ("defects, phase", {"defects": "phase"}),
    ("orientations and gradients", {"output_orientation": True, "output_deformation_gradient": True}),
    ("sites and distances", {"output_site": True, "output_interatomic_distance": True}),
    ("none of them", {f"output_{name}": False for name in OUTPUT}),
    ("not verified", {"verify": "off"}),
    ("verified", {"verify": "auto"}),
    ("prior frame", {"prior": "frame"}),
    ("threshold, prior frame", {"confidence_threshold": 0.2}),
    ("prior uniform", {"prior": "uniform"}),
    ("prior local", {"prior": "local"}),
    ("phases, three", {"phases": "FCC,BCC,HCP"}),
    ("phases, all but a few", {"phases": MOST}),
    ("phases, all", {"phases": ""}),
    ("order parameters", {"order_parameters": "FCC,BCC,HCP,L1_2"}),
    ("distances on", {"distances": True}),
    ("distances, threshold", {"confidence_threshold": 0.1}),
    ("colours off", {"color_by_type": False}),
    ("colours on", {"color_by_type": True}),
    ("like PTM", {"compatibility": "PTM"}),
    ("further phases off", {"further_phases": False}),
    ("like CNA", {"compatibility": "CNA"}),
    ("positions, without denoising", {"apply_to_positions": True}),
)


def copper(n_atoms: int) -> Callable[[int, DataCollection], None]:
    """Return a source function of frames of shaken fcc copper, all in memory."""
    repeat = round((n_atoms / 4) ** (1 / 3))
    corners = np.array(list(np.ndindex(repeat, repeat, repeat)), dtype=float)
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    places = LATTICE * (corners[:, None] + basis).reshape(-1, 3)
    noise = [0.1 * np.random.default_rng(seed).standard_normal(places.shape) for seed in range(2)]

    def create(frame: int, data: DataCollection) -> None:
        particles = data.create_particles(count=len(places))
        particles.create_property("Position", data=places + noise[frame])
        kinds = particles.create_property("Particle Type", data=np.ones(len(places), dtype=np.int32))
        kinds.types.append(ParticleType(id=1, name="Cu"))
        cell = SimulationCell(pbc=(True, True, True))
        cell[:, :3] = LATTICE * repeat * np.eye(3)
        data.objects.append(cell)

    return create


def measure(n_atoms: int) -> tuple[list[tuple[str, float]], int]:
    """Return name and seconds of every change, and how often the network was evaluated meanwhile."""
    calls = []
    evaluate = session.logits_of

    def counted(*args: object, **settings: object) -> object:
        calls.append(1)
        return evaluate(*args, **settings)  # type: ignore[arg-type]

    session.logits_of = counted  # type: ignore[assignment]
    try:
        return _changes(n_atoms), len(calls)
    finally:
        session.logits_of = evaluate


def _changes(n_atoms: int) -> list[tuple[str, float]]:
    create = copper(n_atoms)

    def source(frame: int, data: DataCollection) -> None:
        create(frame, data)

    line = Pipeline(source=PythonSource(function=source))
    modifier = MacePhaseModifier()
    line.modifiers.append(modifier)
    out = []

    def timed(name: str, frame: int = 0) -> None:
        start = time.perf_counter()
        line.compute(frame)
        out.append((name, time.perf_counter() - start))

    timed("first evaluation")
    for name, parameters in CHANGES:
        for key, value in parameters.items():
            setattr(modifier, key, value)
        timed(name)
    modifier.structures["FCC"].color = (1.0, 0.0, 0.0)
    timed("colour of a structure")
    modifier.structures["FCC"].enabled = False
    timed("structure off")
    timed("second frame, first evaluation", 1)
    timed("back to the first frame", 0)
    timed("and to the second", 1)
    return out


if __name__ == "__main__":
    results, evaluations = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
    for name, seconds in results:
        print(f"{name:<32} {seconds:7.3f} s")
    print(f"network evaluations: {evaluations}")
