"""Make ices and clathrate hydrates at 150 and 265 K (TIP4P/Ice): crystals of water to train a classifier on.

    python sample_dumps/make_ices.py [KEY ...] -o DIR

Proton orders are those of the training part (`ovito_mace_phase/lab/data/ices.py`), so that test frames have others.
Every snapshot is one `.npz` file with the fields of `make_melts.py` and phase. An ice whose oxygens have left their
sites by more than a quarter of the distance of neighbours, rms, is reported and left out.
"""

from __future__ import annotations

import logging
from pathlib import Path

import click
import numpy as np
import water_md
from ase import Atoms
from make_melts import save

from ovito_mace_phase.lab.phase_table.ices import ICES

_LOG = logging.getLogger(__name__)
_LOW_PRESSURE = {
    "ICE_IH": (3, 2, 2),
    "ICE_IC": (2, 2, 2),
    "CLATHRATE_SI": (1, 1, 1),
    "CLATHRATE_SII": (1, 1, 1),
    "ICE_XVII": (2, 2, 2),
}
_SEED = 100  # of the proton order, in the range that training uses
_NEIGHBOURS = 2.75  # A


def frames(key: str, seed: int) -> list[tuple[str, Atoms, float]]:
    """Return name, atoms and temperature of the snapshots of one ice that lasted."""
    lattice = next(ice.lattice for ice in ICES if ice.key == key)
    start = water_md.ice(lattice, _LOW_PRESSURE[key], seed)
    out = []
    for temperature in (150.0, 265.0):
        simulation = water_md.WaterSimulation(start, seed=seed, barostat="iso")
        simulation.run(4, temperature)
        for number in range(2):
            simulation.run(3, temperature)
            atoms = simulation.snapshot()
            off = from_sites(atoms, start)
            if off > 0.25 * _NEIGHBOURS:
                _LOG.warning("%s at %.0f K left its sites (rms %.2f A), not written", key, temperature, off)
                continue
            out.append((f"hot_{key}_{temperature:.0f}K_{seed}_{number}", atoms, temperature))
            _LOG.info(
                "%s, %d molecules, %.0f K: rms displacement of the oxygens %.2f A",
                key,
                len(atoms) // 3,
                temperature,
                off,
            )
    return out


def from_sites(atoms: Atoms, start: Atoms) -> float:
    """Return the rms displacement of the oxygens in fractional coordinates times the cell, mean removed, A."""
    moved = (atoms.get_scaled_positions(wrap=False) - start.get_scaled_positions(wrap=False))[::3]
    moved -= np.round(moved)
    moved -= moved.mean(axis=0)
    return float(np.sqrt(((moved @ np.array(atoms.cell)) ** 2).sum(axis=1).mean()))


@click.command()
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the .npz files.")
@click.option("--orders", default=2, show_default=True, help="Proton orders of each ice.")
def main(keys: tuple[str, ...], output: Path, orders: int) -> None:
    """Write snapshots of ices (all of them unless KEYs are given, such as ICE_IH) to a folder."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    output.mkdir(parents=True, exist_ok=True)
    for key in keys or _LOW_PRESSURE:
        if key not in _LOW_PRESSURE:
            raise click.BadParameter(f"no recipe for {key}; there are {', '.join(_LOW_PRESSURE)}")
        for seed in range(_SEED, _SEED + orders):
            for name, atoms, temperature in frames(key, seed):
                save(output / f"{name}.npz", atoms, phase=key, temperature=temperature, seed=seed)


if __name__ == "__main__":
    main()
