"""The matches of a frame, held against each other: what the verdict and the output are made of.

    level   mean misfit around an atom, weights (share of neighbours that agree)^16, taken on over LEVEL_SWEEPS neighbours:
            the thermal level of the crystal there, that of its inside at its border
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.network_frame import NetworkFrame
from ovito_mace_phase.runtime.threads import over_rows
from ovito_mace_phase.runtime.watch import Watch

from .growth import Limits, Matches, grow
from .kernels_growth import compare, spread_level
from .library import Library
from .proposals import Proposals
from .surroundings import find_surroundings

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
LEVEL_SWEEPS = 4
_ROWS = 2048


@dataclass(frozen=True, kw_only=True)
class Fits:
    """The match of every atom of a frame, in the order of the frame.

    Attributes
    ----------
    proposals : Proposals
    template : (n_atoms,) int64
        Atom of the library; -1 where nothing fits.
    gradient : (n_atoms, 3, 3) float32
        F from the template, in network units, to the frame.
    rmsd, residual, strain, scale : (n_atoms,) float64
        See `kernels`; NaN where nothing fits.
    support : (n_atoms,) float64
        Share of the neighbours that are what the match says.
    misfit : (n_atoms,) float64
        Deviation from the template under the mean strain of the surroundings.
    level : (n_atoms,) float64
        Mean misfit of the crystal around; 0 where no neighbour agrees.
    """

    proposals: Proposals
    template: Int
    gradient: npt.NDArray[np.float32]
    rmsd: Float
    residual: Float
    strain: Float
    scale: Float
    support: Float
    misfit: Float
    level: Float

    @property
    def column(self) -> Int:
        """Place of the matched phase among those considered, -1 where nothing fits."""
        found = np.full(len(self.template), -1, dtype=np.int64)
        fits = self.template >= 0
        found[fits] = self.proposals.columns[self.proposals.library.phase[self.template[fits]]]
        return found


def fit_frame(
    frame: NetworkFrame,
    proposals: Proposals,
    claim: npt.NDArray[np.float32],
    limits: Limits | None = None,
    watch: Watch | None = None,
) -> Fits:
    """Match the atoms of a frame; `claim` (n_atoms,) as in `grow`."""
    limits, library = limits or Limits(), proposals.library
    near = find_surroundings(frame, library)
    order, n_atoms = near.order, len(frame)
    found = grow(
        library, near, proposals.allowed[order], claim[order], proposals.parent, proposals.parent_strain, limits, watch
    )
    support, misfit = np.zeros((2, n_atoms))
    mean = np.zeros((n_atoms, 3, 3))

    def hold(first: int, last: int) -> None:
        compare(
            library, limits, found.template, found.gradient, found.values, found.slots, found.grain, near.neighbour,
            first, last, support, misfit, mean,
        )  # fmt: skip

    over_rows(hold, n_atoms, _ROWS)
    weight, around = support**16, np.where(found.template >= 0, misfit, 0.0)
    for _ in range(LEVEL_SWEEPS):
        weight, around = _spread(found, library, near.neighbour, weight, around)
    back = np.empty(n_atoms, dtype=np.int64)
    back[order] = np.arange(n_atoms)
    rmsd, residual, strain, scale = found.values[back, :4].T
    return Fits(
        proposals=proposals,
        template=found.template[back],
        gradient=found.gradient[back].astype(np.float32),
        rmsd=rmsd,
        residual=residual,
        strain=strain,
        scale=scale,
        support=support[back],
        misfit=misfit[back],
        level=around[back],
    )


def _spread(
    found: Matches, library: Library, neighbour: npt.NDArray[np.int32], weight: Float, value: Float
) -> tuple[Float, Float]:
    new_weight, new_value = np.zeros((2, len(weight)))
    over_rows(
        lambda a, b: spread_level(
            library, found.template, found.slots, neighbour, weight, value, a, b, new_weight, new_value
        ),
        len(weight),
        _ROWS,
    )
    return new_weight, new_value
