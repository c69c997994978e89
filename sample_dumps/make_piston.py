"""Drive a piston into titanium: a shock wave along [0001] or [11-20] of alpha, in pieces of some minutes.

    python sample_dumps/make_piston.py -o DIR --axis c --atoms 100000 --ps 20 --minutes 60   # again, until it is done

A momentum mirror (Holian, Phys. Rev. A 37, 2562 (1988)): the crystal at rest is thermalised, then all of it flies at
the speed u of the piston against a wall at z = 0 that turns v_z round; its far end is free. From the wall the front
moves at U - u, U = C0 + S u; the length is what the front needs for the whole time, and a tenth:

    length = 1.1 time (U - u) + 20 A,   C0 = 5.2 km/s,  S = 0.8 (titanium; Marsh, LASL Shock Hugoniot Data, 1980)
    pressure behind it, about           rho U u                                    12 GPa at 0.5, 27 GPa at 1 km/s

x and y are periodic, their width follows from the number of atoms. No thermostat after the start. Spline MEAM of
Hennig et al. Snapshots are `.npz` files with the fields of `make_melts.py`, piston (km/s), time (ps after the
impact), axis. The state is kept beside them in `NAME.restart` of LAMMPS, every --keep minutes and at the end of a
piece, the options in `NAME.json`; a finished run is not run again.
"""

from __future__ import annotations

import json
import logging
import time as clock
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import crystals
import numpy as np
from ase import Atoms
from lammps_md import Simulation
from make_melts import save
from materials import MATERIALS

_LOG = logging.getLogger(__name__)
_SEED = 70250
TEMPERATURE = 300.0
_START = 1.0  # ps of thermalisation
_VACUUM = 60.0
_STEPS = 50  # in one go, between looks at the clock
_SOUND, _SLOPE = 52.0, 0.8  # A/ps and none, of U = C0 + S u


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a run is; `speed` in km/s."""

    axis: str
    atoms: int
    ps: float
    speed: float
    seed: int
    frames: int


def block(axis: str, n_atoms: int, length: float) -> Atoms:
    """Return alpha with the axis along z, at least `length` A long, and near the number of atoms."""
    a, c = 2.947, 4.683  # of the potential at 300 K
    unit = crystals.permuted(crystals.hcp("Ti", a, c, (1, 1, 1)), (0, 1, 2) if axis == "c" else (1, 2, 0))
    x, y, z = np.diag(np.array(unit.cell))
    along = int(np.ceil(length / z))
    area = n_atoms / (len(unit) * along) * x * y
    width = np.sqrt(area)
    return unit * (max(round(width / x), 1), max(round(width / y), 1), along)


def needed_length(ps: float, speed: float) -> float:
    """Return the length in A whose far end the front does not reach in `ps` with a piston of `speed` km/s."""
    u = 10.0 * speed
    return 1.1 * ps * (_SOUND + (_SLOPE - 1.0) * u) + 20.0


class PistonRun:
    """One run in a folder, made new or taken up where it was left."""

    def __init__(self, output: Path, options: Options) -> None:
        self.name = f"piston_Ti_{options.axis}_{options.speed:g}kms"
        self._output, self._options = output, options
        self._restart = output / f"{self.name}.restart"
        material = MATERIALS["Ti"]
        self._timestep = material.timestep
        self._n_start = round(_START / self._timestep)
        self.n_steps = round(options.ps / self._timestep)
        _same_options(output / f"{self.name}.json", options)
        if self._restart.exists():
            self._simulation = Simulation.resumed(self._restart, material.potential, timestep=self._timestep)
            _LOG.info("%s: taken up at %.2f ps", self.name, self.step * self._timestep)
            return
        atoms = block(options.axis, options.atoms, needed_length(options.ps, options.speed))
        self._simulation = Simulation(atoms, material.potential, seed=options.seed, timestep=self._timestep)
        self._simulation.heat(2 * TEMPERATURE)
        sides = " x ".join(f"{side:.1f}" for side in np.diag(np.array(atoms.cell)))
        _LOG.info("%s: seed %d, %d atoms, %s A", self.name, options.seed, len(atoms), sides)

    @property
    def step(self) -> int:
        """Steps since the impact; negative while the crystal is thermalised."""
        return self._simulation.step - self._n_start

    def go_on(self, minutes: float, keep: float) -> bool:
        """Run until done or out of time; return whether the run is done."""
        began = kept = clock.monotonic()
        first = self.step
        while self.step < self.n_steps:
            if self.step < 0:
                self._thermalise()
            else:
                self._advance()
            now = clock.monotonic()
            out_of_time = now - began > 60 * minutes
            if out_of_time or self.step in (0, self.n_steps) or now - kept > 60 * keep:
                self._keep()
                kept = now
            if out_of_time:
                break
        used, n_atoms = clock.monotonic() - began, len(self._simulation.snapshot())
        if self.step > first:
            _LOG.info(
                "%s: %.2f of %g ps, %.2f us per atom and step",
                self.name,
                self.step * self._timestep,
                self._options.ps,
                1e6 * used / n_atoms / (self.step - first),
            )
        return self.step >= self.n_steps

    def close(self) -> None:
        """End LAMMPS."""
        self._simulation.close()

    def _thermalise(self) -> None:
        steps = min(_STEPS, -self.step)
        self._simulation.run(steps * self._timestep, TEMPERATURE)
        if self.step == 0:
            self._release()

    def _release(self) -> None:
        """Open the far end and set everything moving against the wall."""
        length = self._simulation.snapshot().cell[2, 2] + _VACUUM
        self._simulation.command(
            f"change_box all boundary p p f z final 0 {length}\n"
            f"velocity all set NULL NULL {-10 * self._options.speed} sum yes units box"
        )

    def _advance(self) -> None:
        every = max(self.n_steps // self._options.frames, 1)
        steps = min(_STEPS, every - self.step % every, self.n_steps - self.step)
        self._simulation.command(
            f"fix mirror all wall/reflect zlo EDGE\nfix integrate all nve\nrun {steps} post no\n"
            "unfix integrate\nunfix mirror"
        )
        if self.step % every == 0:
            self._write()

    def _write(self) -> None:
        frame = self._simulation.snapshot()
        frame.pbc = (True, True, False)
        time = self.step * self._timestep
        save(
            self._output / f"{self.name}_{time:05.2f}ps.npz",
            frame,
            piston=self._options.speed,
            axis=self._options.axis,
            temperature=TEMPERATURE,
            seed=self._options.seed,
            time=time,
        )
        _LOG.info("%s: %.2f ps written", self.name, time)

    def _keep(self) -> None:
        """Keep the state, old or new but never half of it."""
        fresh = self._restart.with_suffix(".restart.new")
        self._simulation.command(f"write_restart {fresh}")
        fresh.replace(self._restart)


def _same_options(path: Path, options: Options) -> None:
    """Write the options of a new run; UsageError if those of an old one are others."""
    if not path.exists():
        path.write_text(json.dumps(asdict(options)) + "\n", "utf-8")
    elif (kept := json.loads(path.read_text("utf-8"))) != asdict(options):
        raise click.UsageError(f"{path} is of another run, {kept}: take another folder")


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the .npz files.")
@click.option("--axis", type=click.Choice(["c", "a"]), default="c", show_default=True, help="[0001] or [11-20].")
@click.option("--atoms", default=100_000, show_default=True, help="About so many.")
@click.option("--ps", default=20.0, show_default=True, help="Time after the impact.")
@click.option("--speed", default=0.7, show_default=True, help="Of the piston, km/s.")
@click.option("--frames", default=10, show_default=True, help="Number of snapshots.")
@click.option("--minutes", default=1e9, help="Stop after so long; the same command goes on.")
@click.option("--keep", default=5.0, show_default=True, help="Minutes between two states kept.")
@click.option("--seed", default=_SEED, show_default=True, help="Of the velocities.")
def main(
    output: Path, axis: str, atoms: int, ps: float, speed: float, frames: int, minutes: float, keep: float, seed: int
) -> None:
    """Write snapshots of a shock wave in titanium to a folder."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    output.mkdir(parents=True, exist_ok=True)
    run = PistonRun(output, Options(axis=axis, atoms=atoms, ps=ps, speed=speed, seed=seed, frames=frames))
    try:
        done = run.go_on(minutes, keep)
    finally:
        run.close()
    _LOG.info("done" if done else "not done: the same command goes on")


if __name__ == "__main__":
    main()
