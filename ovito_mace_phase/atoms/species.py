"""From particle types to the anonymous species of the network.

A prototype is a geometry plus the pattern of which atoms are of the same species. The network has a few *species
slots*, learnable and without chemical meaning, to which a frame's species are assigned. Training permutes the slots at
random; in use they are filled in a canonical order that does not depend on how the user numbered the types: by
abundance, then by the mean cubed distance to the nearest neighbours, so that relabelling types changes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.runtime.errors import InputError, TooManySpeciesError

from .frame import Frame, IntArray

KEPT = ("", "by name", "auto")
"""Texts in place of groups with which types stay what they are here."""


def is_automatic(spec: str | None) -> bool:
    """Whether interchangeable types are to be found."""
    return (spec or "").strip().lower() == "auto"


def merge_species(frame: Frame, spec: str | None) -> Frame:
    """Return the frame with species merged as the user asks.

    Parameters
    ----------
    frame : Frame
    spec : str or None
        None, "" or "by name" keeps the species, and so does "auto" (see `sites.find_sites`). "ignore" merges all.
        Otherwise groups separated by blanks, names within a group by commas: "1,2 3" merges types 1 and 2; species that
        are not named are unchanged.

    Raises
    ------
    InputError
        For a name that no species has, or a name in two groups.
    """
    spec = (spec or "").strip()
    if spec.lower() in KEPT:
        return frame
    if spec.lower() == "ignore":
        return dataclasses.replace(frame, species=np.zeros(len(frame), dtype=np.int64), species_names=("all atoms",))
    group_of: dict[str, str] = {}
    for group in spec.split():
        members = [name for name in group.split(",") if name]
        for name in members:
            if name not in frame.species_names:
                raise InputError(
                    f"species {name!r} in {spec!r} does not occur; the frame has "
                    f"{', '.join(frame.species_names)}: name these, or leave species on auto"
                )
            if name in group_of:
                raise InputError(f"species {name!r} occurs twice in {spec!r}; name every type once")
            group_of[name] = ",".join(members)
    merged = [group_of.get(name, name) for name in frame.species_names]
    names = tuple(dict.fromkeys(merged))
    lookup = np.array([names.index(name) for name in merged], dtype=np.int64)
    return dataclasses.replace(frame, species=lookup[frame.species], species_names=names)


def merge_groups(frame: Frame, groups: Sequence[Sequence[int]]) -> Frame:
    """Return the frame with the species of each group of codes as one; every code is in one group."""
    if len(groups) == frame.n_species:
        return frame
    lookup = np.zeros(frame.n_species, dtype=np.int64)
    for number, group in enumerate(groups):
        lookup[list(group)] = number
    names = tuple(",".join(frame.species_names[code] for code in group) for group in groups)
    return dataclasses.replace(frame, species=lookup[frame.species], species_names=names)


def assign_slots(frame: Frame, n_slots: int, cubed_spacing: npt.NDArray[np.float64]) -> IntArray:
    """Assign the species of a frame to the slots of the network in the canonical order.

    Parameters
    ----------
    frame : Frame
    n_slots : int
        Number of anonymous species the network can tell apart.
    cubed_spacing : (n_atoms,) float64
        Mean cubed neighbour distance of each atom (`length_scale.local_spacing`); breaks ties of equal abundance.

    Returns
    -------
    (n_atoms,) int64
        Slot of every atom.

    Raises
    ------
    TooManySpeciesError
        When there are more species than slots.
    """
    return ordered_slots(frame, n_slots, mean_by_species(frame, cubed_spacing))


def mean_by_species(frame: Frame, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the mean of `values` (n_atoms,) over the atoms of each species, (n_species,); 0 where there are none."""
    count = np.bincount(frame.species, minlength=frame.n_species)
    return np.bincount(frame.species, weights=values, minlength=frame.n_species) / np.maximum(count, 1)


def ordered_slots(frame: Frame, n_slots: int, mean: npt.NDArray[np.float64]) -> IntArray:
    """Do what `assign_slots` does, for the `mean` (n_species,) of the spacing over the atoms of each species."""
    count = np.bincount(frame.species, minlength=frame.n_species)
    present = np.flatnonzero(count)
    if len(present) > n_slots:
        names = ", ".join(frame.species_names[code] for code in present[:12]) + (", ..." if len(present) > 12 else "")
        raise TooManySpeciesError(
            f"the frame has {len(present)} species ({names}) but the network tells {n_slots} apart; leave `species` on "
            "auto (--species auto), which merges the most alike, or name all groups",
            n_slots,
        )
    order = sorted(present, key=lambda code: (-count[code], round(float(mean[code]), 6), code))
    slot = np.zeros(frame.n_species, dtype=np.int64)
    slot[order] = np.arange(len(order))
    return slot[frame.species]
