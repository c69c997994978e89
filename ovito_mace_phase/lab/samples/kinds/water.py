"""Water as force fields have it: geometry of the molecule, guests in hydrates, liquids with their hydrogens.

    molecule    O-H, H-O-H    SPC/E 1.0 A, 109.47;  TIP3P, TIP4P 0.9572 A, 104.52;  flexible 0.93 to 1.03 A, 100 to 112,
                              one value for each bond, and half of them in between
    ice         oxygens and the directions of the hydrogens of a proton-disordered crystal of the stock: its phase
    guest       1 to 6 sites in the large holes of a hydrate, each cage filled or not: Other
    liquid      oxygens of a tetrahedral liquid or of a random packing, hydrogens towards neighbours or anywhere: Other

Sources: H. J. C. Berendsen et al., J. Phys. Chem. 91 (1987) 6269; W. L. Jorgensen et al., J. Chem. Phys. 79 (1983) 926.
"""

from __future__ import annotations

import numpy as np

from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.lab.crystals import Float, Int, grid
from ovito_mace_phase.lab.data.structures import CrystalStructure
from ovito_mace_phase.lab.samples.disorder import push_apart

from .liquids import tetrahedral_net
from .made import OTHER, Made, holes, made
from .molecules import random_topology, tree
from .stock import Stock, block, random_turn

_MODELS = {"SPC/E": (1.0, 109.47), "TIP": (0.9572, 104.52), "flexible": (0.98, 106.0), "between": (0.98, 107.0)}
_CAGE = 3.2  # A, least radius of a hole that holds a guest
_BOND = 3.5  # A, between oxygens


def ice(stock: Stock, rng: np.random.Generator) -> Made:
    """Return an ice or hydrate with the molecule of one water model, some hydrates with guests."""

    def plan(r: np.random.Generator) -> tuple[int, str, tuple[int, ...] | None]:
        guest = None if r.uniform() < 0.4 else random_topology(r, 6) if r.uniform() < 0.6 else ()
        return int(r.choice(stock.ices)), str(r.choice(list(_MODELS))), guest

    column, model, guest = stock.plan("ice", plan, rng)
    structure = stock.crystal(column, rng)
    positions, cell, species = block(structure, stock.size(rng))
    key = stock.phases[column].key
    positions = _with_geometry(positions, species, cell, _geometry(model, len(positions), rng))
    label = np.full(len(positions), column)
    cages = _cages(structure, cell) if guest is not None and key.startswith("CLATHRATE") else np.zeros((0, 3))
    if guest is not None and len(cages):
        filled = cages[rng.uniform(size=len(cages)) < rng.choice([0.3, 0.8, 1.0])]
        one = tree(guest, rng) if guest else np.zeros((1, 3))
        turned = np.array([one @ random_turn(rng).T for _ in filled]).reshape(len(filled), len(one), 3)
        sites = filled[:, None] + turned  # there may be none
        kinds = np.tile(2 + np.minimum(np.arange(len(one)), 2), len(filled))
        positions = np.concatenate([positions, sites.reshape(-1, 3)])
        species, label = np.concatenate([species, kinds]), np.concatenate([label, np.full(len(kinds), OTHER)])
    return made(f"{key}, {model}", positions, species, cell, label)


def liquid_water(stock: Stock, rng: np.random.Generator) -> Made:
    """Return liquid, supercooled or amorphous water."""

    def plan(r: np.random.Generator) -> tuple[str, str, bool]:
        return (
            str(r.choice(["hot", "undercooled", "glass", "packing"])),
            str(r.choice(list(_MODELS))),
            bool(r.integers(2)),
        )

    state, model, bonded = stock.plan("water", plan, rng)
    number = max(stock.size(rng) // 3, 24)
    if state == "packing":
        cell = np.eye(3) * (number * rng.uniform(27.0, 33.0)) ** (1.0 / 3.0)
        oxygen = push_apart(rng.uniform(0.0, cell[0, 0], (number, 3)), cell, 2.55)
    else:
        oxygen, cell = tetrahedral_net(number, state, 23.15, rng)
        scale = rng.uniform(1.0, 1.05)
        oxygen, cell = oxygen * scale, cell * scale
    toward = _donors(oxygen, cell, rng) if bonded or state != "packing" else rng.normal(size=(number, 2, 3))
    hydrogen = _placed(oxygen, toward, _geometry(model, 3 * number, rng))
    species = np.repeat([0, 1], [number, 2 * number])
    return made(f"{state} water, {model}", np.concatenate([oxygen, hydrogen]), species, cell, OTHER, still=False)


def _geometry(model: str, n_atoms: int, rng: np.random.Generator) -> tuple[Float, Float]:
    """Return O-H (n, 2) and H-O-H, radians (n,), of n = n_atoms / 3 molecules."""
    length, angle = _MODELS[model]
    n = n_atoms // 3
    if model == "flexible":
        return rng.normal(length, 0.025, (n, 2)).clip(0.93, 1.03), np.radians(rng.normal(angle, 3.0, n).clip(98, 114))
    if model == "between":
        length, angle = rng.uniform(0.94, 1.02), rng.uniform(102.0, 111.0)
    return np.full((n, 2), length), np.full(n, np.radians(angle))


def _with_geometry(positions: Float, species: Int, cell: Float, geometry: tuple[Float, Float]) -> Float:
    """Return water with other molecules: every oxygen keeps its place and the directions of its hydrogens."""
    oxygen, hydrogen = np.flatnonzero(species == 0), np.flatnonzero(species == 1)
    edges = neighbour_list(positions, cell, np.ones(3, dtype=bool), 1.3)
    centre = edges.centre
    own = (species[centre] == 0) & (species[edges.neighbour] == 1)
    order = edges.neighbour[own].reshape(len(oxygen), 2)
    toward = edges.vectors[own].reshape(len(oxygen), 2, 3)
    moved = positions.copy()
    moved[order.ravel()] = _placed(positions[oxygen], toward, geometry)
    if len(order) * 2 != len(hydrogen):
        raise ValueError("an oxygen of the crystal has not two hydrogens")
    return moved


def _placed(oxygen: Float, toward: Float, geometry: tuple[Float, Float]) -> Float:
    """Return the hydrogens (2 n, 3) of molecules that point as well as they can along `toward` (n, 2, 3)."""
    length, angle = geometry
    unit = toward / np.linalg.norm(toward, axis=2)[:, :, None]
    middle, across = unit.sum(axis=1), unit[:, 0] - unit[:, 1]
    middle = middle + 1e-6
    middle /= np.linalg.norm(middle, axis=1)[:, None]
    across -= np.einsum("ij,ij->i", across, middle)[:, None] * middle
    across /= np.linalg.norm(across, axis=1)[:, None]
    half = angle / 2
    pair = [
        oxygen + length[:, k, None] * (np.cos(half)[:, None] * middle + sign * np.sin(half)[:, None] * across)
        for k, sign in enumerate((1.0, -1.0))
    ]
    return np.stack(pair, axis=1).reshape(-1, 3)


def _donors(oxygen: Float, cell: Float, rng: np.random.Generator) -> Float:
    """Return for every oxygen two directions of neighbours that do not point back: hydrogen bonds at random."""
    edges = neighbour_list(oxygen, cell, np.ones(3, dtype=bool), _BOND)
    given: set[tuple[int, int]] = set()
    toward = rng.normal(size=(len(oxygen), 2, 3))
    for i in rng.permutation(len(oxygen)):
        own = slice(edges.offsets[i], edges.offsets[i + 1])
        other, vectors = edges.neighbour[own], edges.vectors[own]
        near = np.argsort(np.linalg.norm(vectors, axis=1))[:5]
        free = [k for k in rng.permutation(near) if (int(other[k]), int(i)) not in given]
        chosen = free[:2]
        for slot, k in enumerate(chosen):
            toward[i, slot] = vectors[k]
            given.add((int(i), int(other[k])))
    return toward


def _cages(structure: CrystalStructure, cell: Float) -> Float:
    """Return the centres of the cages of a hydrate repeated to `cell`."""
    net = structure.fractional[structure.species == 0] % 1.0
    places = [where for radius, where in holes(structure.cell, net) if radius > _CAGE]
    if not places:
        return np.zeros((0, 3))
    times = np.round(np.linalg.norm(cell, axis=1) / np.linalg.norm(structure.cell, axis=1)).astype(int)
    centres = _thinned(np.concatenate(places), structure.cell)
    return np.asarray((centres[None] + grid(times)[:, None]).reshape(-1, 3) @ structure.cell)


def _thinned(places: Float, cell: Float) -> Float:
    """Return places of which no two are in one cage; the first ones, of the largest holes, stay."""
    kept: list[Float] = []
    for place in places:
        apart = [place - other for other in kept]
        if all(np.linalg.norm((d - np.round(d)) @ cell) > _CAGE for d in apart):
            kept.append(place)
    return np.array(kept)
