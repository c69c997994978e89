"""What the network says of a sample of a frame: patches of atoms, a few per cent of a large one.

The patches are cubes of cells of the grid, in a coarser lattice: the layers below the last are evaluated for the
neighbours of a sample too, which few large pieces have fewer of than many small ones.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.cell_grid import CellGrid
from ovito_mace_phase.atoms.network_frame import NetworkFrame
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.phases import Phase
from ovito_mace_phase.phases.templates import template

from .readout.kept_logits import KeptLogits
from .readout.labels import label_atoms, other_column

Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
_CELLS = 2  # along an edge of a patch
_EVERY = (4, 3)  # patches from one to the next, the first that gives enough atoms
_ENOUGH = 1500
_MOST = 0.25  # share of the frame
_OCCURS = 0.01  # share of the sample that a phase needs
_LIKELY = 0.5


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Phases of the atoms of a sample.

    Attributes
    ----------
    atoms : (n,) int64
    column : (n,) int64
        Place of the label among the phases, -1 for Other.
    confidence : (n,) float32
    dense : (n,) bool
        Whether the density is high enough for the label.
    there : tuple of int
        Well-known phases that occur, the most frequent first.
    known : float
        Share of the atoms that have one of them.
    mean : (n_phases,) float32
        Mean confidence of the atoms with a label.
    """

    atoms: Int
    column: Int
    confidence: Float32
    dense: Bool
    there: tuple[int, ...]
    known: float
    mean: Float32


def patches(grid: CellGrid) -> tuple[Int, Int]:
    """Return the atoms of the patches, and of one of them that is whole, for a trial.

    Returns
    -------
    atoms : (n,) int64
        Sorted numbers, ascending; none where patches would be a large part of the frame.
    one : (m,) int64
        Those of a patch with a usual number of atoms: the densest one may hold a defect.
    """
    inverse = np.linalg.inv(grid.box)
    patch = np.floor(np.clip(grid.positions @ inverse, 0.0, 1.0 - 1e-12) * grid.shape).astype(np.int64) // _CELLS
    found = np.empty(0, dtype=np.int64)
    for every in _EVERY:
        found = np.flatnonzero((patch % every == 0).all(axis=1))
        if len(found) >= _ENOUGH:
            break
    if not 0 < len(found) < _MOST * len(grid):
        return found[:0], found[:0]
    _, number, counts = np.unique(patch[found], axis=0, return_inverse=True, return_counts=True)
    return found, found[number.ravel() == np.argsort(counts, kind="stable")[len(counts) // 2]]


def read_sample(kept: KeptLogits, atoms: Int, calibration: Calibration, possible: Bool) -> Sample:
    """Label the atoms of a sample, as a frame of their own.

    Parameters
    ----------
    kept : KeptLogits
        Of a frame, with the logits of these atoms.
    atoms : (n,) int64
    calibration : Calibration
    possible : (n_phases,) bool
        Phases that the frame can have.
    """
    rows = {name: getattr(kept, name)[atoms] for name in ("best_columns", "best", "log_density", "log_norm")}
    free = dataclasses.replace(calibration, log_density=-np.inf)
    piece = piece_of(kept.frame, atoms)
    labels = label_atoms(dataclasses.replace(kept, frame=piece, **rows, found={}), free, possible=possible)
    column = np.where(labels.column == other_column(kept), -1, labels.column)
    dense = (column >= 0) & ~calibration.below_density(rows["log_density"], np.maximum(column, 0))
    counts = np.bincount(column[dense & (labels.confidence > _LIKELY)], minlength=len(kept.phases))
    frequent = [int(k) for k in np.argsort(-counts, kind="stable") if counts[k] > max(2.0, _OCCURS * len(atoms))]
    there = tuple(k for k in frequent if well_known(kept.phases[k]))
    sums = np.bincount(column[column >= 0], labels.confidence[column >= 0], minlength=len(kept.phases))
    numbers = np.bincount(column[column >= 0], minlength=len(kept.phases))
    return Sample(
        atoms=atoms,
        column=column,
        confidence=labels.confidence,
        dense=dense,
        there=there,
        known=float(counts[list(there)].sum()) / max(1, len(atoms)),
        mean=(sums / np.maximum(numbers, 1)).astype(np.float32),
    )


def piece_of(frame: NetworkFrame, atoms: Int) -> NetworkFrame:
    """Return some atoms as a frame of their own."""
    given = frame.frame
    few = dataclasses.replace(given, positions=given.positions[atoms], species=given.species[atoms])
    return dataclasses.replace(frame, frame=few, slots=frame.slots[atoms], sites=None, _bonds=[])


def well_known(phase: Phase) -> bool:
    """Tell whether a phase is a lattice that PTM knows, another common one, or an ice, and none by another name."""
    found = template(phase)
    return found is not None and (found.simple or found.common or found.net) and not phase.family
