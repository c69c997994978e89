"""Labels held against templates: an atom keeps a phase that fits, takes one that fits clearly better, or is Other.

    cutoff  = max(LEAST, min(FACTOR min(level, HOTTER typical), MOST))    or rmsd_cutoff
              level: thermal level of the crystal there;   typical: its median over the atoms that fit anything
    fits    : misfit <= cutoff, no atom too many, and
              at least SUPPORT of the neighbours are what the match says, or misfit <= LEAST    lattices that PTM knows
              at least SOME of them are, and ACCORD of those around that fit anything           all other phases
    P(fits) = 1 / (1 + exp((misfit - cutoff) / (SOFT cutoff)))

The confidence is that of the network times P(fits); for another phase than the network's the share of neighbours that
agree takes its place, times (1 - DOUBT p) where it said Other; that of Other is (1 - P(fits)) (1 - DOUBT p), p the
confidence of the network that it was a crystal: where the two witnesses contradict each other nobody is sure. A cold
crystal is cut at LEAST, PTM's cutoff; a hot one keeps its atoms, since its own level counts; but a few distorted
atoms in a cold one are not hot. Neighbours that agree are evidence that noise alone cannot give. A phase without a
template, and atoms that the network calls Other and that join no crystal (`joining`), stay as they are.

Measured with mace-phase-6. Crystals of some 250 to 1500 atoms with white noise of 0.09 of the shortest distance (15
phases): 0 to 0.2 % of the atoms are Other, but for SIGMA with 0.4 to 1.8 %; the network alone loses up to 30 %. Hot
dynamics: Cu and NaCl 0.0 %. A minimised Cu polycrystal: 93.1 % of the atoms are what common neighbour analysis calls
them (the network alone 69.5 %, PTM with its cutoff of 0.1 94.1 %); the last two rules were found on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from .fits import Fits

Int = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
LEAST, FACTOR, HOTTER, MOST = 0.10, 2.0, 2.0, 0.28
SUPPORT, SOME, ACCORD = 0.4, 0.25, 0.6
_SOFT = 0.06
DOUBT = 0.25
_ALONE = 1.15  # misfit over the cutoff, at least, of an atom that fits but for what is around it
_NOTHING = 0.35  # misfit of an atom that nothing fits


class Reason(IntEnum):
    """Why an atom is Other, or has a phase that was not verified."""

    NONE = 0
    BACKGROUND = 1
    LOW_DENSITY = 2
    DEFECT = 3
    NO_TEMPLATE = 4
    LOW_CONFIDENCE = 5


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What geometry says of the labels.

    Attributes
    ----------
    column : (n_atoms,) int64
        Place of the phase among those considered; -1 for Other.
    confidence : (n_atoms,) float32
    reason : (n_atoms,) int8
    """

    column: Int
    confidence: Float32
    reason: npt.NDArray[np.int8]


def judge(
    fits: Fits,
    proposed: Int,
    confidence: Float32,
    dense: npt.NDArray[np.bool_],
    rmsd_cutoff: float = 0.0,
    without: npt.NDArray[np.bool_] | None = None,
) -> Verdict:
    """Hold proposals against fits.

    Parameters
    ----------
    fits : Fits
    proposed : (n_atoms,) int64
        Label of each atom before densities count, -1 for Other.
    confidence : (n_atoms,) float32
        Its probability.
    dense : (n_atoms,) bool
        Whether the density is high enough for the label.
    rmsd_cutoff : float
        0 follows the thermal level.
    without : (n_atoms,) bool, optional
        Whether the label is a phase that has no template.
    """
    column = fits.column
    matched = column >= 0
    typical = np.median(fits.level[matched]) if matched.any() else 0.0
    cutoff = np.maximum(LEAST, np.minimum(FACTOR * np.minimum(fits.level, HOTTER * typical), MOST))
    if rmsd_cutoff > 0.0:
        cutoff = np.full(len(column), rmsd_cutoff)
    else:
        cutoff[~matched] = np.median(cutoff[matched]) if matched.any() else LEAST
    misfit = np.where(matched, fits.misfit, _NOTHING)
    simple = matched & fits.proposals.library.simple[fits.proposals.library.phase[fits.template]]
    alone = (misfit <= max(LEAST, rmsd_cutoff)) | (fits.support >= SUPPORT)
    supported = np.where(simple, alone, (fits.support >= SOME) & (fits.accord >= ACCORD)) & ~fits.crowded
    good = matched & supported & (misfit <= cutoff)
    with np.errstate(over="ignore"):
        chance = 1.0 / (
            1.0
            + np.exp(
                (np.where(supported | ~matched, misfit, np.maximum(misfit, _ALONE * cutoff)) - cutoff)
                / (_SOFT * cutoff)
            )
        )
    free = np.zeros(len(column), dtype=bool) if without is None else without & ~good
    background = proposed < 0
    out = np.where(good, column, np.where(free & dense, proposed, -1))
    against = np.where(background, doubt(confidence), np.float32(1.0))
    sure = np.where(
        good,
        chance * np.where(column == proposed, confidence, np.maximum(fits.support, 0.5) * against),
        (1.0 - chance) * doubt(confidence),
    )
    sure = np.where((free & dense) | background, confidence, sure)
    reason = np.where(good, Reason.NONE, np.where(dense, Reason.DEFECT, Reason.LOW_DENSITY))
    reason = np.where(free & dense, Reason.NO_TEMPLATE, reason)
    reason = np.where(background & ~good, Reason.BACKGROUND, reason)
    return Verdict(column=out, confidence=sure.astype(np.float32), reason=reason.astype(np.int8))


def doubt(confidence: Float32) -> Float32:
    """Return what is left of the confidence in Other where the network is so sure of a crystal."""
    return np.float32(1.0) - np.float32(DOUBT) * confidence
