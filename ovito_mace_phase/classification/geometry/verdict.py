"""Labels held against templates: an atom keeps a phase that fits, takes one that fits clearly better, or is Other.

    cutoff  = max(LEAST, min(f min(level, HOTTER typical), MOST))    or rmsd_cutoff
              level: thermal level of the crystal there;   typical: its median over the atoms that fit anything
              f: SIMPLE for the lattices that PTM knows, FACTOR for all other phases
    fits    : misfit <= cutoff, no atom too many, and
              lattices that PTM knows: at least SUPPORT of the neighbours are what the match says, or misfit <= LEAST;
              bent <= BENT, farthest <= FAR LEAST + FARTHER (cutoff - LEAST)
              all other phases: at least SOME of them are, and ACCORD of those around that fit anything
    P(fits) = 1 / (1 + exp((misfit - cutoff) / (SOFT cutoff)))

`bent` is the strain of the mean F around the atom: below the surface of bcc (100) and fcc (110) twelve neighbours are
an fcc shell strained by 0.23 and 0.34, which no crystal bears. `farthest` belongs to one neighbour: the rms hides one
that is not where it should be, beside a dumbbell or a boundary.

The confidence is that of `confidence.of_fitted` times P(fits), where the network said Other the share of neighbours
that agree times (1 - DOUBT p); that of Other is (1 - P(fits)) (1 - DOUBT p), p the confidence of the network in its
label: where the two witnesses contradict each other nobody is sure. A cold crystal is cut at LEAST, PTM's cutoff; a hot
one keeps its atoms, since its own level counts; but a few distorted atoms in a cold one are not hot. Neighbours that
agree are evidence that noise alone cannot give. Nobody is sure, P <= UNSURE, of a phase that is not `familiar` where
the crystal is distorted by more than DISTORTED or strained by more than STRAINED: each is so of 3 % of the crystals of
the validation part that were right, and of a third of those of no phase that were surely taken for one; of
all such 67 % were right, 86 % without those of no phase. A phase without a template, and atoms that the network calls
Other and that join no crystal (`joining`), stay as they are.

Measured with mace-phase-6; SIMPLE, BENT and FAR were found on seed 1 of the suite `cna`. Seed 2, 57 frames of metals,
common neighbour analysis (CNA) of the frame at rest: of its Other 96.7 % are Other at rest, 94.9 % at 300 K, 92.1 % at
0.6 Tm (without the three rules 92.7, 88.8, 86.1; PTM with its cutoff of 0.1: 96.0, 96.8, 98.2), of its FCC, HCP and BCC
99.6, 98.9, 97.6 % keep that label (99.6, 99.3, 98.3; PTM 99.7, 98.4, 86.7). What they lose lies in boundaries of small
grains. False alarms: dynamics of seven metals at 0.9 and 1.0 Tm 0 to 0.15 % Other; white noise of 0.09 of the shortest
distance, 13 phases, 0 %, but for SIGMA with 0.4 to 1.5 %; the three rules added none to either.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from .confidence import FitTrust, of_fitted
from .fits import Fits

Int = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
LEAST, FACTOR, HOTTER, MOST = 0.10, 2.0, 2.0, 0.28
SIMPLE, BENT, FAR, FARTHER = 1.6, 0.15, 2.5, 3.0
SUPPORT, SOME, ACCORD = 0.4, 0.25, 0.65
_SOFT = 0.04
DOUBT = 0.25
DISTORTED, STRAINED, UNSURE = 0.065, 0.09, 0.89
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
    trust: FitTrust = FitTrust(),  # noqa: B008 - frozen
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
    trust : FitTrust
        Of the model.
    """
    column = fits.column
    matched = column >= 0
    typical = np.median(fits.level[matched]) if matched.any() else 0.0
    simple = _simple(fits)
    factor = np.where(simple, SIMPLE, FACTOR)
    cutoff = np.maximum(LEAST, np.minimum(factor * np.minimum(fits.level, HOTTER * typical), MOST))
    if rmsd_cutoff > 0.0:
        cutoff = np.full(len(column), rmsd_cutoff)
    else:
        cutoff[~matched] = np.median(cutoff[matched]) if matched.any() else LEAST
    misfit = np.where(matched, fits.misfit, _NOTHING)
    alone = (misfit <= max(LEAST, rmsd_cutoff)) | (fits.support >= SUPPORT)
    regular = (fits.bent <= BENT) & ((fits.farthest <= FAR * LEAST + FARTHER * (cutoff - LEAST)) | (rmsd_cutoff > 0.0))
    supported = np.where(simple, alone & regular, (fits.support >= SOME) & (fits.accord >= ACCORD)) & ~fits.crowded
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
    joined = np.maximum(fits.support, 0.5) * doubt(confidence)
    sure = np.where(
        good,
        chance
        * np.where(background, joined, of_fitted(confidence, column == proposed, familiar(fits), fits.accord, trust)),
        (1.0 - chance) * doubt(confidence),
    )
    sure = np.where(good & _far(fits), np.minimum(sure, UNSURE), sure)
    sure = np.where((free & dense) | (background & ~good), confidence, sure)
    reason = np.where(good, Reason.NONE, np.where(dense, Reason.DEFECT, Reason.LOW_DENSITY))
    reason = np.where(free & dense, Reason.NO_TEMPLATE, reason)
    reason = np.where(background & ~good, Reason.BACKGROUND, reason)
    return Verdict(column=out, confidence=sure.astype(np.float32), reason=reason.astype(np.int8))


def _far(fits: Fits) -> npt.NDArray[np.bool_]:
    """Tell where a crystal is farther from its template than crystals of the phase use to be."""
    with np.errstate(invalid="ignore"):
        return ~familiar(fits) & ((fits.distortion > DISTORTED) | (fits.bent > STRAINED))


def familiar(fits: Fits) -> npt.NDArray[np.bool_]:
    """Tell at which atoms (n_atoms,) a lattice fits that PTM knows, another common phase, or an ice."""
    known = np.array([one.familiar for one in fits.proposals.templates])
    return (fits.column >= 0) & known[fits.proposals.library.phase[fits.template]]


def _simple(fits: Fits) -> npt.NDArray[np.bool_]:
    library = fits.proposals.library
    return (fits.column >= 0) & library.simple[library.phase[fits.template]]


def doubt(confidence: Float32) -> Float32:
    """Return what is left of the confidence in Other where the network is so sure of a crystal."""
    return np.float32(1.0) - np.float32(DOUBT) * confidence
