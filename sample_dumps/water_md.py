"""Ice and water with OpenMM and the rigid TIP4P/Ice model (Abascal et al., J. Chem. Phys. 122, 234511 (2005))."""

from __future__ import annotations

import logging
import random
from typing import Any, Literal

import numpy as np
from ase import Atoms

CITATION = "TIP4P/Ice: Abascal et al., J. Chem. Phys. 122, 234511 (2005)"
_BOND, _ANGLE, _SITE = 0.09572, np.deg2rad(104.52), 0.01577  # nm: O-H, H-O-H, O-M
_CHARGE, _SIGMA, _EPSILON = 0.5897, 0.31668, 0.8822  # e, nm, kJ/mol


class WaterSimulation:
    """Rigid water molecules in a periodic orthogonal cell.

    Parameters
    ----------
    atoms : Atoms
        Molecules in the order O, H, H.
    seed : int
        Of velocities, thermostat and barostat.
    barostat : {"iso", "aniso", "none"}
        Keep zero pressure by scaling the cell, or each of its lengths.
    held : (n_molecules,) bool, optional
        Molecules whose atoms are bound to where they start; only with a cell that keeps its size.
    """

    def __init__(
        self,
        atoms: Atoms,
        *,
        seed: int,
        barostat: Literal["iso", "aniso", "none"],
        held: np.ndarray | None = None,
    ) -> None:
        import openmm
        from openmm import unit

        self.time = 0.0
        self._unit = unit
        self._symbols = atoms.get_chemical_symbols()
        n_molecules = len(atoms) // 3
        system = openmm.System()
        force = openmm.NonbondedForce()
        force.setNonbondedMethod(openmm.NonbondedForce.PME)
        force.setCutoffDistance(min(0.85, 0.46 * min(atoms.cell.lengths()) / 10))
        weight = _SITE / (2 * _BOND * np.cos(_ANGLE / 2))
        hydrogens = 2 * _BOND * np.sin(_ANGLE / 2)
        for molecule in range(n_molecules):
            first = 4 * molecule
            for mass, charge, epsilon in (
                (15.9994, 0, _EPSILON),
                (1.008, _CHARGE, 0),
                (1.008, _CHARGE, 0),
                (0, -2 * _CHARGE, 0),
            ):
                system.addParticle(mass)
                force.addParticle(charge, _SIGMA, epsilon)
            for a, b, length in ((0, 1, _BOND), (0, 2, _BOND), (1, 2, hydrogens)):
                system.addConstraint(first + a, first + b, length)
            system.setVirtualSite(
                first + 3,
                openmm.ThreeParticleAverageSite(first, first + 1, first + 2, 1 - 2 * weight, weight, weight),
            )
            for a in range(4):
                for b in range(a):
                    force.addException(first + a, first + b, 0, 1, 0)
        system.addForce(force)
        sites = np.zeros((n_molecules, 4, 3))
        sites[:, :3] = _whole_molecules(atoms) / 10
        if held is not None:
            system.addForce(_holding(sites, held))
        self._barostat: Any = None
        if barostat == "iso":
            self._barostat = openmm.MonteCarloBarostat(1.0, 300.0, 25)
        elif barostat == "aniso":
            self._barostat = openmm.MonteCarloAnisotropicBarostat(openmm.Vec3(1, 1, 1), 300.0, True, True, True, 25)
        if self._barostat is not None:
            self._barostat.setRandomNumberSeed(seed)
            system.addForce(self._barostat)
        system.setDefaultPeriodicBoxVectors(*(openmm.Vec3(*row) for row in np.array(atoms.cell) / 10))
        self._integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.002)
        self._integrator.setRandomNumberSeed(seed)
        platform = openmm.Platform.getPlatformByName("CPU")
        self._context = openmm.Context(system, self._integrator, platform, {"Threads": "1"})
        self._context.setPositions(sites.reshape(-1, 3))
        self._context.applyConstraints(1e-6)
        self._context.computeVirtualSites()
        openmm.LocalEnergyMinimizer.minimize(self._context, maxIterations=100)
        self._context.setVelocitiesToTemperature(100.0, seed)

    def run(self, time: float, temperature: float) -> None:
        """Integrate for `time` ps at the temperature in K."""
        self._integrator.setTemperature(temperature)
        if self._barostat is not None:
            self._context.setParameter(self._barostat.Temperature(), temperature)
        self._integrator.step(round(time / 0.002))
        self.time += time

    def snapshot(self) -> Atoms:
        """Return oxygen and hydrogen positions in A, molecules whole, and the cell."""
        state = self._context.getState(getPositions=True)
        sites = state.getPositions(asNumpy=True).value_in_unit(self._unit.angstrom).reshape(-1, 4, 3)
        cell = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(self._unit.angstrom)
        atoms = Atoms(self._symbols, positions=sites[:, :3].reshape(-1, 3), cell=cell, pbc=True)
        atoms.info["time"] = self.time
        return atoms


def _holding(sites: np.ndarray, held: np.ndarray) -> Any:
    """Return springs (2000 kJ/mol/nm^2) that bind the sites of the molecules `held` to where they are."""
    import openmm

    force = openmm.CustomExternalForce("1000 * periodicdistance(x, y, z, x0, y0, z0)^2")
    for name in ("x0", "y0", "z0"):
        force.addPerParticleParameter(name)
    for molecule in np.flatnonzero(held):
        for site in range(3):
            force.addParticle(int(4 * molecule + site), [float(value) for value in sites[molecule, site]])
    return force


def ice(name: str, repeat: tuple[int, int, int], seed: int) -> Atoms:
    """Return a proton-disordered ice of GenIce2 as molecules in the order O, H, H."""
    from genice2.genice import GenIce
    from genice2.plugin import Format, Lattice, Molecule

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (GenIce2 draws from the global generator)
    logging.disable(logging.WARNING)  # GenIce2 tells every stage to the root logger
    try:
        lattice = GenIce(Lattice(name), signature=name, reshape=np.diag(repeat))
        text = lattice.generate_ice(Format("exyz"), water=Molecule("3site"))
    finally:
        logging.disable(logging.NOTSET)
    return _read_exyz(text)


def _read_exyz(text: str) -> Atoms:
    """Read GenIce's extended XYZ: comments, a count, `%PBC`, atoms, then rows `Vector1 x y z`."""
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith(("#", "%"))]
    cell = [row[1:4] for row in rows if row[0].startswith("Vector")]
    sites = [row for row in rows if len(row) == 4 and not row[0].startswith(("Vector", "Offset"))]
    positions = np.array([row[1:4] for row in sites], dtype=float)
    return Atoms([row[0] for row in sites], positions=positions, cell=np.array(cell, dtype=float), pbc=True)


def _whole_molecules(atoms: Atoms) -> np.ndarray:
    """Return positions (n_molecules, 3, 3) with the hydrogens beside their oxygen and the model's rigid shape."""
    cell = np.array(atoms.cell)
    sites = atoms.positions.reshape(-1, 3, 3)
    bonds = sites[:, 1:] - sites[:, :1]
    bonds -= np.round(bonds @ np.linalg.inv(cell)) @ cell
    return np.concatenate([sites[:, :1], sites[:, :1] + bonds], axis=1)
