"""Molecules, chains, cages and tubes: positions about the origin and species, lengths in A; no crystals.

tree    2 to 12 atoms, bonds of 0.7 to 1.6 A, at most four to an atom, angles above 85 degrees where there is room
chain   a polymer: bonds of 1.54 A at 112 degrees, torsions at random about 180 and +-60 degrees, side atoms at will
cage    a trivalent polyhedron as C60 is one: dual of the convex hull of points that repel each other on a sphere
tube    a rolled honeycomb sheet (n, m), one kind of atom or two
"""

from __future__ import annotations

import numpy as np

from ovito_mace_phase.lab.crystals import Float, Int

_COSINE = np.cos(np.radians(85.0))
_DIRECTIONS = 64
_APART = 1.35  # of the bond length, atoms not bonded to each other
_REPULSION_STEPS = 200


def tree(parents: tuple[int, ...], rng: np.random.Generator) -> Float:
    """Return positions of a molecule whose atom k + 1 is bonded to atom `parents[k]`; one bond length an atom."""
    bond = rng.uniform(0.7, 1.6, len(parents))
    places = np.zeros((len(parents) + 1, 3))
    for k, parent in enumerate(parents):
        tries = rng.normal(size=(_DIRECTIONS, 3))
        tries *= bond[k] / np.linalg.norm(tries, axis=1)[:, None]
        others = [j for j in range(k + 1) if j != parent]
        apart = np.linalg.norm(places[parent] + tries[:, None] - places[others], axis=2)
        free = (apart / _least_apart(parent, others, parents, bond, k)).min(axis=1, initial=np.inf)
        good = np.flatnonzero(free >= 1.0)
        places[k + 1] = places[parent] + tries[rng.choice(good) if len(good) else int(free.argmax())]
    return places - places.mean(axis=0)


def random_topology(rng: np.random.Generator, most: int) -> tuple[int, ...]:
    """Draw the parents of the atoms of a tree of 2 to `most` atoms, at most four bonds to an atom."""
    n_atoms, degree, parents = int(rng.integers(2, most + 1)), [0], []
    for _ in range(n_atoms - 1):
        free = [k for k, bonds in enumerate(degree) if bonds < 4]
        parent = int(rng.choice(free))
        parents.append(parent)
        degree[parent] += 1
        degree.append(1)
    return tuple(parents)


def chain(n_links: int, side_atoms: int, rng: np.random.Generator) -> tuple[Float, Int]:
    """Return positions and species of a chain; `side_atoms` (0 to 2) of a second species at every link."""
    bond, bend = 1.54, np.radians(112.0)
    points = [np.zeros(3), np.array([bond, 0.0, 0.0])]
    before = np.array([0.0, 1.0, 0.0])
    for _ in range(n_links - 2):
        axis = (points[-1] - points[-2]) / bond
        before = before - (before @ axis) * axis
        before /= np.linalg.norm(before)
        for _ in range(20):
            turn = rng.normal(rng.choice([np.pi, np.pi, np.pi / 3, -np.pi / 3]), 0.15)
            side = np.cos(turn) * before + np.sin(turn) * np.cross(axis, before)
            point = points[-1] - bond * (np.cos(bend) * axis - np.sin(bend) * side)
            if len(points) < 4 or np.linalg.norm(np.array(points[:-2]) - point, axis=1).min() > 2.2:
                break
        before = points[-2] - points[-1]
        points.append(point)
    spine = np.array(points)
    sides = []
    for k in range(1, n_links - 1):
        one, other = spine[k - 1] - spine[k], spine[k + 1] - spine[k]
        out = -(one + other) / np.linalg.norm(one + other)
        across = np.cross(one, other) / np.linalg.norm(np.cross(one, other))
        sides += [spine[k] + 1.09 * (0.58 * out + sign * 0.81 * across) for sign in (1, -1)[:side_atoms]]
    positions = np.concatenate([spine, np.reshape(sides, (-1, 3))])
    species = np.repeat([0, 1], [n_links, len(sides)])
    return positions - positions.mean(axis=0), species


def cage(n_faces: int, bond: float, rng: np.random.Generator) -> Float:
    """Return the positions of a closed cage of 2 n_faces - 4 atoms."""
    from scipy.spatial import ConvexHull

    points = rng.normal(size=(n_faces, 3))
    points /= np.linalg.norm(points, axis=1)[:, None]
    for step in range(_REPULSION_STEPS):
        apart = points[:, None] - points[None]
        distance = np.linalg.norm(apart, axis=2) + np.eye(n_faces)
        push = (apart / distance[:, :, None] ** 3).sum(axis=1)
        push *= 0.3 / (n_faces * (1 + step / 50))
        points += push
        points /= np.linalg.norm(points, axis=1)[:, None]
    corners = points[ConvexHull(points).simplices].mean(axis=1)
    corners /= np.linalg.norm(corners, axis=1)[:, None]
    distance = np.linalg.norm(corners[:, None] - corners[None], axis=2)
    nearest = np.sort(distance, axis=1)[:, 1:4].mean()
    return np.asarray(corners * bond / nearest)


def tube(n: int, m: int, bond: float, length: float) -> tuple[Float, Int, float]:
    """Return positions, species (two, as in BN) and radius of a tube (n, m); its axis is z."""
    edge = bond * np.sqrt(3.0)
    a1, a2 = edge * np.array([[np.sqrt(3.0) / 2, 0.5], [np.sqrt(3.0) / 2, -0.5]])
    around = n * a1 + m * a2
    girth = float(np.linalg.norm(around))
    unit = around / girth
    along = np.array([-unit[1], unit[0]])
    reach = int(np.ceil((girth + length) / (0.8 * edge))) + n + m
    i, j = np.meshgrid(np.arange(-reach, reach + 1), np.arange(-reach, reach + 1), indexing="ij")
    corner = i.reshape(-1, 1) * a1 + j.reshape(-1, 1) * a2
    sites = np.concatenate([corner, corner + (a1 + a2) / 3])
    species = np.repeat([0, 1], len(corner))
    angle, height = sites @ unit / girth, sites @ along
    kept = (angle > -1e-6) & (angle < 1 - 1e-6) & (height > -1e-6) & (height < length - 1e-6)
    radius = girth / (2.0 * np.pi)
    turn = 2.0 * np.pi * angle[kept]
    positions = np.stack([radius * np.cos(turn), radius * np.sin(turn), height[kept]], axis=1)
    return positions, species[kept], radius


def _least_apart(parent: int, others: list[int], parents: tuple[int, ...], bond: Float, number: int) -> Float:
    """Return how far atom `number` + 1 has to be from each of the others, which are not its parent."""
    least = np.full(len(others), _APART * bond[number])
    for k, other in enumerate(others):
        beside = other > 0 and parents[other - 1] == parent
        before = parent > 0 and parents[parent - 1] == other
        if beside or before:  # both bonded to the parent: by the angle between the bonds
            length = bond[other - 1] if beside else bond[parent - 1]
            least[k] = np.sqrt(length**2 + bond[number] ** 2 - 2.0 * length * bond[number] * _COSINE)
    return least
