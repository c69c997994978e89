"""The nearest neighbours of every atom of a frame, nearest first: what templates are fitted to.

    u_m, m = 1 ... K,    |u_1| <= |u_2| <= ...,    K and the cutoff by the templates in play

Atoms are in the sorted order of the cells; equal distances are in the order of the cells, which no fit depends on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.cell_grid import CellGrid
from ovito_mace_phase.atoms.length_scale import TARGET_VOLUME
from ovito_mace_phase.atoms.network_frame import NetworkFrame
from ovito_mace_phase.phases.templates import NOISE
from ovito_mace_phase.runtime.threads import over_rows

from .kernels_growth import keep_nearest
from .library import Library

Int = npt.NDArray[np.int64]
_ROWS = 2048
_STRETCH = 1.1  # a template may be so much larger than the frame says
_LEAST = 1.9  # V^(1/3), where all templates are small: near melting a neighbour in fcc may be that far


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Nearest neighbours in sorted order.

    Attributes
    ----------
    grid : CellGrid
        The atoms in their places, network units.
    species : (n_atoms,) int64
    count : (n_atoms,) int32
        Neighbours that are known.
    neighbour : (n_atoms, K) int32
    vectors : (n_atoms, K, 3) float32
        Network units.
    """

    grid: CellGrid
    species: Int
    count: npt.NDArray[np.int32]
    neighbour: npt.NDArray[np.int32]
    vectors: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.grid)

    @property
    def order(self) -> Int:
        """Sorted atom k is atom `order[k]` of the frame."""
        return self.grid.order


def find_surroundings(frame: NetworkFrame, library: Library) -> Surroundings:
    """Return the neighbours of every atom that the templates of a library may need."""
    longest = np.sqrt((library.vectors**2).sum(axis=1).max())
    reach = max(_STRETCH * longest + NOISE * library.nearest.max(), _LEAST * TARGET_VOLUME ** (1.0 / 3.0))
    grid = frame.grid(float(reach))
    most = library.crowd
    n_atoms = len(grid)
    count = np.zeros(n_atoms, dtype=np.int32)
    neighbour = np.zeros((n_atoms, most), dtype=np.int32)
    vectors = np.zeros((n_atoms, most, 3), dtype=np.float32)

    def work(first: int, last: int) -> None:
        keep_nearest(*grid.pairs(first, last), first, count, neighbour, vectors)

    over_rows(work, n_atoms, _ROWS)
    return Surroundings(
        grid=grid, species=frame.frame.species[grid.order], count=count, neighbour=neighbour, vectors=vectors
    )
