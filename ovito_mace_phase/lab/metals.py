"""Metals as many-body potentials: crystals at rest after minimisation, and moved by heat.

    E = sum_i ( 1/2 sum_j V(r_ij) - sqrt(rho_i) ),    rho_i = sum_j phi(r_ij)

    fcc, hcp   V = 2 A exp(-p (r / d - 1)),  phi = xi^2 exp(-2 q (r / d - 1)),   both taken to zero from 1.75 to 1.95 d
    bcc        V = (r - c)^2 (c0 + c1 r + c2 r^2) for r < c,   phi = A^2 ((r - R)^2 + beta (r - R)^3 / R) for r < R

d is the neighbour distance. The shapes of cores and boundaries matter here, not energies.
Sources: F. Cleri, V. Rosato, Phys. Rev. B 48 (1993) 22 (Cu, Ni, Al, Mg); M. W. Finnis, J. E. Sinclair, Phil. Mag. A 50
(1984) 45 (Fe, Mo, W). Minimisation is FIRE: E. Bitzek et al., Phys. Rev. Lett. 97 (2006) 170201.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.lab.crystals import Float

_SKIN = 0.5  # A
_BOLTZMANN = 8.617e-5  # eV / K
_MASS_UNIT = 103.6427  # eV fs^2 / (A^2 u)
_LONGEST_STEP = 0.1  # A


@dataclass(frozen=True, kw_only=True)
class Metal:
    """Lattice, neighbour distance (A), melting temperature (K), mass (u), numbers of the potential."""

    lattice: str
    spacing: float
    melting: float
    mass: float
    numbers: tuple[float, ...]

    @property
    def reach(self) -> float:
        """Cutoff, A."""
        return max(self.numbers[0], self.numbers[3]) if self.lattice == "BCC" else 1.95 * self.spacing

    def pair(self, r: Float) -> tuple[Float, Float, Float, Float]:
        """Return V, V', phi, phi' of distances (n,), eV and eV / A, eV^2 and eV^2 / A."""
        return _finnis_sinclair(r, self.numbers) if self.lattice == "BCC" else _cleri_rosato(r, self)


METALS = {
    "Cu": Metal(lattice="FCC", spacing=2.556, melting=1358, mass=63.55, numbers=(0.0855, 1.224, 10.960, 2.278)),
    "Ni": Metal(lattice="FCC", spacing=2.491, melting=1728, mass=58.69, numbers=(0.0376, 1.070, 16.999, 1.189)),
    "Al": Metal(lattice="FCC", spacing=2.864, melting=933, mass=26.98, numbers=(0.1221, 1.316, 8.612, 2.516)),
    "Mg": Metal(lattice="HCP", spacing=3.197, melting=923, mass=24.31, numbers=(0.0290, 0.4992, 12.820, 2.257)),
    "Fe": Metal(
        lattice="BCC", spacing=2.482, melting=1811, mass=55.85,
        numbers=(3.569745, 1.828905, 1.8, 3.40, 1.2371147, -0.3592185, -0.0385607),
    ),
    "Mo": Metal(
        lattice="BCC", spacing=2.726, melting=2896, mass=95.95,
        numbers=(4.114825, 1.887117, 0.0, 3.25, 43.4475218, -31.9332978, 6.0804249),
    ),
    "W": Metal(
        lattice="BCC", spacing=2.741, melting=3695, mass=183.84,
        numbers=(4.400224, 1.896373, 0.0, 3.25, 47.1346499, -33.7665655, 6.2541999),
    ),
}  # fmt: skip


class Forces:
    """Energy and forces of a frame; the neighbour list is made anew where an atom has moved by half the skin."""

    def __init__(self, metal: Metal, frame: Frame) -> None:
        self.metal, self.frame = metal, frame
        self._listed = np.full_like(frame.positions, np.inf)

    def __call__(self, positions: Float) -> tuple[float, Float]:
        """Return energy (eV) and forces (n_atoms, 3) (eV / A)."""
        moved = positions - self._listed
        if not (np.einsum("ij,ij->i", moved, moved) < (_SKIN / 2) ** 2).all():
            reach = self.metal.reach + _SKIN
            self._edges = neighbour_list(positions, self.frame.cell, self.frame.pbc, reach)
            self._centre, self._listed = self._edges.centre, positions.copy()
            moved = np.zeros_like(positions)
        centre, other = self._centre, self._edges.neighbour
        vectors = self._edges.vectors + moved[other] - moved[centre]
        r = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        near = r < self.metal.reach
        centre, other, vectors, r = centre[near], other[near], vectors[near], r[near]
        v, dv, phi, dphi = self.metal.pair(r)
        n_atoms = len(positions)
        rho = np.maximum(np.bincount(centre, phi, n_atoms), 1e-12)
        root = np.sqrt(rho)
        slope = 0.5 / root
        along = (dv - (slope[centre] + slope[other]) * dphi) / r
        forces = np.stack(
            [np.bincount(centre, along * vectors[:, i], n_atoms) for i in range(3)], axis=1, dtype=np.float64
        )
        return float(0.5 * v.sum() - root.sum()), forces


def minimised(metal: Metal, frame: Frame, steps: int = 400, force: float = 0.02) -> Frame:
    """Return the frame at a minimum of the energy: largest force below `force` (eV / A), or after `steps`."""
    forces = Forces(metal, frame)
    x = frame.positions.copy()
    v, dt, alpha, downhill = np.zeros_like(x), 0.1, 0.1, 0
    for _ in range(steps):
        f = forces(x)[1]
        if np.abs(f).max() < force:
            break
        power = float((f * v).sum())
        if power > 0.0:
            v = (1.0 - alpha) * v + alpha * f * np.linalg.norm(v) / np.linalg.norm(f)
            downhill += 1
            if downhill > 5:
                dt, alpha = min(1.1 * dt, 0.4), 0.99 * alpha
        else:
            v[:], dt, alpha, downhill = 0.0, 0.5 * dt, 0.1, 0
        v += dt * f
        step = dt * v
        x = x + step * min(1.0, _LONGEST_STEP / max(1e-12, float(np.abs(step).max())))
    return replace(frame, positions=x)


def heated(
    metal: Metal, frame: Frame, temperature: float, rng: np.random.Generator, steps: int = 250, step: float = 2.0
) -> Frame:
    """Return the frame after some steps (fs) of dynamics; velocities are rescaled to the temperature (K)."""
    forces = Forces(metal, frame)
    mass = metal.mass * _MASS_UNIT
    x = frame.positions.copy()
    v = rng.normal(0.0, np.sqrt(2.0 * _BOLTZMANN * temperature / mass), x.shape)
    f = forces(x)[1]
    for number in range(steps):
        v += 0.5 * step * f / mass
        x = x + step * v
        f = forces(x)[1]
        v += 0.5 * step * f / mass
        v -= v.mean(axis=0)
        if number > 10:
            now = mass * float((v**2).mean()) / _BOLTZMANN
            v *= np.sqrt(1.0 + 0.1 * (temperature / now - 1.0))
    return replace(frame, positions=x)


def _cleri_rosato(r: Float, metal: Metal) -> tuple[Float, Float, Float, Float]:
    a, xi, p, q = metal.numbers
    d = metal.spacing
    t = np.clip((r / d - 1.75) / 0.2, 0.0, 1.0)
    cut = 1.0 - t**3 * (10.0 - 15.0 * t + 6.0 * t**2)
    slope = -30.0 * t**2 * (1.0 - t) ** 2 / (0.2 * d)
    v, phi = 2.0 * a * np.exp(-p * (r / d - 1.0)), xi**2 * np.exp(-2.0 * q * (r / d - 1.0))
    return v * cut, v * (slope - p / d * cut), phi * cut, phi * (slope - 2.0 * q / d * cut)


def _finnis_sinclair(r: Float, numbers: tuple[float, ...]) -> tuple[Float, Float, Float, Float]:
    reach, a, beta, c, c0, c1, c2 = numbers
    x = np.minimum(r - c, 0.0)
    poly = c0 + c1 * r + c2 * r**2
    y = np.minimum(r - reach, 0.0)
    return (
        x**2 * poly,
        2.0 * x * poly + x**2 * (c1 + 2.0 * c2 * r),
        a**2 * (y**2 + beta * y**3 / reach),
        a**2 * (2.0 * y + 3.0 * beta * y**2 / reach),
    )
