"""Make ice Ih in contact with water: frames to test on, in which it is known which molecules are ice.

    python sample_dumps/make_interface.py -o DIR

Half of the molecules are held while the other half melts at 600 K; then all are free at 270 K and zero pressure. At
270 K, close to the melting point of TIP4P/Ice (272 K), the fronts hardly move. Every snapshot is one `.npz` file with
the fields of `make_melts.py` and frozen (n_molecules,) bool: the half that was held. Atoms come as O, H, H.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import water_md
from ase import Atoms
from make_melts import save

_LOG = logging.getLogger(__name__)
_SEED = 40250
TEMPERATURE = 270.0


def interface(
    seed: int, repeat: tuple[int, int, int], n_frames: int, *, melt: float = 6, settle: float = 10, apart: float = 8
) -> Iterator[tuple[Atoms, np.ndarray]]:
    """Yield frames and the mask `frozen`; times in ps."""
    start = water_md.ice("Ih", repeat, seed)
    height = start.get_scaled_positions()[::3, 2]
    frozen = (height >= 0.25) & (height < 0.75)
    melting = water_md.WaterSimulation(start, seed=seed, barostat="none", held=frozen)
    melting.run(melt, 600)
    melting.run(melt / 2, 400)
    simulation = water_md.WaterSimulation(melting.snapshot(), seed=seed, barostat="aniso")
    simulation.run(settle, TEMPERATURE)
    for _ in range(n_frames):
        simulation.run(apart, TEMPERATURE)
        yield simulation.snapshot(), frozen


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the .npz files.")
@click.option("--frames", "n_frames", default=4, show_default=True, help="Number of snapshots, 8 ps apart.")
@click.option("--seed", default=_SEED, show_default=True, help="Of the proton order, velocities and thermostat.")
def main(output: Path, n_frames: int, seed: int) -> None:
    """Write snapshots of an ice-water interface of 384 molecules to a folder."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    output.mkdir(parents=True, exist_ok=True)
    for number, (atoms, frozen) in enumerate(interface(seed, (2, 2, 6), n_frames)):
        name = f"interface_water_{TEMPERATURE:.0f}K_{number}"
        save(output / f"{name}.npz", atoms, temperature=TEMPERATURE, seed=seed, frozen=frozen)
        _LOG.info("%s: %d molecules, %d of them ice", name, len(frozen), frozen.sum())


if __name__ == "__main__":
    main()
