"""Sublattices that several species share: solid solutions in compounds, dopants, antisites. Label: the parent.

sublattice  some or all atoms of one species (those alike by symmetry) get 2 to 4 species at random, in shares from
            1 % to equal ones; shown as they are, or merged, as `species="auto"` leaves them: the pattern of the parent
antisites   1 to 10 % of the atoms, of two species in equal numbers, trade places
"""

from __future__ import annotations

from functools import cache

import numpy as np

from ovito_mace_phase.lab.crystals import Int
from ovito_mace_phase.lab.data.structures import CrystalStructure
from ovito_mace_phase.phases import ReferenceCell
from ovito_mace_phase.phases.symmetry import site_record

from .made import Made, made
from .stock import Stock, block

_MERGED = 0.25
_LARGEST = 24  # atoms of a cell of which sublattices smaller than a species are looked for


def mixed_sublattice(stock: Stock, rng: np.random.Generator) -> Made:
    """Share a sublattice of a compound among several species."""
    column, shares, merged, orbit = stock.plan("mixed", lambda r: _plan(stock, r), rng)
    structure = stock.crystal(column, rng)
    n_species = int(structure.species.max()) + 1
    positions, cell, species = block(structure, stock.size(rng))
    chosen = _sublattice(structure, orbit, rng)
    inside = np.tile(chosen, len(species) // len(structure))
    more = min(len(shares), stock.most_species - n_species + 1)
    if more > 1 and not merged:
        part = np.array(shares[:more]) / sum(shares[:more])
        dealt = rng.choice(more, size=int(inside.sum()), p=part)
        species = species.copy()
        species[inside] = np.where(dealt == 0, species[inside], n_species - 1 + dealt)
    key = stock.phases[column].key
    text = "merged" if merged else ", ".join(f"{share:.2f}" for share in shares[:more])
    return made(f"{key} with a sublattice of {text}", positions, species, cell, column)


def antisites(stock: Stock, rng: np.random.Generator) -> Made:
    """Exchange some atoms of two species of a compound."""

    def plan(r: np.random.Generator) -> tuple[int, int]:
        several = [c for c in stock.crystals if stock.phases[c].n_species > 1]
        common = [c for c in several if stock.phases[c].common]
        return int(r.choice(common if common and r.uniform() < 0.5 else several)), int(r.integers(1, 11))

    column, percent = stock.plan("antisites", plan, rng)
    structure = stock.crystal(column, rng)
    positions, cell, species = block(structure, stock.size(rng))
    species = species.copy()
    one, other = rng.permutation(int(species.max()) + 1)[:2]
    places = [rng.permutation(np.flatnonzero(species == kind)) for kind in (one, other)]
    pairs = int(np.clip(round(percent / 200 * len(species)), 1, 0.3 * min(len(p) for p in places) + 1))
    species[places[0][:pairs]], species[places[1][:pairs]] = other, one
    return made(f"{stock.phases[column].key} with {percent} % antisites", positions, species, cell, column)


def _plan(stock: Stock, rng: np.random.Generator) -> tuple[int, tuple[float, ...], bool, int]:
    if rng.uniform() < 0.3:
        dopant = float(rng.choice([0.01, 0.02, 0.03, 0.05, 0.08]))
        shares: tuple[float, ...] = (1.0 - dopant, dopant)
    else:
        shares = tuple(np.round(rng.dirichlet(np.full(int(rng.integers(2, 5)), 2.0)), 1).tolist())
        shares = tuple(max(share, 0.05) for share in shares)
    return stock.a_phase(rng), shares, bool(rng.uniform() < _MERGED), int(rng.integers(8))


def _sublattice(structure: CrystalStructure, number: int, rng: np.random.Generator) -> np.ndarray:
    """Return which atoms of the cell are shared: those of a species, or of one of its sites."""
    kind = number % (int(structure.species.max()) + 1)
    chosen = structure.species == kind
    if len(structure) <= _LARGEST and rng.uniform() < 0.5:
        site = _sites(structure)
        chosen = chosen & (site == rng.choice(site[chosen]))
    return chosen


@cache
def _sites(structure: CrystalStructure) -> Int:
    cell = ReferenceCell(cell=structure.cell, species=structure.species, fractional=structure.fractional)
    return np.asarray(site_record(cell)["site"])
