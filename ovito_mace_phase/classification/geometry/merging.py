"""Matches of a frame put right afterwards, without another one.

merged       some atoms keep what they had in an older match
not_joined   atoms that the network calls Other lose theirs, unless they join the crystal by the rule of `joining`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from .fits import Fits
from .joining import joins
from .verify import Part

Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


def merged(newer: Sequence[Part], older: Sequence[Part], keep: Bool) -> tuple[Part, ...]:
    """Return the newer fits, with the older ones of some atoms.

    Parameters
    ----------
    newer, older : sequence of Part
        Of the same frame.
    keep : (n_atoms,) bool
        Atoms of the frame that keep the older fit, where the newer match knows its template.
    """
    return tuple(_merged(part, older, keep) for part in newer)


def not_joined(fits: Fits, background: Bool) -> Fits:
    """Return the fits without those of atoms (n_atoms,) of the background that would not have joined a crystal."""
    library = fits.proposals.library
    matched = fits.template >= 0
    ordered = matched & (library.n_codes[library.phase[fits.template]] > 1)
    lost = background & matched & ~joins(fits.misfit, fits.support, fits.region, ordered)
    return replace(fits, template=np.where(lost, -1, fits.template)) if lost.any() else fits


def _merged(part: Part, older: Sequence[Part], keep: Bool) -> Part:
    for other in older:
        alike = part.fits.proposals.templates[0].net == other.fits.proposals.templates[0].net
        if alike and np.array_equal(part.atoms, other.atoms):
            return replace(part, fits=_kept(part.fits, other.fits, keep[part.atoms]))
    return part


def _kept(newer: Fits, older: Fits, keep: Bool) -> Fits:
    template = _translated(newer, older)
    chosen = keep & (template >= 0)
    arrays = {name: value for name, value in vars(older).items() if isinstance(value, np.ndarray)}
    arrays["template"] = template
    found = {}
    for name, value in arrays.items():
        found[name] = getattr(newer, name).copy()
        found[name][chosen] = value[chosen]
    return replace(newer, **found)


def _translated(newer: Fits, older: Fits) -> Int:
    """Return the atoms of the library of the newer match that those of the older one are; -1 where it has none."""
    here = {id(one): place for place, one in enumerate(newer.proposals.templates)}
    place = np.array([here.get(id(one), -1) for one in older.proposals.templates])
    phase = older.proposals.library.phase[older.template]
    first_old = np.searchsorted(older.proposals.library.phase, np.arange(len(place)))
    first_new = np.searchsorted(newer.proposals.library.phase, np.arange(len(newer.proposals.templates)))
    known = (older.template >= 0) & (place[phase] >= 0)
    return np.where(known, first_new[place[phase]] + older.template - first_old[phase], -1)
