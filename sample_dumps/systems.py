"""The sample frames: how each is built, heated and what is known about its phases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import crystals
import water_md
from ase import Atoms
from lammps_md import Simulation
from materials import MATERIALS


@dataclass(frozen=True, kw_only=True)
class Region:
    """A slab known to be of one phase in every frame: fractional range along z, ends left out."""

    phase: str
    z: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One sample file: recipe and what is known beforehand.

    `run` takes the seed and returns the frames, `info["time"]` in ps. `phases` are keys of the phase table, OTHER for
    a melt. `regions` says where; empty if the phase is the same everywhere or changes with time.
    """

    name: str
    title: str
    run: Callable[[int], list[Atoms]]
    elements: tuple[str, ...]
    potential: str
    citation: str
    temperature: str
    seed: int
    timestep: float
    phases: tuple[str, ...]
    notes: str
    regions: tuple[Region, ...] = field(default=())


def hot_crystal(
    material_name: str, atoms: Atoms, temperature: float, seed: int, *, n_frames: int, equilibrate: float = 12
) -> list[Atoms]:
    """Keep a crystal at one temperature and zero pressure; frames are 4 ps apart."""
    material = MATERIALS[material_name]
    with Simulation(atoms, material.potential, seed=seed, timestep=material.timestep) as simulation:
        simulation.heat(2 * temperature)
        simulation.run(equilibrate, temperature, barostat="aniso")
        frames = [simulation.snapshot()]
        for _ in range(n_frames - 1):
            simulation.run(4, temperature, barostat="aniso")
            frames.append(simulation.snapshot())
    return frames


def half_molten(atoms: Atoms, temperature: float, simulation: Simulation) -> None:
    """Melt the lower half of a long cell while the upper half is held, then let both come to the temperature.

    The pressure acts along z alone, so that the solid half keeps the lateral size of `atoms`.
    """
    middle = atoms.cell[2, 2] / 2
    simulation.command(f"region lower block INF INF INF INF INF {middle}\ngroup melt region lower")
    simulation.heat(4 * temperature, "melt")
    simulation.run(6, 2.2 * temperature, group="melt")
    simulation.run(3, 1.2 * temperature, group="melt")
    simulation.heat(temperature)
    simulation.run(1, temperature)
    simulation.run(8, temperature, barostat="z")


def _cu_hot(seed: int) -> list[Atoms]:
    return hot_crystal("Cu", crystals.cubic(("Cu",), "fcc", 3.70, (8, 8, 8)), 1261, seed, n_frames=3)


_CU_AT_MELTING = 3.708  # A, lattice constant of the solid at 1327 K with this potential


def _cu_solid_liquid(seed: int) -> list[Atoms]:
    material, temperature = MATERIALS["Cu"], 1327
    atoms = crystals.cubic(("Cu",), "fcc", _CU_AT_MELTING, (6, 6, 28))
    with Simulation(atoms, material.potential, seed=seed, timestep=material.timestep) as simulation:
        half_molten(atoms, temperature, simulation)
        frames = []
        for _ in range(4):
            simulation.run(4, temperature, barostat="z")
            frames.append(simulation.snapshot())
    return frames


def _cu_melting(seed: int) -> list[Atoms]:
    material = MATERIALS["Cu"]
    atoms = crystals.cubic(("Cu",), "fcc", _CU_AT_MELTING, (4, 4, 16))
    with Simulation(atoms, material.potential, seed=seed, timestep=material.timestep) as simulation:
        half_molten(atoms, 1327, simulation)
        frames = [simulation.snapshot()]
        for _ in range(11):
            simulation.run(3, 1430, barostat="z")
            frames.append(simulation.snapshot())
    start = frames[0].info["time"]
    for frame in frames:
        frame.info["time"] -= start
    return frames


def _ti_alpha_omega(seed: int) -> list[Atoms]:
    """Join slabs whose periods match within 1 %: x 8 a (alpha), 3 sqrt 3 a (omega); y 6 c (alpha), 10 c (omega)."""
    material = MATERIALS["Ti"]
    alpha = crystals.hcp("Ti", 2.947, 4.683, (8, 6, 6))
    alpha = crystals.permuted(alpha, (0, 2, 1))
    omega = crystals.permuted(crystals.omega("Ti", 4.59, 2.82, (7, 3, 10)), (1, 2, 0))
    width = [(alpha.cell[k, k] + omega.cell[k, k]) / 2 for k in (0, 1)]
    for slab in (alpha, omega):
        slab.set_cell([*width, slab.cell[2, 2]], scale_atoms=True)
    alpha_length, gap = alpha.cell[2, 2], 0.4
    omega.positions[:, 2] += alpha_length + gap
    atoms = alpha + omega
    atoms.set_cell([*width, alpha_length + omega.cell[2, 2] + 2 * gap])
    with Simulation(atoms, material.potential, seed=seed, timestep=material.timestep) as simulation:
        simulation.minimize("aniso")
        simulation.heat(600)
        simulation.run(4, 300, barostat="aniso")
        return [simulation.snapshot()]


def _nacl_hot(seed: int) -> list[Atoms]:
    return hot_crystal("NaCl", crystals.cubic(("Na", "Cl"), "rocksalt", 5.75, (5, 5, 5)), 950, seed, n_frames=3)


def _si_vacancy(seed: int) -> list[Atoms]:
    atoms = crystals.cubic(("Si",), "diamond", 5.44, (5, 5, 5))
    del atoms[500]
    return hot_crystal("Si", atoms, 900, seed, n_frames=3)


def _ni3al(seed: int) -> list[Atoms]:
    return hot_crystal("Ni3Al", crystals.l1_2(("Ni", "Al"), 3.60, (8, 8, 8)), 1000, seed, n_frames=2)


def _ice_ih(seed: int) -> list[Atoms]:
    simulation = water_md.WaterSimulation(water_md.ice("Ih", (3, 3, 3), seed), seed=seed, barostat="aniso")
    simulation.run(20, 250)
    frames = []
    for _ in range(2):
        simulation.run(5, 250)
        frames.append(simulation.snapshot())
    for frame in frames:
        frame.wrap()
    return frames


_CU, _TI, _NACL, _SI, _NI3AL = (MATERIALS[name].potential for name in ("Cu", "Ti", "NaCl", "Si", "Ni3Al"))

_ALL = (
    Sample(
        name="cu_hot",
        title="fcc Cu at 0.95 of the melting temperature",
        run=_cu_hot,
        elements=("Cu",),
        potential=_CU.label,
        citation=_CU.citation,
        temperature="1261 K",
        seed=1101,
        timestep=0.002,
        phases=("FCC",),
        notes="every atom belongs to one fcc crystal",
    ),
    Sample(
        name="cu_solid_liquid",
        title="Cu, solid and melt in contact at the melting temperature",
        run=_cu_solid_liquid,
        elements=("Cu",),
        potential=_CU.label,
        citation=_CU.citation,
        temperature="1327 K",
        seed=1102,
        timestep=0.002,
        phases=("FCC", "OTHER"),
        notes="the lower half in z was melted; the regions keep clear of the two (100) interfaces",
        regions=(Region(phase="OTHER", z=(0.10, 0.40)), Region(phase="FCC", z=(0.60, 0.90))),
    ),
    Sample(
        name="cu_melting",
        title="Cu, a solid slab in its melt 8 % above the melting temperature, over time",
        run=_cu_melting,
        elements=("Cu",),
        potential=_CU.label,
        citation=_CU.citation,
        temperature="1430 K",
        seed=1103,
        timestep=0.002,
        phases=("FCC", "OTHER"),
        notes="the fcc fraction falls from about one half to zero",
    ),
    Sample(
        name="ti_alpha_omega",
        title="Ti, a slab of alpha (hcp) between slabs of omega",
        run=_ti_alpha_omega,
        elements=("Ti",),
        potential=_TI.label,
        citation=_TI.citation,
        temperature="300 K",
        seed=1104,
        timestep=0.002,
        phases=("HCP", "OMEGA"),
        notes="the slabs were cut and joined, so the interfaces are disordered; the regions keep clear of them",
        regions=(Region(phase="HCP", z=(0.08, 0.41)), Region(phase="OMEGA", z=(0.57, 0.92))),
    ),
    Sample(
        name="nacl_hot",
        title="rocksalt NaCl at 0.9 of the melting temperature",
        run=_nacl_hot,
        elements=("Na", "Cl"),
        potential=_NACL.label,
        citation=_NACL.citation,
        temperature="950 K",
        seed=1105,
        timestep=0.002,
        phases=("ROCKSALT",),
        notes="every atom belongs to one rocksalt crystal",
    ),
    Sample(
        name="si_vacancy",
        title="diamond Si with one vacancy",
        run=_si_vacancy,
        elements=("Si",),
        potential=_SI.label,
        citation=_SI.citation,
        temperature="900 K",
        seed=1106,
        timestep=0.002,
        phases=("CUBIC_DIAMOND",),
        notes="every atom belongs to one diamond crystal; one of 1000 sites is empty",
    ),
    Sample(
        name="ni3al",
        title="L1_2 Ni3Al",
        run=_ni3al,
        elements=("Ni", "Al"),
        potential=_NI3AL.label,
        citation=_NI3AL.citation,
        temperature="1000 K",
        seed=1107,
        timestep=0.002,
        phases=("L1_2",),
        notes="every atom belongs to one ordered L1_2 crystal; without chemistry it is fcc",
    ),
    Sample(
        name="ice_ih",
        title="proton-disordered ice Ih, oxygen and hydrogen",
        run=_ice_ih,
        elements=("O", "H"),
        potential="TIP4P/Ice",
        citation=water_md.CITATION,
        temperature="250 K",
        seed=1108,
        timestep=0.002,
        phases=("ICE_IH",),
        notes="the oxygens form hexagonal diamond; every molecule belongs to the crystal",
    ),
)
SAMPLES: dict[str, Sample] = {sample.name: sample for sample in _ALL}
