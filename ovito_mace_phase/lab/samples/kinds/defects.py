"""Grain boundaries, dislocations and point defects of metals at rest; labels of common neighbour analysis.

Built and minimised with many-body potentials as for the evaluation (`lab.metal_defects`), polycrystals of 2 to 4 grains
turned at random, edge and screw dislocations, vacancies and dumbbells, stacking faults. The plan is the metal with its
kind of defect, so that no metal with the same kind of defect is in two parts.
"""

from __future__ import annotations

import numpy as np

from ovito_mace_phase.lab.metal_defects import BUILDS, polycrystal
from ovito_mace_phase.lab.metals import METALS, minimised

from .by_cna import cna_labels
from .made import Made
from .stock import Stock
from .surfaces import alone

_STEPS = 120
_WIDTHS = (6.0, 9.0)  # of a polycrystal, neighbour distances; wider ones for large frames


def metal_defects(stock: Stock, rng: np.random.Generator) -> Made:
    """Return a metal with a defect at rest."""

    def plan(r: np.random.Generator) -> tuple[str, str, int]:
        symbol = str(r.choice([name for name, one in METALS.items() if one.lattice in ("FCC", "BCC")]))
        return str(r.choice([*BUILDS, "polycrystal", "polycrystal"])), symbol, int(r.integers(2, 5))

    kind, symbol, n_grains = stock.plan("metal defects", plan, rng)
    metal = METALS[symbol]
    large = stock.atoms[1] > 2500
    if kind == "polycrystal":
        low, high = (1.4 * width if large else width for width in _WIDTHS)
        frame = polycrystal(metal, rng.uniform(low, high), n_grains, rng)
    else:
        frame = BUILDS[kind](metal, 2 if large and kind != "edge dislocation" else 1, rng)[0]
    frame = minimised(metal, frame, steps=_STEPS)
    found = Made(name=f"{kind}, {symbol}", frame=frame, label=cna_labels(frame, stock))
    return found if frame.pbc.any() else alone(found, rng)
