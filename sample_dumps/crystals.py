"""Build the starting crystals: orthogonal periodic cells as ASE atoms."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal


def cubic(elements: tuple[str, ...], structure: str, a: float, repeat: tuple[int, int, int]) -> Atoms:
    """Return a block of a cubic structure known to ASE (fcc, bcc, diamond, rocksalt, cesiumchloride, zincblende)."""
    return bulk("".join(elements), structure, a=a, cubic=structure != "cesiumchloride") * repeat


def hcp(element: str, a: float, c: float, repeat: tuple[int, int, int]) -> Atoms:
    """Return an hcp block on the orthogonal cell (a, a sqrt 3, c) of 4 atoms."""
    return bulk(element, "hcp", a=a, c=c, orthorhombic=True) * repeat


def omega(element: str, a: float, c: float, repeat: tuple[int, int, int]) -> Atoms:
    """Return an omega block (P6/mmm, one atom on 1a and two on 2d) on the orthogonal cell (a, a sqrt 3, c)."""
    hexagonal = np.array([[0, 0, 0], [1 / 3, 2 / 3, 1 / 2], [2 / 3, 1 / 3, 1 / 2]])
    cell = np.array([[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, c]])
    return _orthogonal(Atoms([element] * 3, scaled_positions=hexagonal, cell=cell, pbc=True)) * repeat


def wurtzite(elements: tuple[str, str], a: float, c: float, repeat: tuple[int, int, int]) -> Atoms:
    """Return a wurtzite block on the orthogonal cell (a, a sqrt 3, c) of 8 atoms."""
    return _orthogonal(bulk("".join(elements), "wurtzite", a=a, c=c)) * repeat


def l1_2(elements: tuple[str, str], a: float, repeat: tuple[int, int, int]) -> Atoms:
    """Return an L1_2 block; the first element has the three face centres, the second the corner."""
    fractional = [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0], [0, 0, 0]]
    symbols = [elements[0]] * 3 + [elements[1]]
    return Atoms(symbols, scaled_positions=fractional, cell=[a, a, a], pbc=True) * repeat


def cristobalite(a: float, repeat: tuple[int, int, int]) -> Atoms:
    """Return ideal beta-cristobalite SiO2: silicon on the diamond sites, oxygen midway between them."""
    silicon = bulk("Si", "diamond", a=a, cubic=True)
    lower = silicon.positions[::2]
    offsets = a / 8 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    oxygen = (lower[:, None] + offsets[None]).reshape(-1, 3)
    atoms = silicon + Atoms("O" * len(oxygen), positions=oxygen)
    atoms.wrap()
    return atoms * repeat


def alpha_quartz(a: float, c: float, repeat: tuple[int, int, int]) -> Atoms:
    """Return alpha-quartz SiO2 (P3_2 21) on the orthogonal cell (a, a sqrt 3, c).

    Source of the coordinates: Levien, Prewitt, Weidner, Am. Mineral. 65 (1980) 920.
    """
    places = [(0.4697, 0.0, 2 / 3), (0.4135, 0.2669, 0.1191 + 2 / 3)]
    return _orthogonal(crystal(["Si", "O"], places, spacegroup=154, cellpar=[a, a, c, 90, 90, 120])) * repeat


def random_alloy(atoms: Atoms, elements: tuple[str, ...], fractions: tuple[float, ...], seed: int) -> Atoms:
    """Return a copy of `atoms` with the elements dealt out at random in the given fractions."""
    counts = np.round(np.array(fractions) * len(atoms)).astype(int)
    counts[-1] = len(atoms) - counts[:-1].sum()
    symbols = np.repeat(np.array(elements), counts)
    alloy = atoms.copy()
    alloy.symbols[:] = np.random.default_rng(seed).permutation(symbols)
    return alloy


def permuted(atoms: Atoms, order: tuple[int, int, int]) -> Atoms:
    """Return the block with its axes exchanged; a mirror image, which leaves alpha and omega what they are."""
    lengths = np.diag(np.array(atoms.cell))[list(order)]
    return Atoms(atoms.symbols, positions=atoms.positions[:, list(order)], cell=lengths, pbc=True)


def _orthogonal(primitive: Atoms) -> Atoms:
    """Turn a hexagonal cell with gamma = 120 degrees into the orthogonal one of twice the volume."""
    double = primitive * (1, 2, 1)
    a, b = primitive.cell[0], primitive.cell[1]
    double.set_cell([a, a + 2 * b, primitive.cell[2]], scale_atoms=False)
    double.wrap()
    return double
