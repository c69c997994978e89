"""Surfaces of crystals: slabs, films, particles, voids, vacancies; labels by the rule of the first shell (`made`).

slab       lattice planes as faces: those of a cell of the crystal drawn at random (`stock.other_faces`)
film       2 to 4 planes of atoms of it
particle   sphere, or faces in families of planes of random energy (Wulff)
void       a sphere of a crystal missing
vacancies  0.2 to 1 % of the atoms missing: neighbours are Other; from 3 to 15 % on the sites of one species: a crystal
           with vacancies at random, as yttria-stabilised zirconia, is its phase at every atom
icosahedra, decahedra   of fcc metals, at rest or as built; labels of common neighbour analysis

Crystals: those of phases whose atoms lie on sites that the first shell describes, all but ices and single layers.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.lab.crystals import Float, Int, repeat, widths
from ovito_mace_phase.lab.data.structures import CrystalStructure
from ovito_mace_phase.lab.metals import METALS, minimised

from .by_cna import cna_labels
from .made import Made, cut_out, made
from .stock import Stock, block, other_faces, random_turn

_SIMPLE = ("FCC", "BCC", "HCP", "SC", "CUBIC_DIAMOND", "DHCP", "HEX_DIAMOND", "BETA_SN", "OMEGA")
_SAME_PLANE = 0.05  # of the nearest distance
_VACUUM = 6.0  # least gap, A
_SPACE = 0.9  # of the narrowest half width of the block that a particle is cut of


def slab(stock: Stock, rng: np.random.Generator) -> Made:
    """Return a slab of a crystal between vacuum."""
    column, number = stock.plan("slab", lambda r: (stock.a_phase(r), int(r.integers(40))), rng)
    return _layers(stock, column, np.random.default_rng(number), rng, None, stock.size(rng))


def film(stock: Stock, rng: np.random.Generator) -> Made:
    """Return a film of a few planes of atoms of a simple lattice; a double plane of diamond counts as one."""

    def plan(r: np.random.Generator) -> tuple[str, int, int]:
        return str(r.choice(_SIMPLE)), int(r.integers(40)), int(r.integers(2, 5))

    key, number, n_planes = stock.plan("film", plan, rng)
    column = stock.columns[key]
    n_planes *= 1 + key.endswith("DIAMOND")
    return _layers(stock, column, np.random.default_rng(number), rng, n_planes, stock.size(rng))


def particle(stock: Stock, rng: np.random.Generator) -> Made:
    """Return a particle of a crystal without a box around it that matters."""
    column, wulff, number = stock.plan(
        "particle", lambda r: (stock.a_phase(r), bool(r.uniform() < 0.6), int(r.integers(40))), rng
    )
    structure = stock.crystal(column, rng)
    n_atoms = stock.size(rng)
    positions, cell, species = block(structure, 4 * n_atoms)
    middle = cell.sum(axis=0) / 2 + rng.uniform(-0.5, 0.5, 3) @ structure.cell
    vectors = positions - middle
    size = _wulff(structure.cell, vectors, np.random.default_rng(number)) if wulff else np.linalg.norm(vectors, axis=1)
    inside = np.linalg.norm(vectors, axis=1) < _SPACE * float(widths(cell).min()) / 2
    kept = (size <= np.sort(size)[min(n_atoms, len(size)) - 1]) & inside
    text = "faceted" if wulff else "round"
    found = cut_out(f"{text} particle of {stock.phases[column].key}", positions, species, cell, kept, column)
    return alone(found, rng)


def alone(found: Made, rng: np.random.Generator) -> Made:
    """Return a particle, which does not reach through its cell, turned at random in a larger box, or in none."""
    positions = found.frame.positions @ random_turn(rng).T
    positions = positions - positions.min(axis=0) + _VACUUM
    cell = np.diag(positions.max(axis=0) + _VACUUM)
    frame = dataclasses.replace(
        found.frame, positions=positions, cell=cell, pbc=np.full(3, bool(rng.uniform() < 0.5), dtype=bool)
    )
    return dataclasses.replace(found, frame=frame)


def void(stock: Stock, rng: np.random.Generator) -> Made:
    """Return a crystal with a round void."""
    column, share = stock.plan("void", lambda r: (stock.a_phase(r), int(r.integers(2, 25))), rng)
    positions, cell, species = block(stock.crystal(column, rng), stock.size(rng))
    distance = _distances(positions, rng.uniform(0.0, 1.0, 3) @ cell, cell)
    kept = distance > np.sort(distance)[max(share * len(distance) // 100, 2)]
    return cut_out(f"{stock.phases[column].key} with a void", positions, species, cell, kept, column)


def vacancies(stock: Stock, rng: np.random.Generator) -> Made:
    """Return a crystal with few vacancies, or with many at random on the sites of one species."""

    def plan(r: np.random.Generator) -> tuple[int, float]:
        column = stock.a_phase(r)
        many = stock.phases[column].n_species > 1 and r.uniform() < 0.5
        return column, float(r.choice([0.03, 0.05, 0.08, 0.1, 0.15]) if many else r.choice([0.002, 0.005, 0.008, 0.01]))

    column, share = stock.plan("vacancies", plan, rng)
    positions, cell, species = block(stock.crystal(column, rng), stock.size(rng, least=250))
    kind = int(rng.integers(int(species.max()) + 1))
    sites = np.flatnonzero(species == kind) if share > 0.02 else np.arange(len(species))
    kept = np.ones(len(species), dtype=bool)
    kept[rng.permutation(sites)[: max(round(share * len(sites)), 1)]] = False
    name = f"{stock.phases[column].key}, {share:.1%} vacancies"
    if share > 0.02:
        return made(name, positions[kept], species[kept], cell, column)
    return cut_out(name, positions, species, cell, kept, column)


def multiply_twinned(stock: Stock, rng: np.random.Generator) -> Made:
    """Return an icosahedron or a decahedron of an fcc metal."""
    from ase.cluster import Decahedron, Icosahedron

    def plan(r: np.random.Generator) -> tuple[str, tuple[int, ...], str]:
        metal = str(r.choice([name for name, one in METALS.items() if one.lattice == "FCC"]))
        if r.uniform() < 0.5:
            return metal, (int(r.integers(3, 8)),), "icosahedron"
        return metal, (int(r.integers(2, 6)), int(r.integers(2, 7)), int(r.integers(0, 3))), "decahedron"

    symbol, numbers, shape = stock.plan("multiply twinned", plan, rng)
    metal = METALS[symbol]
    edge = metal.spacing * np.sqrt(2.0)
    atoms = (
        Icosahedron(symbol, numbers[0], latticeconstant=edge)
        if shape == "icosahedron"
        else Decahedron(symbol, numbers[0], numbers[1], numbers[2], latticeconstant=edge)
    )
    frame = make_frame(atoms.get_positions(), None, None, False)
    if rng.uniform() < 0.5:
        frame = minimised(metal, frame, steps=60)
    name = f"{shape} of {symbol}, {len(frame)} atoms"
    return alone(Made(name=name, frame=frame, label=cna_labels(frame, stock)), rng)


def _layers(
    stock: Stock, column: int, faces: np.random.Generator, rng: np.random.Generator, n_planes: int | None, n_atoms: int
) -> Made:
    """Return planes of atoms of a crystal between vacuum: as many as there are atoms for, or `n_planes`."""
    structure = stock.crystal(column, rng)
    cell, fractional = other_faces(structure.cell, structure.fractional, faces)
    width = widths(cell)
    normal = int(faces.integers(3))
    thick = 8.0 + faces.uniform(0.0, 14.0) if n_planes is None else 1.5 * n_planes + 3.0
    times = np.ones(3, dtype=np.int64)
    times[normal] = int(np.ceil((thick + _VACUUM) / width[normal]))
    while len(structure) * times.prod() < n_atoms:
        flat = np.where(np.arange(3) == normal, np.inf, width * times)
        times[np.argmin(flat)] += 1
    cell, fractional, species = repeat(cell, fractional, structure.species, times)
    positions = fractional @ cell
    height = fractional[:, normal] * float(widths(cell)[normal])
    kept = height < thick if n_planes is None else _planes(height, structure) < n_planes
    return cut_out(_named(stock, column, n_planes), positions, species, cell, kept, column)


def _planes(height: Float, structure: CrystalStructure) -> Int:
    """Return the number of the plane of each atom from below."""
    volume = abs(np.linalg.det(structure.cell)) / len(structure)
    order = np.argsort(height, kind="stable")
    step = np.diff(height[order], prepend=height[order[0]]) > _SAME_PLANE * volume ** (1.0 / 3.0)
    plane = np.empty(len(height), dtype=np.int64)
    plane[order] = np.cumsum(step)
    return plane


def _named(stock: Stock, column: int, n_planes: int | None) -> str:
    what = "slab" if n_planes is None else f"film of {n_planes} planes"
    return f"{what} of {stock.phases[column].key}"


def _wulff(cell: Float, vectors: Float, rng: np.random.Generator) -> Float:
    """Return the size (n,) at which a polyhedron of random face energies takes in each place."""
    index = np.array([h for h in itertools.product((-1, 0, 1), repeat=3) if any(h)])
    planes = index @ np.linalg.inv(cell).T
    length = np.linalg.norm(planes, axis=1)
    family = np.unique(np.round(length / length.min(), 2), return_inverse=True)[1]
    energy = rng.uniform(0.8, 1.2, family.max() + 1) * np.where(np.arange(family.max() + 1) < 3, 1.0, 1.1)
    return np.max(vectors @ (planes / length[:, None]).T / energy[family], axis=1)


def _distances(positions: Float, centre: Float, cell: Float) -> Float:
    vectors = (positions - centre) @ np.linalg.inv(cell)
    return np.asarray(np.linalg.norm((vectors - np.round(vectors)) @ cell, axis=1))
