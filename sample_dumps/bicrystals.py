"""Slabs of several crystals side by side, in a stated orientation to each other, in one periodic cell.

    v_i(k)                  vectors of lattice k, all lattices turned into one frame;  i = 1, 2 span the interface
    |v_i(k) - v_i(0)|  <=  TOLERANCE |v_i(0)|,   |v_1 . v_2|  <=  sin(2 deg) |v_1| |v_2|
    stretches of lattice k  =  sqrt(eig(G_k^-1 diag(l_1, l_2)^2)),   G_k = [v_i . v_j],   l_i = geometric mean over k

Of all such pairs with an area inside given limits that one counts whose larger one of strain and turn (in radians, from
the stated orientation) is the smallest. Each slab is cut at a random
height; atoms of two slabs nearer than NEAREST times the shorter bond are one too many and the later one goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from ase import Atoms
from scipy.spatial import cKDTree

Float = npt.NDArray[np.float64]
TOLERANCE = 0.03
NEAREST = 0.75
_RIGHT_ANGLE = np.sin(np.radians(2.0))


@dataclass(frozen=True, kw_only=True)
class Interface:
    """A rectangle in the interface.

    Attributes
    ----------
    lengths : (2,) float64
        Sides, A.
    spans : tuple of (2, 3) int64
        For each lattice, its two vectors in multiples of the rows of its cell.
    strains : tuple of float
        For each lattice, the largest |stretch - 1| that fits it to the rectangle.
    turn : float
        Largest departure from the stated orientation, degrees.
    """

    lengths: Float
    spans: tuple[npt.NDArray[np.int64], ...]
    strains: tuple[float, ...]
    turn: float

    @property
    def misfit(self) -> float:
        """The largest strain, or the turn in radians where that is more."""
        return max(*self.strains, float(np.radians(self.turn)))


def oriented(crystal: Atoms, plane: Sequence[int], direction: Sequence[int]) -> Atoms:
    """Turn a crystal until a direction [uvw] of its plane (hkl) is x and the normal of the plane z.

    Raises
    ------
    ValueError
        If the direction is not in the plane.
    """
    if np.dot(plane, direction) != 0:
        raise ValueError(f"[{direction}] is not in the plane ({plane})")
    cell = np.array(crystal.cell)
    x, z = np.asarray(direction) @ cell, np.linalg.inv(cell) @ np.asarray(plane)
    x, z = x / np.linalg.norm(x), z / np.linalg.norm(z)
    turned = crystal.copy()
    turned.set_cell(cell @ np.array([x, np.cross(z, x), z]).T, scale_atoms=True)
    return turned


def find_interface(crystals: Sequence[Atoms], longest: float, area: tuple[float, float]) -> Interface:
    """Return the rectangle to which all crystals, oriented to each other already, fit best.

    Raises
    ------
    ValueError
        If none has sides up to `longest` (A) and an area within the limits (A^2).
    """
    cells = [np.array(crystal.cell) for crystal in crystals]
    counts = _short_vectors(cells[0], longest)
    spans = [counts] + [np.round(counts @ cells[0] @ np.linalg.inv(cell)).astype(np.int64) for cell in cells[1:]]
    vectors = np.array([span @ cell for span, cell in zip(spans, cells, strict=True)])
    length = np.linalg.norm(vectors[0], axis=1)
    apart = np.linalg.norm(vectors - vectors[0], axis=2).max(axis=0) / length
    chosen = np.flatnonzero(apart <= TOLERANCE)
    cosine = vectors[0, chosen] @ vectors[0, chosen].T / np.outer(length[chosen], length[chosen])
    size = np.outer(length[chosen], length[chosen])
    fits = (np.abs(cosine) <= _RIGHT_ANGLE) & (size >= 0.9 * area[0]) & (size <= 1.1 * area[1])
    best: Interface | None = None
    for first, second in chosen[np.argwhere(np.triu(fits))]:
        found = _rectangle(vectors[:, [first, second]], [span[[first, second]] for span in spans], area)
        if found is not None and (best is None or found.misfit < best.misfit):
            best = found
    if best is None:
        raise ValueError(f"no rectangle of {area[0]:g} to {area[1]:g} A^2 fits all crystals")
    return best


def side_by_side(
    crystals: Sequence[Atoms], interface: Interface, heights: Sequence[float], rng: np.random.Generator
) -> tuple[Atoms, npt.NDArray[np.int64]]:
    """Return the slabs one above the other along z, and for each atom the number of its slab (n_atoms,)."""
    slabs = [
        _slab(crystal, span, interface.lengths, height, rng)
        for crystal, span, height in zip(crystals, interface.spans, heights, strict=True)
    ]
    bonds = [_shortest(crystal) for crystal in crystals]
    bottom = np.concatenate([[0.0], np.cumsum(heights)])
    positions = np.concatenate([slab + np.array([0, 0, low]) for slab, low in zip(slabs, bottom[:-1], strict=True)])
    owner = np.repeat(np.arange(len(slabs)), [len(slab) for slab in slabs])
    cell = np.array([*interface.lengths, bottom[-1]])
    pairs = cKDTree(positions % cell, boxsize=cell).query_pairs(NEAREST * min(bonds), output_type="ndarray")
    surplus = np.unique(pairs.max(axis=1)) if len(pairs) else np.empty(0, dtype=int)
    kept = np.setdiff1d(np.arange(len(owner)), surplus)
    symbol = crystals[0].get_chemical_symbols()[0]
    return Atoms([symbol] * len(kept), positions=positions[kept], cell=cell, pbc=True), owner[kept]


def _short_vectors(cell: Float, longest: float) -> npt.NDArray[np.int64]:
    most = np.ceil(longest * np.linalg.norm(np.linalg.inv(cell), axis=0)).astype(int)
    counts = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij"), axis=-1).reshape(-1, 3)
    length = np.linalg.norm(counts @ cell, axis=1)
    return counts[(length > 0.25 * longest) & (length <= longest)]


def _rectangle(vectors: Float, spans: list[npt.NDArray[np.int64]], area: tuple[float, float]) -> Interface | None:
    """Return the rectangle nearest to two vectors (n_crystals, 2, 3), None if it is none or of another size."""
    lengths = np.exp(np.log(np.linalg.norm(vectors, axis=2)).mean(axis=0))
    metric = vectors @ vectors.transpose(0, 2, 1)
    angle = np.abs(metric[:, 0, 1]) / np.sqrt(metric[:, 0, 0] * metric[:, 1, 1])
    if not area[0] <= np.prod(lengths) <= area[1] or (angle > _RIGHT_ANGLE).any():
        return None
    stretch = np.sqrt(np.linalg.eigvals(np.linalg.inv(metric) @ np.diag(lengths**2)).real)
    frames = [_frame(pair) for pair in vectors]
    cosine = [(np.trace(frame @ frames[0].T) - 1) / 2 for frame in frames]
    turn = float(np.degrees(np.arccos(np.clip(min(cosine), -1, 1))))
    strains = tuple(float(one) for one in np.abs(stretch - 1).max(axis=1))
    return Interface(lengths=lengths, spans=tuple(spans), strains=strains, turn=turn)


def _frame(pair: Float) -> Float:
    """Return the rows x, y, z of the frame with x along the first vector and z across both."""
    x = pair[0] / np.linalg.norm(pair[0])
    z = np.cross(*pair) / np.linalg.norm(np.cross(*pair))
    return np.array([x, np.cross(z, x), z])


def _slab(
    crystal: Atoms, span: npt.NDArray[np.int64], lengths: Float, height: float, rng: np.random.Generator
) -> Float:
    """Return the places of a slab from z = 0 to the height, its vectors `span` made the sides of the rectangle."""
    cell = np.array(crystal.cell)
    frame = _frame(span @ cell)
    flat = span @ cell @ frame.T
    deform = np.eye(3)
    deform[:2, :2] = np.linalg.inv(flat[:, :2]) @ np.diag(lengths)
    cell = cell @ frame.T @ deform
    box = np.diag([*lengths, height])
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) @ box @ np.linalg.inv(cell)
    limits = zip(np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0)), strict=True)
    ranges = [np.arange(low - 2, high + 3) for low, high in limits]
    counts = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    places = ((counts + crystal.get_scaled_positions()) @ cell).reshape(-1, 3) + rng.random(3) @ cell
    fraction = places @ np.linalg.inv(box) + 1e-9
    return places[((fraction >= 0) & (fraction < 1)).all(axis=1)]


def _shortest(crystal: Atoms) -> float:
    places = (crystal * (3, 3, 3)).positions
    return float(cKDTree(places).query(places, k=2)[0][:, 1].min())
