"""Interstitial atoms in the holes of crystals, from dilute to full occupation.

Holes are the vertices of the Voronoi cells: octahedral and tetrahedral ones in fcc, hcp and bcc, voids elsewhere.

    occupation x      hosts             interstitial atoms
    x <= 0.25         their phase       Other
    0.25 < x < 0.75   no label where the full structure is a phase of the table: either name is right
    0.75 <= x         all atoms: the full structure where it is a phase, with vacancies

Full structures: fcc with all octahedral holes is rock salt, with all tetrahedral ones fluorite, hcp with the octahedral
ones NiAs. Elsewhere x is 0.25 at most, and there are at most FEW_AN_ATOM interstitials to an atom of the host. Host
atoms around an interstitial give way by up to 8 %.
"""

from __future__ import annotations

import numpy as np

from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.lab.crystals import Float, grid

from .made import OTHER, UNLABELLED, Made, holes, made, nearest_distances
from .stock import Stock, block

_FULL = {("FCC", 0): "ROCKSALT", ("FCC", 1): "FLUORITE", ("HCP", 0): "NIAS"}
_HOSTS = (
    *("FCC", "BCC", "HCP", "FCC", "BCC", "HCP", "CUBIC_DIAMOND", "OMEGA", "L1_2", "CSCL", "L1_0", "D0_19", "A15"),
    *("LAVES_C15", "LAVES_C14", "HEUSLER_L2_1", "PEROVSKITE", "ROCKSALT", "ZINCBLENDE", "RUTILE"),
)
_FEW, _MANY = 0.25, 0.75
FEW_AN_ATOM = 0.15
_SEPARATE = 1.05  # least distance of interstitials, in radii of their holes
_LEAST_RADIUS = 0.55  # of a hole, in nearest distances of the host


def interstitials(stock: Stock, rng: np.random.Generator) -> Made:
    """Fill some holes of a crystal with a species of its own."""

    def plan(r: np.random.Generator) -> tuple[str, int, float]:
        host, size = str(r.choice(_HOSTS)), int(r.integers(3))
        few = float(np.round(np.exp(r.uniform(np.log(0.002), np.log(_FEW))), 3))
        return host, size, float(r.choice([few, few, 0.5, 0.8, 0.9, 1.0]) if (host, size) in _FULL else few)

    host, number, occupied = stock.plan("interstitials", plan, rng)
    column = stock.columns[host]
    structure = stock.crystal(column, rng)
    positions, cell, species = block(structure, stock.size(rng))
    nearest = float(nearest_distances(positions, cell).min())
    large = [hole for hole in holes(structure.cell, structure.fractional) if hole[0] > _LEAST_RADIUS * nearest]
    radius, places = large[number % len(large)] if large else holes(structure.cell, structure.fractional)[0]
    most = FEW_AN_ATOM * len(positions) if occupied <= _FEW else np.inf
    filled = _filled(structure.cell, places, cell, occupied, _SEPARATE * radius, most, rng)
    push = rng.uniform(0.0, 0.08) if occupied <= _FEW else 0.0
    moved = _pushed(positions, filled, cell, 1.3 * radius, push)
    full = _FULL.get((host, number % max(len(large), 1)))
    label = np.full(len(moved) + len(filled), column)
    label[len(moved) :] = OTHER
    if full in stock.columns and occupied > _FEW:
        label[:] = stock.columns[full] if occupied >= _MANY else UNLABELLED
    codes = np.concatenate([species, np.full(len(filled), int(species.max()) + 1)])
    return made(
        f"{host}, {occupied:.1%} of holes of {radius:.2f} A", np.concatenate([moved, filled]), codes, cell, label
    )


def _filled(
    unit: Float, places: Float, cell: Float, occupied: float, least: float, most: float, rng: np.random.Generator
) -> Float:
    """Return the positions of the holes that are filled, at least one, no two nearer than `least`."""
    times = np.round(np.linalg.norm(cell, axis=1) / np.linalg.norm(unit, axis=1)).astype(int)
    every = ((places[None] + grid(times)[:, None]).reshape(-1, 3)) @ unit
    every = every[rng.permutation(len(every))]
    edges = neighbour_list(every, cell, np.ones(3, dtype=bool), least)
    wanted, stays, n_filled = max(round(min(occupied * len(every), most)), 1), np.zeros(len(every), dtype=bool), 0
    for k in range(len(every)):
        if n_filled == wanted:
            break
        stays[k] = not stays[edges.neighbour[edges.offsets[k] : edges.offsets[k + 1]]].any()
        n_filled += int(stays[k])
    return every[stays]


def _pushed(positions: Float, centres: Float, cell: Float, reach: float, push: float) -> Float:
    """Move atoms away from the centres within reach by the share `push` of their distance."""
    every = np.concatenate([positions, centres])
    edges = neighbour_list(every, cell, np.ones(3, dtype=bool), reach)
    centre = edges.centre
    of_hole = (edges.neighbour >= len(positions)) & (centre < len(positions))
    moved = positions.copy()
    for axis in range(3):
        moved[:, axis] -= push * np.bincount(centre[of_hole], edges.vectors[of_hole, axis], minlength=len(positions))
    return moved
