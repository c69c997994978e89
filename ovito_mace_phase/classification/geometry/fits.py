"""The matches of a frame, held against each other: what the verdict and the output are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.network_frame import NetworkFrame
from ovito_mace_phase.runtime.threads import over_rows
from ovito_mace_phase.runtime.watch import Watch

from .distortion import distortion
from .growth import grow
from .kernels_agreement import count_shells, find_crowded, find_farthest, find_mixed
from .matching import Limits
from .proposals import Proposals
from .surroundings import find_surroundings

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]
_ROWS = 2048
_AT_PLACE = 0.3  # of the shortest distance


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
    support, misfit, level, region, accord : (n_atoms,) float64
        See `agreement`.
    crowded : (n_atoms,) bool
        An atom too many lies within the template.
    mixed : (n_atoms,) bool
        The species around are not one to each code of the template: an alloy, or an antisite.
    bent, farthest : (n_atoms,) float64
        Deviatoric strain of the mean F of the atom and the neighbours that agree; how far the neighbour lies from its
        place under it that lies farthest.
    distortion : (n_atoms,) float64
        How far the crystal is from the template without heat, see `distortion`; NaN for common phases.
    shells : (n_atoms,) int64
        Matched atoms for which it lies where they ask for a neighbour (`count_shells`).
    slots : (n_atoms, N) int16 or None
        Place of each neighbour of the template among the nearest atoms, -1 where it is empty; where shells are kept.
    grain : (n_atoms,) int64 or None
        Number of the seed that the match goes back to; likewise.
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
    region: Float
    accord: Float
    crowded: npt.NDArray[np.bool_]
    mixed: npt.NDArray[np.bool_]
    bent: Float
    farthest: Float
    distortion: Float
    shells: Int
    slots: npt.NDArray[np.int16] | None = None
    grain: Int | None = None

    @property
    def nbytes(self) -> int:
        """Memory taken, bytes."""
        arrays = [value for value in vars(self).values() if isinstance(value, np.ndarray)]
        return self.proposals.allowed.nbytes + sum(array.nbytes for array in arrays)

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
    *,
    guessed: bool = False,
    shells_kept: bool = False,
) -> Fits:
    """Match the atoms of a frame; `claim` (n_atoms,) and `guessed` as in `grow`; `shells_kept`: slots and grain too."""
    limits, library = limits or Limits(), proposals.library
    near = find_surroundings(frame, library)
    order, n_atoms = near.order, len(frame)
    found = grow(
        library, near, proposals.allowed[order], claim[order], proposals.parent, proposals.parent_strain, limits, watch,
        guessed=guessed,
    )  # fmt: skip
    held = found.held
    crowded = np.zeros(n_atoms, dtype=bool)
    over_rows(
        lambda a, b: find_crowded(
            library, found.template, found.values, found.slots, near.count, near.vectors, near.neighbour, near.species,
            a, b, crowded,
        ),
        n_atoms,
        _ROWS,
    )  # fmt: skip
    mixed = np.zeros(n_atoms, dtype=bool)
    over_rows(
        lambda a, b: find_mixed(library, found.template, found.slots, near.neighbour, near.species, a, b, mixed),
        n_atoms,
        _ROWS,
    )
    farthest = np.zeros(n_atoms)
    over_rows(
        lambda a, b: find_farthest(library, found.template, held.gradient, found.slots, near.vectors, a, b, farthest),
        n_atoms,
        _ROWS,
    )
    shells = np.zeros(n_atoms, dtype=np.int64)
    count_shells(
        library, found.template, held.gradient, found.slots, near.vectors, near.neighbour, crowded, _AT_PLACE, shells
    )
    strange = ~np.array([one.familiar for one in proposals.templates])[library.phase[found.template]]
    distorted = distortion(library, found.template, found.gradient, found.slots, near.vectors, found.grain, strange)
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
        support=held.support[back],
        misfit=held.misfit[back],
        level=held.level[back],
        region=held.region[back],
        accord=held.accord[back],
        crowded=crowded[back],
        mixed=mixed[back],
        bent=held.strain[back],
        farthest=farthest[back],
        distortion=distorted[back],
        shells=shells[back],
        slots=found.slots[back] if shells_kept else None,
        grain=found.grain[back] if shells_kept else None,
    )
