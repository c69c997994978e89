"""Make titanium with two or three of its phases side by side: frames whose labels are known from how they were built.

    python sample_dumps/make_titanium.py -o DIR [NAME ...]

    alpha | omega   TAO-1      (0001)a || (01-11)w,  [11-20]a || [-1011]w
    alpha | beta    Burgers    (0001)a || (110)b,    [11-20]a || [1-11]b       Burgers, Physica 1, 561 (1934)

The first is variant I of Usikov and Zilbershtein, Phys. Stat. Sol. A 19, 53 (1973), that of the path TAO-1 of Trinkle
et al., PRL 91, 025701 (2003): the six-atom strain of (-0.10, -0.02, 0.10) between both cells turns them to within 0.1
degree of the planes and 5 of the directions.

Periodic slabs along z; `bicrystals.py` finds the interface that strains them least. Spline MEAM of Hennig et al., at
one pressure, then mean places over `AVERAGE` ps. The truth of an atom is the phase of its slab; it has none, and does
not count, nearer than `FRONT` to another slab, or where its mean place is more than `SITE` from every site of its
lattice (`transformed`: such atoms have left the phase they were built in; omega differs from alpha and beta by
shuffles of 0.4 to 0.6 A, alpha from beta by 0.4 A). Fields: those of `make_melts.py`, pressure (GPa), truth
(n_atoms,) text, empty where not counted, mean (n_atoms, 3), the mean places. A file that is there is not made again.
Beta is at 1200 K alone: in this potential it is lost within 6 ps at 900 K and 5 GPa, and at 300 K and 10 GPa.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.build import bulk
from bicrystals import find_interface, oriented, side_by_side
from lammps_md import Simulation
from make_melts import save
from materials import MATERIALS
from scipy.spatial import cKDTree

_LOG = logging.getLogger(__name__)
_SEED = 60250
FRONT = 4.0
SITE = 0.4
AVERAGE = 0.6
_HEIGHT = 44.0
_AREA = (500.0, 700.0)
_LONGEST = 46.0
Float = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Phases from bottom to top, pressure in GPa, temperature in K."""

    phases: tuple[str, ...]
    pressure: float
    temperature: float

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"built_Ti_{'-'.join(self.phases)}_{self.pressure:02.0f}GPa_{self.temperature:.0f}K"


RECIPES = (
    Recipe(phases=("HCP", "OMEGA", "BCC"), pressure=10, temperature=1200),
    Recipe(phases=("HCP", "OMEGA"), pressure=5, temperature=300),
    Recipe(phases=("HCP", "BCC"), pressure=10, temperature=1200),
    Recipe(phases=("HCP", "OMEGA"), pressure=20, temperature=300),
    Recipe(phases=("HCP", "OMEGA"), pressure=10, temperature=900),
    Recipe(phases=("HCP", "OMEGA", "BCC"), pressure=20, temperature=1200),
    Recipe(phases=("HCP", "BCC"), pressure=20, temperature=1200),
    Recipe(phases=("HCP", "OMEGA"), pressure=15, temperature=600),
)


def crystal(phase: str) -> Atoms:
    """Return one cell of a phase in the common frame, lattice constants of the potential at 10 GPa."""
    if phase == "HCP":
        return oriented(bulk("Ti", "hcp", a=2.871, c=4.578), (0, 0, 1), (1, 0, 0))
    if phase == "BCC":
        return oriented(bulk("Ti", "bcc", a=3.20, cubic=True), (1, 1, 0), (1, -1, 1))
    a, c = 4.510, 2.761
    cell = [[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, c]]
    sites = [[0, 0, 0], [1 / 3, 2 / 3, 1 / 2], [2 / 3, 1 / 3, 1 / 2]]
    return oriented(Atoms("Ti3", scaled_positions=sites, cell=cell, pbc=True), (0, 1, 1), (-2, -1, 1))


def mean_places(simulation: Simulation, recipe: Recipe, start: Atoms) -> Atoms:
    """Run on for `AVERAGE` ps at constant volume and return the mean places."""
    n_parts = 20
    moved = np.zeros((len(start), 3))
    frame = simulation.snapshot()
    origin = frame.get_scaled_positions()
    for _ in range(n_parts):
        simulation.run(AVERAGE / n_parts, recipe.temperature)
        step = simulation.snapshot().get_scaled_positions() - origin
        moved += (step - np.round(step)) / n_parts
    return Atoms(start.symbols, scaled_positions=origin + moved, cell=frame.cell, pbc=True)


def off_site(built: Atoms, mean: Atoms, owner: npt.NDArray[np.int64]) -> Float:
    """Return how far each mean place (n_atoms,) is from the nearest site of its slab, strained evenly to fit.

    Sites, not the atom's own site: a chain of omega may slide by a period without changing anything.
    """
    step = mean.get_scaled_positions(wrap=False) - built.get_scaled_positions(wrap=False)
    places = built.get_scaled_positions(wrap=False) + step - np.round(step)
    places = places @ np.array(mean.cell)
    found = np.full(len(owner), np.inf)
    lengths = np.array([*np.diag(np.array(mean.cell))[:2], 0.0])
    shifts = np.array([[i, j, 0] for i in (-1, 0, 1) for j in (-1, 0, 1)]) * lengths
    for number in np.unique(owner):
        inside = np.flatnonzero(owner == number)
        sites = np.column_stack([built.positions[inside], np.ones(len(inside))])
        good = np.ones(len(inside), dtype=bool)
        for _ in range(6):  # the least squares of the atoms that fit, found by leaving out those that do not
            strain = np.linalg.lstsq(sites[good], places[inside][good], rcond=None)[0]
            good = np.linalg.norm(sites @ strain - places[inside], axis=1) < 2 * SITE
            if good.sum() < 8:
                break
        images = ((sites @ strain)[None] + shifts[:, None]).reshape(-1, 3)
        found[inside] = cKDTree(images).query(places[inside])[0]
    return found


def near_front(mean: Atoms, owner: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which atoms (n_atoms,) have one of another slab nearer than `FRONT`."""
    lengths = np.diag(np.array(mean.cell))
    pairs = cKDTree(mean.positions % lengths % lengths, boxsize=lengths).query_pairs(FRONT, output_type="ndarray")
    return np.bincount(pairs[owner[pairs[:, 0]] != owner[pairs[:, 1]]].ravel(), minlength=len(owner)) > 0


def make(recipe: Recipe, output: Path, seed: int, time: float, height: float) -> None:
    """Build, equilibrate and write one frame."""
    crystals = [crystal(phase) for phase in recipe.phases]
    interface = find_interface(crystals, _LONGEST, _AREA)
    built, owner = side_by_side(crystals, interface, [height] * len(crystals), np.random.default_rng(seed))
    strains = ", ".join(f"{key} {one:.2%}" for key, one in zip(recipe.phases, interface.strains, strict=True))
    sides = " x ".join(f"{length:.1f}" for length in interface.lengths)
    _LOG.info("%s: seed %d, %d atoms, %s A, strain %s, turn %.2f deg", recipe.name, seed, len(built), sides, strains,
              interface.turn)  # fmt: skip
    material = MATERIALS["Ti"]
    with Simulation(built, material.potential, seed=seed, timestep=material.timestep) as simulation:
        simulation.heat(1.5 * recipe.temperature)
        simulation.command(  # atoms too close at the interfaces come apart; a minimisation would destroy beta
            f"fix gentle all nve/limit 0.05\nfix warm all langevin {2 * f'{recipe.temperature} '}0.05 {seed}\n"
            "run 100\nunfix warm\nunfix gentle"
        )
        simulation.run(time, recipe.temperature, barostat="aniso", pressure=recipe.pressure, damp=300)
        mean = mean_places(simulation, recipe, built)
        frame = simulation.snapshot()
        measured = simulation.thermo("press") / 1e4
    away, front = off_site(built, mean, owner), near_front(mean, owner)
    truth = np.where(front | (away > SITE), "", np.array(recipe.phases)[owner])
    for number, phase in enumerate(recipe.phases):
        inner = (owner == number) & ~front
        lost, p99 = (away[inner] > SITE).mean(), np.percentile(away[inner], 99)
        _LOG.info("  %s: %d atoms inside, off their sites by %.2f A (99th percentile %.2f), transformed %.1f%%",
                  phase, inner.sum(), np.median(away[inner]), p99, 100 * lost)  # fmt: skip
    save(
        output / f"{recipe.name}.npz",
        frame,
        pressure=recipe.pressure,
        temperature=recipe.temperature,
        truth=truth,
        slab=owner,
        off_site=away,
        mean=mean.positions,
        strain=np.array(interface.strains),
        turn=interface.turn,
        seed=seed,
        time=simulation.time,
    )
    _LOG.info("  %.1f GPa at the end, %d of %d atoms count", measured, (truth != "").sum(), len(truth))


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the .npz files.")
@click.option("--seed", default=_SEED, show_default=True, help="Of the cuts, velocities and thermostat.")
@click.option("--time", default=1.6, show_default=True, help="Equilibration, ps.")
@click.option("--height", default=_HEIGHT, show_default=True, help="Of a slab, A.")
def main(names: tuple[str, ...], output: Path, seed: int, time: float, height: float) -> None:
    """Write frames of titanium with several phases (all unless NAMEs are given) to a folder."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    known = {recipe.name: recipe for recipe in RECIPES}
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: not among {', '.join(known)}")
    output.mkdir(parents=True, exist_ok=True)
    for number, recipe in enumerate(RECIPES):
        if (not names or recipe.name in names) and not (output / f"{recipe.name}.npz").exists():
            make(recipe, output, seed + number, time, height)


if __name__ == "__main__":
    main()
