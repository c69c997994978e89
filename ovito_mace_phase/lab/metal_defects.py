"""Metals with defects, at rest: what common neighbour analysis is used for. Atoms are built, then minimised.

polycrystal   Voronoi cells of random points in a periodic box, turned at random; atoms nearer than 0.75 d thinned
particle      a crystal within {111} and {100} (fcc, 1 : 1.15) or {110} and {100} (bcc, 1 : 1.2) planes, no box
slab          (100), (110), (111) of fcc and bcc, (0001) and (1-100) of hcp, between vacuum
dislocation   edge: the lower half has one plane of atoms less (two of {110} in fcc); screw: moved by b theta / 2 pi;
              periodic along the line, edges along b too; free surfaces elsewhere, which are not counted
points        vacancies, pairs of them, dumbbells (<100> in fcc, <110> in bcc) at random places apart
faults        close-packed layers stacked fcc with an intrinsic, an extrinsic and a twin fault
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame, make_frame
from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.lab.crystals import Float, close_packed, cubic, grid, lattice_constant

from .metals import METALS, Metal, minimised

_TOO_NEAR, _VACUUM, _SKIN = 0.75, 5.0, 2.5  # d; atoms of a surface as deep as the last are not counted
_BURGERS = {"FCC": ((0.5, -0.5, 0), (0.5, 0.5, -1), (1, 1, 1)), "BCC": ((0.5, 0.5, 0.5), (1, 1, -2), (1, -1, 0))}
"""Edge: along b, along the line, normal of the glide plane, lattice constants."""


@dataclass(frozen=True, kw_only=True)
class MetalFrame:
    """A frame at rest, and which atoms count."""

    kind: str
    symbol: str
    frame: Frame
    counted: npt.NDArray[np.bool_]

    @property
    def metal(self) -> Metal:
        """The potential."""
        return METALS[self.symbol]


def metal_frames(rng: np.random.Generator, *, small: bool = False) -> Iterator[MetalFrame]:
    """Yield one frame of every kind and lattice, of metals and shapes drawn at random; `small` ones for a test."""
    times = 1 if small else 2
    for lattice in ("FCC", "BCC"):
        for kind, build in BUILDS.items():
            symbol = _drawn(lattice, rng)
            metal = METALS[symbol]
            yield _at_rest(f"{kind}, {lattice.lower()}", symbol, *build(metal, times, rng))
        for face in ("100", "110", "111"):
            symbol = _drawn(lattice, rng)
            yield _at_rest(f"({face}) slab, {lattice.lower()}", symbol, *_slab(METALS[symbol], face, times))
    for face in ("0001", "1-100"):
        yield _at_rest(f"({face}) slab, hcp", "Mg", *_hcp_slab(METALS["Mg"], face, times))
    symbol = _drawn("FCC", rng)
    yield _at_rest("stacking faults, fcc", symbol, *_faults(METALS[symbol], times))


def polycrystal(metal: Metal, width: float, n_grains: int, rng: np.random.Generator) -> Frame:
    """Return the cubic box, not at rest; `width` in neighbour distances."""
    width *= metal.spacing
    seeds = rng.random((n_grains, 3)) * width
    images = (seeds[None] + (grid(np.array([3, 3, 3])) - 1.0)[:, None] * width).reshape(-1, 3)
    positions = []
    for seed in seeds:
        block = _crystal(metal, 1.8 * width) @ _turn(rng).T + seed
        distance = np.stack([np.linalg.norm(block - image, axis=1) for image in images])
        positions.append(block[np.linalg.norm(block - seed, axis=1) <= distance.min(axis=0) + 1e-9] % width)
    every = np.concatenate(positions)
    cell = np.eye(3) * width
    return make_frame(every[_thinned(every, cell, True, _TOO_NEAR * metal.spacing)], None, cell, True)


def _polycrystal(metal: Metal, times: int, rng: np.random.Generator) -> tuple[Frame, None]:
    return polycrystal(metal, 4.0 + 4.5 * times, 2 * times, rng), None


def _particle(metal: Metal, times: int, rng: np.random.Generator) -> tuple[Frame, None]:
    atoms = _crystal(metal, 12.0 * times * metal.spacing)
    atoms = atoms + rng.uniform(-0.5, 0.5, 3) * metal.spacing
    one, all_three, two = (
        np.abs(atoms).max(axis=1),
        np.abs(atoms).sum(axis=1),
        np.sort(np.abs(atoms))[:, 1:].sum(axis=1),
    )
    if metal.lattice == "FCC":
        size = np.maximum(one / 1.15, all_three / np.sqrt(3.0))
    else:
        size = np.maximum(one / 1.2, two / np.sqrt(2.0))
    return make_frame(atoms[size < 3.6 * times * metal.spacing], None, None, False), None


def _edge(metal: Metal, times: int, _: np.random.Generator) -> tuple[Frame, npt.NDArray[np.bool_]]:
    axes = np.array(_BURGERS[metal.lattice])
    n_x, n_y, n_z = 14 * times, times + (metal.lattice == "FCC"), 3 * times
    if metal.lattice == "BCC":
        n_z += times
    upper, cell = _block(metal, axes, (n_x, n_y, n_z))
    lower, below = _block(metal, axes, (n_x - 1, n_y, n_z))
    length = (cell[0, 0] + below[0, 0]) / 2
    upper[:, 0] *= length / cell[0, 0]
    lower[:, 0] *= length / below[0, 0]
    upper[:, 2] += cell[2, 2]
    return _between_vacuum(metal, np.concatenate([lower, upper]), np.diag([length, cell[1, 1], 2 * cell[2, 2]]), (2,))


def _screw(metal: Metal, times: int, rng: np.random.Generator) -> tuple[Frame, npt.NDArray[np.bool_]]:
    axes = np.array(_BURGERS[metal.lattice])[[1, 2, 0]]
    n_x, n_y = (12, 9) if metal.lattice == "FCC" else (8, 14)
    positions, cell = _block(metal, axes, (n_x * times // 2, n_y * times // 2, 4))
    x, y = (positions[:, :2] - np.diag(cell)[:2] / 2 + rng.uniform(-0.5, 0.5, 2) * metal.spacing).T
    positions[:, 2] += cell[2, 2] / 4 * np.arctan2(y, x) / (2.0 * np.pi)
    return _between_vacuum(metal, positions, cell, (0, 1))


def _points(metal: Metal, times: int, rng: np.random.Generator) -> tuple[Frame, None]:
    positions, cell = cubic(metal.lattice, (4 if metal.lattice == "FCC" else 5) * times, metal.spacing)
    edge = lattice_constant(metal.lattice, metal.spacing)
    sites: list[int] = []
    for site in rng.permutation(len(positions)):
        if all(np.linalg.norm(_wrapped(positions[site] - positions[other], cell)) > 3.0 * edge for other in sites):
            sites.append(int(site))
    gone, added = list(sites), []
    for number, site in enumerate(sites):
        if number % 3 == 1:
            distance = np.linalg.norm(_wrapped(positions - positions[site], cell), axis=1)
            gone.append(int(rng.choice(np.flatnonzero((distance > 0) & (distance < 1.05 * metal.spacing)))))
        if number % 3 == 2:
            axis = np.array([1.0, 0, 0]) if metal.lattice == "FCC" else np.array([1.0, 1.0, 0]) / np.sqrt(2.0)
            added += [positions[site] + sign * 0.4 * metal.spacing * rng.permutation(axis) for sign in (1,)]
            added.append(2 * positions[site] - added[-1])
    positions = np.concatenate([np.delete(positions, gone, axis=0), np.reshape(added, (-1, 3))])
    return make_frame(positions, None, cell, True), None


BUILDS: dict[str, Callable[[Metal, int, np.random.Generator], tuple[Frame, npt.NDArray[np.bool_] | None]]] = {
    "polycrystal": _polycrystal,
    "particle": _particle,
    "edge dislocation": _edge,
    "screw dislocation": _screw,
    "points": _points,
}


def _slab(metal: Metal, face: str, times: int) -> tuple[Frame, None]:
    axes = np.array(
        {
            "100": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
            "110": ((1, -1, 0), (0, 0, 1), (1, 1, 0)),
            "111": ((1, -1, 0), (1, 1, -2), (1, 1, 1)),
        }[face]
    )
    width = np.linalg.norm(axes, axis=1) * lattice_constant(metal.lattice, metal.spacing)
    positions, cell = _block(metal, axes, tuple(np.round(6.0 * times * metal.spacing / width).astype(int)))
    return _between_vacuum(metal, positions, cell, (2,))[0], None


def _hcp_slab(metal: Metal, face: str, times: int) -> tuple[Frame, None]:
    positions, cell, _ = close_packed([1, 2] * 3 * times, (5 * times, 3 * times), metal.spacing)
    return _between_vacuum(metal, positions, cell, (2,) if face == "0001" else (1,))[0], None


def _faults(metal: Metal, times: int) -> tuple[Frame, None]:
    six = [1.0] * 4 * times
    steps = [*six, 2, *six, 2, 2, *six, *([2.0] * 4 * times)]
    positions, cell, _ = close_packed(steps, (2 * times, times), metal.spacing)
    return make_frame(positions, None, cell, True), None


def _at_rest(kind: str, symbol: str, frame: Frame, counted: npt.NDArray[np.bool_] | None) -> MetalFrame:
    counted = np.ones(len(frame), dtype=bool) if counted is None else counted
    return MetalFrame(kind=kind, symbol=symbol, frame=minimised(METALS[symbol], frame), counted=counted)


def _between_vacuum(
    metal: Metal, positions: Float, cell: Float, free: tuple[int, ...]
) -> tuple[Frame, npt.NDArray[np.bool_]]:
    """Return the frame with vacuum along the axes `free`, and which atoms lie deep."""
    cell, pbc, deep = cell.copy(), np.ones(3, dtype=bool), np.ones(len(positions), dtype=bool)
    for axis in free:
        along = positions[:, axis]
        depth = _SKIN * metal.spacing
        deep &= (along > along.min() + depth) & (along < along.max() - depth)
        cell[axis, axis] += _VACUUM * metal.spacing
        pbc[axis] = False
    return make_frame(positions, None, cell, pbc.tolist()), deep


def _block(metal: Metal, axes: Float, times: tuple[int, ...]) -> tuple[Float, Float]:
    """Return positions and cell of a block with orthogonal lattice vectors `axes`, lattice constants, along x, y, z."""
    edge = lattice_constant(metal.lattice, metal.spacing)
    reach = int(np.ceil(np.abs(axes).sum()))
    unit, _ = cubic(metal.lattice, 2 * reach, 1.0)
    lattice = unit / lattice_constant(metal.lattice, 1.0) - reach
    fractional = lattice @ np.linalg.inv(axes) + 1e-6
    once = fractional[((fractional >= 0) & (fractional < 1)).all(axis=1)] - 1e-6
    length = np.linalg.norm(axes, axis=1) * edge
    positions = (grid(np.array(times))[:, None] + once[None]).reshape(-1, 3) * length
    return positions, np.diag(length * np.array(times))


def _crystal(metal: Metal, width: float) -> Float:
    """Return a block around the origin."""
    positions, cell = cubic(
        metal.lattice, int(np.ceil(width / lattice_constant(metal.lattice, metal.spacing))), metal.spacing
    )
    return positions - np.diag(cell) / 2


def _drawn(lattice: str, rng: np.random.Generator) -> str:
    return str(rng.choice([name for name, metal in METALS.items() if metal.lattice == lattice]))


def _turn(rng: np.random.Generator) -> Float:
    """Return a random rotation."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def _thinned(positions: Float, cell: Float, pbc: bool, least: float) -> npt.NDArray[np.bool_]:
    """Return which atoms stay so that no two are nearer than `least`: of a pair the second goes."""
    edges = neighbour_list(positions, cell, np.full(3, pbc), least)
    stays = np.ones(len(positions), dtype=bool)
    for centre, other in zip(edges.centre.tolist(), edges.neighbour.tolist(), strict=True):
        if centre < other and stays[centre]:
            stays[other] = False
    return stays


def _wrapped(vectors: Float, cell: Float) -> Float:
    width = np.diag(cell)
    return vectors - np.round(vectors / width) * width
