"""Melt and quench crystals: disordered frames that teach a classifier what is no crystal ("Other").

    python sample_dumps/make_melts.py [NAME ...] -o DIR

Every snapshot is one `.npz` file: positions (n_atoms, 3) float64 in A, cell (3, 3) rows in A, species (n_atoms,)
codes, pbc (3,), name, elements, temperature in K, seed and msd, the mean squared displacement in A^2 since the
snapshot before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import crystals
import numpy as np
import water_md
from ase import Atoms
from lammps_md import Simulation
from materials import MATERIALS, Material

_LOG = logging.getLogger(__name__)
_FIRST_SEED = 20250

Snapshot = tuple[str, Atoms, float, float]  # tag, atoms, temperature, msd


def liquid(material: Material, seed: int, factors: tuple[float, ...] = (1.1, 1.4)) -> Iterator[Snapshot]:
    """Yield three snapshots, 3 ps apart, of the melt at each multiple of the melting temperature."""
    with _molten(material, seed) as simulation:
        for factor in sorted(factors, reverse=True):
            temperature = factor * material.melting
            simulation.run(6, temperature, barostat="iso")
            for number in range(3):
                simulation.mark()
                simulation.run(3, temperature, barostat="iso")
                msd = simulation.displacement()
                yield f"liquid_{material.name}_{factor:.2f}Tm_{number}", simulation.snapshot(), temperature, msd


def glass(material: Material, seed: int, time: float = 40) -> Iterator[Snapshot]:
    """Yield snapshots at 0.5, 0.35 and 0.2 of the melting temperature on the way down, `time` ps in all."""
    with _molten(material, seed) as simulation:
        simulation.run(5, 1.2 * material.melting, barostat="iso")
        start = 1.2 * material.melting
        for end in (0.5, 0.35, 0.2):
            temperature = end * material.melting
            simulation.mark()
            simulation.run(time * (start - temperature) / material.melting, start, end=temperature, barostat="iso")
            simulation.run(2, temperature, barostat="iso")
            msd = simulation.displacement()
            yield f"glass_{material.name}_{end:.2f}Tm_{seed}", simulation.snapshot(), temperature, msd
            start = temperature


def water(seed: int) -> Iterator[Snapshot]:
    """Yield liquid water: 288 TIP4P/Ice molecules from ice melted at 600 K."""
    start = water_md.ice("Ih", (3, 3, 2), seed)
    melted = water_md.WaterSimulation(start, seed=seed, barostat="none")
    melted.run(4, 600)
    simulation = water_md.WaterSimulation(melted.snapshot(), seed=seed, barostat="iso")
    for temperature in (360.0, 300.0):
        simulation.run(10, temperature)
        before = simulation.snapshot()
        for number in range(3):
            simulation.run(6, temperature)
            after = simulation.snapshot()
            msd = float(((after.positions - before.positions) ** 2).sum(axis=1)[::3].mean())
            yield f"liquid_water_{temperature:.0f}K_{number}", after, temperature, msd
            before = after


def _molten(material: Material, seed: int) -> Simulation:
    """Return a simulation of the crystal, 8 % larger in volume and kept far above melting for 6 ps."""
    atoms = material.atoms()
    atoms.set_cell(np.array(atoms.cell) * 1.08 ** (1 / 3), scale_atoms=True)
    simulation = Simulation(atoms, material.potential, seed=seed, timestep=0.75 * material.timestep)
    simulation.heat(4 * material.melting)
    simulation.run(6, 2.2 * material.melting)
    return simulation


def _alloy(material: Material, elements: tuple[str, ...], fractions: tuple[float, ...]) -> Material:
    """Return the material with its elements dealt out at random: melts mix faster than they diffuse."""
    return Material(
        name=material.name,
        phase=material.phase,
        potential=material.potential,
        atoms=lambda: crystals.random_alloy(material.atoms(), elements, fractions, _FIRST_SEED),
        melting=material.melting,
        timestep=material.timestep,
    )


def _both(first: Callable[[int], Iterator[Snapshot]], seeds: tuple[int, ...]) -> Callable[[], Iterator[Snapshot]]:
    def snapshots() -> Iterator[Snapshot]:
        for seed in seeds:
            yield from first(seed)

    return snapshots


def _systems() -> dict[str, Callable[[], Iterator[Snapshot]]]:
    """Return the recipes, the ones most needed first."""
    recipes: dict[str, Callable[[], Iterator[Snapshot]]] = {}
    seed = _FIRST_SEED
    for name in ("Cu", "Al", "Fe", "Si", "NaCl", "Mg", "W", "Zr"):
        seed += 10
        factors = (1.05, 1.2) if name == "Mg" else (1.1, 1.4)  # hotter magnesium boils
        recipes[f"liquid_{name}"] = _both(lambda s, m=MATERIALS[name], f=factors: liquid(m, s, f), (seed,))
    recipes["liquid_water"] = _both(water, (seed + 10,))
    recipes["glass_Si"] = _both(lambda s: glass(MATERIALS["Si"], s), (seed + 20, seed + 21))
    nial = _alloy(MATERIALS["NiAl"], ("Ni", "Al"), (0.5, 0.5))
    cuzr = _alloy(MATERIALS["CuZr"], ("Cu", "Zr"), (0.5, 0.5))
    recipes["liquid_NiAl"] = _both(lambda s: liquid(nial, s), (seed + 40,))
    recipes["liquid_CuZr"] = _both(lambda s: liquid(cuzr, s), (seed + 50,))
    recipes["glass_CuZr"] = _both(lambda s: glass(cuzr, s), (seed + 60, seed + 61))
    recipes["liquid_KCl"] = _both(lambda s: liquid(MATERIALS["KCl"], s), (seed + 70,))
    recipes["liquid_Ge"] = _both(lambda s: liquid(MATERIALS["Ge"], s), (seed + 80,))
    recipes["glass_Ge"] = _both(lambda s: glass(MATERIALS["Ge"], s), (seed + 90, seed + 91))
    recipes["liquid_SiO2"] = _both(lambda s: liquid(MATERIALS["SiO2"], s), (seed + 100,))
    recipes["glass_SiO2"] = _both(lambda s: glass(MATERIALS["SiO2"], s, time=20), (seed + 110, seed + 111))
    recipes["liquid_SiC"] = _both(lambda s: liquid(MATERIALS["SiC"], s, (1.4, 1.7)), (seed + 120,))
    recipes["liquid_GaN"] = _both(lambda s: liquid(MATERIALS["GaN"], s, (1.2, 1.5)), (seed + 130,))
    recipes["glass_SiC"] = _both(lambda s: glass(MATERIALS["SiC"], s, time=20), (seed + 140, seed + 141))
    recipes["glass_NiAl"] = _both(lambda s: glass(nial, s, time=10), (seed + 150, seed + 151))
    recipes["liquid_CdTe"] = _both(lambda s: liquid(MATERIALS["CdTe"], s), (seed + 160,))
    recipes["glass_CdTe"] = _both(lambda s: glass(MATERIALS["CdTe"], s, time=20), (seed + 170, seed + 171))
    recipes["glass_C"] = _both(lambda s: glass(MATERIALS["C"], s, time=10), (seed + 180, seed + 181))
    recipes["glass_Si-EDIP"] = _both(lambda s: glass(MATERIALS["Si-EDIP"], s), (seed + 200, seed + 201))
    recipes["glass_Si-Tersoff"] = _both(lambda s: glass(MATERIALS["Si-Tersoff"], s, time=20), (seed + 210, seed + 211))
    recipes["liquid_Ti"] = _both(lambda s: liquid(MATERIALS["Ti"], s), (seed + 30,))
    return recipes


def save(path: Path, atoms: Atoms, **fields: object) -> None:
    """Write one frame with species codes by order of first appearance of the elements."""
    symbols = atoms.get_chemical_symbols()
    elements = list(dict.fromkeys(symbols))
    np.savez_compressed(
        path,
        positions=atoms.positions,
        cell=np.array(atoms.cell),
        species=np.array([elements.index(symbol) for symbol in symbols], dtype=np.int64),
        elements=np.array(elements),
        pbc=np.array(atoms.pbc, dtype=bool),
        name=path.stem,
        **fields,
    )


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the .npz files.")
def main(names: tuple[str, ...], output: Path) -> None:
    """Write melts and glasses (all of them unless NAMEs are given, such as liquid_Cu) to a folder."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipes = _systems()
    unknown = sorted(set(names) - set(recipes))
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: not among {', '.join(recipes)}")
    output.mkdir(parents=True, exist_ok=True)
    for name in names or recipes:
        for tag, atoms, temperature, msd in recipes[name]():
            save(output / f"{tag}.npz", atoms, temperature=temperature, msd=msd)
            _LOG.info(
                "%s: %d atoms, %.0f K, %.2f A^3/atom, MSD %.2f A^2",
                tag,
                len(atoms),
                temperature,
                atoms.get_volume() / len(atoms),
                msd,
            )


if __name__ == "__main__":
    main()
