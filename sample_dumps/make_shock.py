"""Compress titanium along one axis of alpha, fast: where hcp gives way, and to what.

    python sample_dumps/make_shock.py -o DIR

Periodic cell of some 1,000 atoms, spline MEAM of Hennig et al.; the stress along one axis rises evenly while the other
two keep their lengths, as behind a plane shock wave: x is [11-20], y [10-10], z [0001]. Every snapshot is one `.npz`
file with the fields of `make_melts.py`, pressure (along that axis, GPa, of that moment) and time in ps. No atom's phase
is known beforehand.
"""

from __future__ import annotations

import logging
from pathlib import Path

import click
import crystals
from lammps_md import Simulation
from make_melts import save
from materials import MATERIALS

_LOG = logging.getLogger(__name__)
_SEED = 50250
TEMPERATURE = 300.0


def compress(
    output: Path,
    axis: str,
    repeat: tuple[int, int, int],
    highest: float,
    time: float,
    n_frames: int,
    seed: int,
) -> None:
    """Write snapshots while the stress along the axis rises to `highest` GPa in `time` ps."""
    material = MATERIALS["Ti"]
    atoms = crystals.hcp("Ti", 2.947, 4.683, repeat)
    timestep = material.timestep
    with Simulation(atoms, material.potential, seed=seed, timestep=timestep) as simulation:
        simulation.heat(2 * TEMPERATURE)
        simulation.run(3, TEMPERATURE, barostat="aniso")
        for number in range(n_frames):
            low, high = (1e4 * highest * k / n_frames for k in (number, number + 1))
            steps = round(time / n_frames / timestep)
            simulation.command(
                f"fix integrate all npt temp {TEMPERATURE} {TEMPERATURE} {100 * timestep} "
                f"{axis} {low} {high} {500 * timestep}\nrun {steps}\nunfix integrate"
            )
            simulation.time += steps * timestep
            pressure = simulation.thermo(f"p{axis}{axis}") / 1e4
            name = f"compressed_Ti_{axis}_{highest * (number + 1) / n_frames:02.0f}GPa"
            frame = simulation.snapshot()
            save(
                output / f"{name}.npz",
                frame,
                pressure=pressure,
                temperature=TEMPERATURE,
                seed=seed,
                time=simulation.time,
            )
            _LOG.info(
                "%s: %d atoms, %.1f GPa, %.2f A^3/atom", name, len(frame), pressure, frame.get_volume() / len(frame)
            )


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the .npz files.")
@click.option("--axis", type=click.Choice(["x", "y", "z"]), default="y", show_default=True, help="Direction.")
@click.option("--highest", default=40.0, show_default=True, help="Last stress, GPa.")
@click.option("--time", default=12.0, show_default=True, help="Duration of the ramp, ps.")
@click.option("--frames", "n_frames", default=8, show_default=True, help="Number of snapshots.")
@click.option("--seed", default=_SEED, show_default=True, help="Of the velocities.")
def main(output: Path, axis: str, highest: float, time: float, n_frames: int, seed: int) -> None:
    """Write snapshots of titanium under compression to a folder."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    output.mkdir(parents=True, exist_ok=True)
    compress(output, axis, (7, 6, 6), highest, time, n_frames, seed)


if __name__ == "__main__":
    main()
