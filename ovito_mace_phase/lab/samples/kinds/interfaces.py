"""Two crystals side by side: boundaries between phases and between grains; labels by construction.

    cell      of crystal A, long along one axis; B fills a part of that axis, cut out of an endless crystal
    turn      of B to A: random, or one of `RELATIONS` (plane parallel to plane, direction to direction)
    fit       lattice vectors of B next to the two other axes of the cell; with a strain of at most FIT they are made
              equal, otherwise B meets its own image at the faces of the cell
    label     phase where the first shell is that of the endless crystal; at the boundary none is claimed

A boundary takes the shell of its atoms away, so a network that sees two shells must learn that the next layer is still
crystal A, not a crystal between the two. Orientation relations: Burgers, Physica 1 (1934) 561; Nishiyama, Sci. Rep.
Tohoku 23 (1934) 637; Kurdjumov, Sachs, Z. Phys. 64 (1930) 325; Silcock, Acta Metall. 6 (1958) 481.
"""

from __future__ import annotations

import numpy as np

from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.lab.crystals import Float, Int, grid, repeat, widths
from ovito_mace_phase.runtime.errors import InputError

from .made import SHELL, UNLABELLED, Bool, Made, made, nearest_distances
from .stock import Stock, other_faces, random_turn

FIT = 0.05
Crystal = tuple[Float, Float, Int | None]
"""Cell, fractional coordinates, species or None where there is one."""
_LATTICES = ("FCC", "HCP", "BCC", "OMEGA", "DHCP")
_SIMPLE, _RELATED, _SAME = 0.7, 0.6, 0.15
_FEWEST, _MOST = 350, 650
_WAVES = np.array([[1.13, 0.41, -0.72], [-0.37, 1.61, 0.53], [0.91, -0.83, 1.47], [1.87, 1.09, 0.67]])
_SAME_SHELL = 1e-4
_CLOSE = 0.82  # of the nearest distance: of two atoms that are closer one is left out
_TRIES, _FITTED = 25, 0.6  # cells of A tried, and how often one that B fits is looked for
_LONG = 2.2  # length of the cell along the axis that both crystals share, over its width


def _hexagonal(a: float, c: float) -> Float:
    return np.array([[a, 0.0, 0.0], [-0.5 * a, np.sqrt(0.75) * a, 0.0], [0.0, 0.0, c]])


def lattice(key: str, rng: np.random.Generator) -> tuple[Float, Float]:
    """Return cell and fractional coordinates of a simple lattice of one atom a volume, its axes where one expects them.

    c/a of hcp, dhcp and omega vary as those of metals do.
    """
    third = 1.0 / 3.0
    if key in ("FCC", "BCC"):
        corners = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]] if key == "FCC" else [[0] * 3, [0.5] * 3]
        cell, fractional = np.eye(3), np.array(corners, dtype=np.float64)
    elif key == "OMEGA":
        cell = _hexagonal(1.0, rng.uniform(0.60, 0.63))
        fractional = np.array([[0, 0, 0], [third, 2 * third, 0.5], [2 * third, third, 0.5]])
    else:
        layers = {"HCP": "AB", "DHCP": "ABAC"}[key]
        cell = _hexagonal(1.0, len(layers) * rng.uniform(0.78, 0.835))
        place = {"A": (0.0, 0.0), "B": (third, 2 * third), "C": (2 * third, third)}
        fractional = np.array([[*place[one], k / len(layers)] for k, one in enumerate(layers)])
    return cell * (len(fractional) / abs(np.linalg.det(cell))) ** third, fractional


_X, _Z = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])
RELATIONS: dict[tuple[str, str], tuple[tuple[Float, Float, Float, Float], ...]] = {
    ("HCP", "BCC"): ((_Z, _X, np.array([1.0, 1, 0]), np.array([1.0, -1, 1])),),
    ("FCC", "BCC"): (
        (np.array([1.0, 1, 1]), np.array([1.0, -1, 0]), np.array([1.0, 1, 0]), _Z),
        (np.array([1.0, 1, 1]), np.array([1.0, -1, 0]), np.array([1.0, 1, 0]), np.array([1.0, -1, 1])),
    ),
    ("FCC", "HCP"): ((np.array([1.0, 1, 1]), np.array([1.0, -1, 0]), _Z, _X),),
    ("FCC", "DHCP"): ((np.array([1.0, 1, 1]), np.array([1.0, -1, 0]), _Z, _X),),
    ("BCC", "OMEGA"): ((np.array([1.0, 1, 1]), np.array([1.0, -1, 0]), _Z, _X),),
    ("HCP", "OMEGA"): ((_Z, _X, _X, _Z),),
}
"""Plane normal and direction of the first lattice, and those of the second that they are parallel to (Cartesian)."""


def relation(first: str, second: str, rng: np.random.Generator) -> Float | None:
    """Return the turn (3, 3) of the second lattice, row vectors x -> x turn^T, or None where no relation is known."""
    turned = (second, first) in RELATIONS
    known = RELATIONS.get((second, first) if turned else (first, second))
    if known is None:
        return None
    normal_a, along_a, normal_b, along_b = known[int(rng.integers(len(known)))]
    to_b = _frame(normal_a, along_a).T @ _frame(normal_b, along_b)
    return to_b.T if turned else to_b


def _frame(normal: Float, along: Float) -> Float:
    """Return a right-handed frame, rows along, normal x along, normal."""
    n, a = normal / np.linalg.norm(normal), along / np.linalg.norm(along)
    return np.array([a, np.cross(n, a), n])


def interface(stock: Stock, rng: np.random.Generator) -> Made:
    """Return two crystals side by side: two simple lattices, two crystals of as many species, or a grain boundary."""

    def plan(r: np.random.Generator) -> tuple[str, str, int]:
        if r.uniform() < _SIMPLE:
            keys = [str(key) for key in r.permutation(_LATTICES)[:2]]
        else:
            first = second = stock.a_phase(r)
            alike = [c for c in stock.crystals if stock.phases[c].n_species == stock.phases[first].n_species]
            if r.uniform() > _SAME:
                second = int(r.choice(alike))
            keys = [stock.phases[first].key, stock.phases[second].key]
        return keys[0], keys[1], int(r.integers(1000))

    first, second, _ = stock.plan("interface", plan, rng)
    turn: Float | None = None
    crystals: list[Crystal] = []
    if first != second and first in _LATTICES and second in _LATTICES:
        crystals = [(*lattice(key, rng), None) for key in (first, second)]
        turn = relation(first, second, rng) if rng.uniform() < _RELATED else None
    else:
        for key in (first, second) if first != second else (first,):
            one = stock.crystal(stock.columns[key], rng)
            scale = (abs(np.linalg.det(one.cell)) / len(one)) ** (-1.0 / 3.0)
            crystals.append((one.cell * scale, one.fractional, one.species))
        crystals = [crystals[0], crystals[-1]]
    turn = random_turn(rng) if turn is None else turn
    columns = [stock.columns[key] for key in (first, second)]
    return _side_by_side(f"{first} beside {second}", crystals, turn, columns, rng)


def _side_by_side(
    name: str,
    crystals: list[Crystal],
    turn: Float,
    columns: list[int],
    rng: np.random.Generator,
) -> Made:
    """Return crystals of one atom a volume side by side, 13 cubic A an atom."""
    other, other_fractional, other_kinds = crystals[1]
    other = other @ turn.T
    tries = _TRIES if rng.uniform() < _FITTED else 1
    for _ in range(tries):
        axis, cell, fractional, species = _first(*crystals[0], rng)
        strained, whole = _fitting(other, cell, axis)
        if whole:
            break
    share = rng.uniform(0.35, 0.6)
    kept = fractional[:, axis] >= share
    put, own, other_species = _filled(strained, other_fractional, other_kinds, cell, axis, share, rng)
    positions = np.concatenate([fractional @ cell, put])
    first, second = _perfect(cell, fractional), _perfect(strained, other_fractional)
    nearest = np.concatenate([first[0], second[0][own]])
    endless = np.concatenate([first[1], second[1][own]])
    is_first = np.arange(len(positions)) < len(fractional)
    there = np.concatenate([kept, np.ones(len(put), dtype=bool)])
    positions, nearest, endless = positions[there], nearest[there], endless[there]
    is_first, species = is_first[there], np.concatenate([species, other_species])[there]
    apart = _apart(positions, cell, nearest, rng)
    positions, nearest, endless, is_first, species = (
        x[apart] for x in (positions, nearest, endless, is_first, species)
    )
    label = np.where(is_first, columns[0], columns[1])
    label[(np.abs(shells(positions, cell, nearest)[1] - endless) > _SAME_SHELL).any(axis=1)] = UNLABELLED
    if not (label >= 0).any():
        raise InputError(f"{name}: no atom of the frame has its whole shell")
    size = 13.0 ** (1.0 / 3.0)
    return made(name + ("" if whole else ", not fitting"), positions * size, species, cell * size, label)


def _first(
    cell: Float, fractional: Float, kinds: Int | None, rng: np.random.Generator
) -> tuple[int, Float, Float, Int]:
    """Return the long axis and a block of A: cell, fractional coordinates, species."""
    if rng.uniform() < 0.5:
        cell, fractional = other_faces(cell, fractional, rng)
    axis, n_atoms = int(rng.integers(3)), int(rng.integers(_FEWEST, _MOST))
    stretch = np.where(np.arange(3) == axis, _LONG, 1.0)
    times = np.ones(3, dtype=np.int64)
    while len(fractional) * times.prod() < n_atoms:
        times[np.argmin(widths(cell) * times / stretch)] += 1
    species = np.zeros(len(fractional), dtype=np.int64) if kinds is None else kinds
    return axis, *repeat(cell, fractional, species, times)


def _fitting(other: Float, cell: Float, axis: int) -> tuple[Float, bool]:
    """Return the cell of B strained so that it repeats with A across the axis, and whether that was possible."""
    across = np.delete(cell, axis, axis=0)
    nearest = np.round(across @ np.linalg.inv(other)) @ other
    normal = np.cross(*across)
    normal /= np.linalg.norm(normal)
    found = np.array([*nearest, normal])
    if abs(np.linalg.det(found)) < 1e-3:
        return other, False
    change = np.linalg.inv(found) @ np.array([*across, normal])
    strain = np.linalg.svd(change, compute_uv=False)
    if np.abs(strain - 1.0).max() > FIT:
        return other, False
    return other @ change, True


def _filled(
    other: Float, fractional: Float, kinds: Int | None, cell: Float, axis: int, share: float, rng: np.random.Generator
) -> tuple[Float, Int, Int]:
    """Return the atoms of B in its part of the cell: positions, sites of its cell, species."""
    middle = cell.sum(axis=0) / 2
    reach = np.linalg.norm(cell, axis=1).sum() / 2
    counts = np.ceil(reach / widths(other)).astype(int) + 1
    corners = grid(2 * counts + 1) - counts
    points = (corners[:, None] + fractional[None]).reshape(-1, 3) @ other + middle + rng.uniform(-1.0, 1.0, 3)
    places = points @ np.linalg.inv(cell)
    inside = ((places >= 0.0) & (places < 1.0)).all(axis=1) & (places[:, axis] < share)
    site = np.tile(np.arange(len(fractional)), len(corners))[inside]
    species = np.zeros(len(site), dtype=np.int64) if kinds is None else kinds[site]
    return points[inside], site, species


def _perfect(cell: Float, fractional: Float) -> tuple[Float, Float]:
    """Return distance to the nearest atom and signature of the shell of every site of an endless crystal."""
    positions = fractional @ cell
    nearest = nearest_distances(positions, cell)
    return nearest, shells(positions, cell, nearest)[1]


def shells(positions: Float, cell: Float, nearest: Float) -> tuple[Int, Float]:
    """Return how many atoms are in the first shell of each, and a signature of where they are, (n_atoms, 4).

    Sum of cos(k v) over the vectors v of the shell for some k: the same for the same shell, and for no other by chance.
    """
    edges = neighbour_list(positions, cell, np.ones(3, dtype=bool), SHELL * float(nearest.max()) + 1e-6)
    own = np.linalg.norm(edges.vectors, axis=1) < SHELL * nearest[edges.centre]
    centre, waves = edges.centre[own], np.cos(edges.vectors[own] @ _WAVES.T + 1.0)
    number = np.bincount(centre, minlength=len(positions)).astype(np.int64)
    signature = np.stack([np.bincount(centre, wave, minlength=len(positions)) for wave in waves.T], axis=1)
    return number, signature.astype(np.float64)


def _apart(positions: Float, cell: Float, nearest: Float, rng: np.random.Generator) -> Bool:
    """Tell which atoms stay, so that none are too close; of the two that are, the later in a random order goes."""
    edges = neighbour_list(positions, cell, np.ones(3, dtype=bool), _CLOSE * float(nearest.max()))
    limit = _CLOSE * np.minimum(nearest[edges.centre], nearest[edges.neighbour])
    close = np.linalg.norm(edges.vectors, axis=1) < limit
    pairs = np.stack([edges.centre[close], edges.neighbour[close]], axis=1)
    rank = rng.permutation(len(positions))
    kept = np.ones(len(positions), dtype=bool)
    for a, b in pairs[np.argsort(rank[pairs].max(axis=1))]:
        if kept[a] and kept[b]:
            kept[a if rank[a] > rank[b] else b] = False
    return kept
