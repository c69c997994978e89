"""Paths between phases: periodic cells at lambda from 0 to 1, at constant volume.

    Bain      bct cell with c/a from 1 (bcc) to sqrt 2 (fcc)
    Burgers   cell (a, sqrt 2 a, sqrt 2 a) of bcc to (d, sqrt 3 d, sqrt(8/3) d) of hcp; every second (110) plane
              shuffles by 1/6 of the second edge
    omega     bcc in its hexagonal cell (sqrt 2 a, sqrt 3 / 2 a): two of three (111) planes meet, z = 1/3, 2/3 -> 1/2
    faults    fcc to hcp by a Shockley partial on every second (111) plane, one plane after the other

Sources: Bain, Trans. AIME 70 (1924) 25; Burgers, Physica 1 (1934) 561; de Fontaine, Acta Metall. 18 (1970) 275.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ovito_mace_phase.atoms.frame import Frame, make_frame
from ovito_mace_phase.lab.crystals import SPACING, close_packed, repeated

_WIDTH = 10.0
_VOLUME = SPACING**3 / np.sqrt(2.0)  # per atom, that of the close packings


@dataclass(frozen=True, kw_only=True)
class PhasePath:
    """A path: name, keys of its ends, lambda -> frame."""

    name: str
    start: str
    end: str
    frame: Callable[[float], Frame]


def bain(progress: float) -> Frame:
    """Return body-centred tetragonal, c/a = 1 + (sqrt 2 - 1) lambda."""
    cell = np.diag([1.0, 1.0, 1.0 + (np.sqrt(2.0) - 1.0) * progress])
    return _scaled(cell, np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))


def burgers(progress: float) -> Frame:
    """Return the orthorhombic cell of four atoms between bcc and hcp."""
    start = np.array([1.0, np.sqrt(2.0), np.sqrt(2.0)])
    end = np.array([1.0, np.sqrt(3.0), np.sqrt(8.0 / 3.0)])
    start, end = start / np.cbrt(start.prod()), end / np.cbrt(end.prod())
    glide = progress / 6
    fractional = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, glide, 0.5], [0, 0.5 + glide, 0.5]])
    return _scaled(np.diag(start + (end - start) * progress), fractional)


def omega(progress: float) -> Frame:
    """Return the hexagonal cell of three atoms between bcc and omega."""
    edge, height = np.sqrt(2.0), np.sqrt(3.0) / 2
    cell = np.array([[edge, 0, 0], [-edge / 2, edge * np.sqrt(3.0) / 2, 0], [0, 0, height]])
    move = progress / 6
    return _scaled(cell, np.array([[0, 0, 0], [2 / 3, 1 / 3, 1 / 3 + move], [1 / 3, 2 / 3, 2 / 3 - move]]))


def fault_stack(progress: float, n_layers: int = 12) -> Frame:
    """Return fcc in which partials have glided on the first of every second plane: steps 1 become 2 one by one."""
    steps = np.ones(n_layers)
    done = progress * (n_layers // 2)
    for plane in range(n_layers // 2):
        steps[2 * plane] += np.clip(done - plane, 0.0, 1.0)
    positions, cell, _ = close_packed(steps.tolist(), (4, 2))
    return make_frame(positions, None, cell, True)


PATHS = (
    PhasePath(name="Bain", start="BCC", end="FCC", frame=bain),
    PhasePath(name="Burgers", start="BCC", end="HCP", frame=burgers),
    PhasePath(name="omega", start="BCC", end="OMEGA", frame=omega),
    PhasePath(name="faults", start="FCC", end="HCP", frame=fault_stack),
)


def _scaled(cell: np.ndarray, fractional: np.ndarray) -> Frame:
    cell = cell * np.cbrt(_VOLUME * len(fractional) / abs(np.linalg.det(cell)))
    return repeated(cell, fractional, np.zeros(len(fractional), dtype=np.int64), _WIDTH)
