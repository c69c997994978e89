"""A frame as the network sees it: lengths in network units, species in anonymous slots.

    r_network = f r,    f = (V_target / V)^(1/3)    (`length_scale`),    slot of an atom: `species.assign_slots`

Both belong to the atoms as they were given: a frame whose atoms are moved keeps them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ovito_mace_phase.runtime.errors import CancelledError, InputError

from .bonds import BOND_LENGTH, Bonds, find_bonds
from .cell_grid import CellGrid, make_grid
from .frame import FloatArray, Frame, IntArray
from .length_scale import TARGET_VOLUME, Spacing, measured
from .sites import Sites
from .species import ordered_slots

_MOST_CROWDED = 4.0  # length scale over the natural one; beyond it an atom has thousands of neighbours


@dataclass(frozen=True, kw_only=True)
class NetworkFrame:
    """A frame, normalised.

    Attributes
    ----------
    frame : Frame
        Atoms in the order and the length unit of the caller.
    factor : float
        Network units per unit of the file.
    slots : (n_atoms,) int64
        Species slot of every atom.
    r_max : float
        Cutoff of the network, network units.
    sites : Sites or None
        Which atoms of the user's frame these are, where that was asked.
    """

    frame: Frame
    factor: float
    slots: IntArray
    r_max: float
    sites: Sites | None = field(default=None, repr=False, compare=False)
    _bonds: list[Bonds] = field(default_factory=list, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def nbytes(self) -> int:
        """Memory taken, bytes."""
        arrays = (self.frame.positions, self.frame.species, self.slots)
        return sum(array.nbytes for array in arrays) + sum(bonds.nbytes for bonds in self._bonds)

    def grid(self, cutoff: float | None = None) -> CellGrid:
        """Sort the atoms into cells, in network units; `cutoff` is r_max where it is not given."""
        frame, reach = self.frame, self.r_max if cutoff is None else cutoff
        return make_grid(frame.positions * self.factor, frame.cell * self.factor, frame.pbc, reach)

    def bonds(self, cancelled: Callable[[], bool] | None = None) -> Bonds:
        """Return the nearest neighbours of every atom; found when first asked for.

        `cancelled` is asked between blocks; True raises `CancelledError`.
        """
        if not self._bonds:
            self._bonds.append(find_bonds(self.grid(BOND_LENGTH), cancelled))
        return self._bonds[0]

    @property
    def has_bonds(self) -> bool:
        """Whether the bonds are known already."""
        return bool(self._bonds)

    def give_bonds(self, bonds: Bonds) -> None:
        """Hand over the bonds where they were found on the way."""
        self._bonds[:] = [bonds]

    def moved(self, positions: FloatArray) -> NetworkFrame:
        """Return the same atoms at other positions (n_atoms, 3), in the unit of the file."""
        frame = dataclasses.replace(self.frame, positions=positions)
        return NetworkFrame(frame=frame, factor=self.factor, slots=self.slots, r_max=self.r_max, sites=self.sites)


def network_frame(
    frame: Frame,
    *,
    r_max: float,
    n_slots: int,
    length_scale: float | None = None,
    measure: Callable[[Frame, Callable[[], bool] | None], Spacing] = measured,
    cancelled: Callable[[], bool] | None = None,
) -> NetworkFrame:
    """Normalise lengths and assign the species to slots.

    Parameters
    ----------
    frame : Frame
        Species merged as the user wants (`species.merge_species`).
    r_max : float
        Cutoff of the network, network units.
    n_slots : int
        Species that the network can tell apart.
    length_scale : float, optional
        Cube root of the volume per atom, in the file's unit; None estimates it from the local density.
    measure : callable
        What measures the spacing of the atoms; a GPU has its own.
    cancelled : callable, optional
        Asked between blocks of atoms; True stops with `CancelledError`.

    Raises
    ------
    InputError
        When the length scale or the species cannot be used.
    OverlapError
        When two atoms sit at the same place; `sites.find_sites` takes one of them out.
    """
    if length_scale is not None and not (np.isfinite(length_scale) and length_scale > 0):
        raise InputError(
            f"length_scale must be a positive number (the cube root of the volume per atom), not {length_scale}"
        )
    spacing = measure(frame, cancelled)
    natural = spacing.factor
    factor = natural if length_scale is None else TARGET_VOLUME ** (1.0 / 3.0) / length_scale
    if spacing.any_neighbours and factor * _MOST_CROWDED < natural:
        about = TARGET_VOLUME ** (1.0 / 3.0) / natural
        raise InputError(
            f"length_scale = {length_scale:g} is far too long: the cube root of the volume per atom is about "
            f"{about:.3g} in this frame; leave it on auto, or give the length in the unit of the file"
        )
    if cancelled is not None and cancelled():
        raise CancelledError("stopped by the caller")
    return NetworkFrame(
        frame=frame, factor=factor, slots=ordered_slots(frame, n_slots, spacing.by_species), r_max=r_max
    )
