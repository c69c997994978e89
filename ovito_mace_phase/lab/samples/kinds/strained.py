"""Crystals under shear and tension: the label is the parent, for fcc and bcc to 15 % as of CNA and PTM.

    tension  1 + e along n, 1 - 0.3 e across it;      shear  1 + g s n^T, s and n at right angles

Parents are phases that are no homogeneous deformation of another one of the table (`Phase.family`). The name of a
parent of other phases holds up to `Phase.family_strain`, so it is strained by 0.8 of the least of these; fcc and bcc
to 15 % all the same, and others up to 15 %.
"""

from __future__ import annotations

import numpy as np

from ovito_mace_phase.lab.crystals import Float

from .made import Made, made
from .stock import Stock, block

MOST = 0.15
_POISSON, _SAFE = 0.3, 0.8


def strained(stock: Stock, rng: np.random.Generator) -> Made:
    """Return a crystal sheared or pulled."""

    def plan(r: np.random.Generator) -> tuple[int, str, int]:
        parents = [c for c in stock.crystals if not stock.phases[c].family]
        common = [c for c in parents if stock.phases[c].common]
        column = int(r.choice(common if r.uniform() < 0.7 else parents))
        return column, str(r.choice(["tension", "compression", "shear", "shear"])), int(r.integers(4, 16))

    column, mode, percent = stock.plan("strained", plan, rng)
    positions, cell, species = block(stock.crystal(column, rng), stock.size(rng))
    size = min(percent / 100, _limit(stock, stock.phases[column].key)) + rng.uniform(-0.01, 0.0)
    change = _gradient(mode, size, rng)
    name = f"{stock.phases[column].key}, {size:.0%} of {mode}"
    return made(name, positions @ change.T, species, cell @ change.T, column)


def _limit(stock: Stock, key: str) -> float:
    """Return the largest strain at which a crystal is surely called by the name of the parent."""
    children = [phase.family_strain for phase in stock.phases if phase.family == key]
    return MOST if key in ("FCC", "BCC") else min([MOST, *(_SAFE * strain for strain in children)])


def _gradient(mode: str, size: float, rng: np.random.Generator) -> Float:
    """Return the deformation gradient, (3, 3)."""
    normal, along = rng.normal(size=(2, 3))
    normal /= np.linalg.norm(normal)
    if mode == "shear":
        along -= (along @ normal) * normal
        return np.eye(3) + size * np.outer(along / np.linalg.norm(along), normal)
    size = -size if mode == "compression" else size
    return np.eye(3) * (1.0 - _POISSON * size) + (1.0 + _POISSON) * size * np.outer(normal, normal)
