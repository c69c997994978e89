"""A frame as the network sees it: lengths in network units, species on slots, atoms sorted into cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.cell_grid import CellGrid
from ovito_mace_phase.atoms.listed_edges import ListedEdges


@dataclass(frozen=True, kw_only=True)
class Units:
    """What turns a frame into what the network sees; kept while the atoms of a frame are moved.

    Attributes
    ----------
    factor : float
        Network units per unit of the file.
    carrier : (n_atoms,) int64
    """

    factor: float
    carrier: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class FrameGraph:
    """A frame as the engine reads it.

    Attributes
    ----------
    grid : CellGrid or ListedEdges
        Cut at r_max, network units.
    carrier : (n_atoms,) int64
        In the sorted order of the grid.
    """

    grid: CellGrid | ListedEdges
    carrier: npt.NDArray[np.int64]

    @property
    def present(self) -> list[int]:
        """Carriers that occur."""
        return np.unique(self.carrier).tolist()
