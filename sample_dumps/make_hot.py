"""Make crystals of known phase at 0.3, 0.6, 0.9 and 1.0 of their melting temperature: frames to test a classifier on.

    python sample_dumps/make_hot.py [NAME ...] -o DIR
    python sample_dumps/make_hot.py --training -o DIR     other materials, for training

Every snapshot is one `.npz` file with the fields of `make_melts.py` and phase (the key in the phase table), T_over_Tm
and displacement (n_atoms, 3), A: position minus site, the sites being those of the ideal crystal in the present cell,
mean removed. A crystal that did not last is reported and left out.
"""

from __future__ import annotations

import logging
from pathlib import Path

import click
import numpy as np
from ase import Atoms
from lammps_md import Simulation
from make_melts import save
from materials import MATERIALS, Material

_LOG = logging.getLogger(__name__)
_NAMES = (
    *("Cu", "Al", "Fe", "W", "Li", "Mg", "Ti", "Ti-beta", "Si", "Ge", "NaCl", "NiAl", "Ni3Al", "SiC", "GaN", "quartz"),
)
_TRAINING_NAMES = (
    *("Ni", "Ag", "Au", "Pd", "Pt", "V", "Ta", "Co", "Zr", "Zr-beta", "KCl", "CuZr", "CoAl", "CdTe", "C"),
    *("Zr-hot", "FeAl", "VFe", "Ag-hcp", "Ni-hcp"),
)
_FRACTIONS = (0.3, 0.6, 0.9, 1.0)
_FIRST_SEED = 30250


def hot_frames(material: Material, seed: int, output: Path, run: int = 0) -> None:
    """Write two snapshots, 4 ps apart, at each temperature; they are numbered through the runs."""
    for number, fraction in enumerate(_FRACTIONS):
        if not material.coldest <= fraction <= material.hottest:
            continue
        temperature = fraction * material.melting
        atoms = material.atoms()
        with Simulation(atoms, material.potential, seed=seed + number, timestep=material.timestep) as simulation:
            simulation.heat(2 * temperature)
            simulation.run(8, temperature, barostat="aniso")
            for snapshot in (2 * run, 2 * run + 1):
                simulation.mark()
                simulation.run(4, temperature, barostat="aniso")
                msd = simulation.displacement()
                name = f"hot_{material.name}_{fraction:.1f}Tm_{snapshot}"
                frame = simulation.snapshot()
                spacing = (frame.get_volume() / len(frame)) ** (1 / 3)
                displacement = from_sites(frame, atoms)
                far = float((displacement**2).sum(axis=1).mean())
                if max(msd / 2, far) > 0.08 * spacing**2:
                    _LOG.warning("%s: the atoms left their sites (MSD %.3f A^2), not written", name, msd)
                    continue
                save(
                    output / f"{name}.npz",
                    frame,
                    phase=material.phase,
                    T_over_Tm=fraction,
                    temperature=temperature,
                    seed=seed + number,
                    msd=msd,
                    displacement=displacement,
                )
                _LOG.info("%s: %d atoms, %.0f K, MSD %.3f A^2", name, len(frame), temperature, msd)


def from_sites(frame: Atoms, ideal: Atoms) -> np.ndarray:
    """Return position minus site (n_atoms, 3), A; the sites are those of `ideal`, stretched to the cell of `frame`."""
    fractional = frame.get_scaled_positions() - ideal.get_scaled_positions()
    for _ in range(3):  # the mean of wrapped differences is not the wrapped mean
        fractional -= np.round(fractional)
        fractional -= fractional.mean(axis=0)
    return fractional @ np.array(frame.cell)


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the .npz files.")
@click.option("--training", is_flag=True, help="The materials to train on instead of those to test with.")
@click.option("--runs", default=1, show_default=True, help="Runs of each material, with other velocities.")
def main(names: tuple[str, ...], output: Path, training: bool, runs: int) -> None:
    """Write hot crystals (all of them unless NAMEs are given, such as Cu) to a folder."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    choice = _TRAINING_NAMES if training else _NAMES
    unknown = sorted(set(names) - set(choice))
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: not among {', '.join(choice)}")
    output.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(choice):
        if not names or name in names:
            for run in range(runs):
                hot_frames(MATERIALS[name], _FIRST_SEED + 10 * number + 1000 * run, output, run)


if __name__ == "__main__":
    main()
