"""A large frame of well-known lattices: the network looks at a sample, templates at every atom.

    sample    patches of atoms, some per cent of the frame: phases that occur, and how sure the network is of them
    trial     the same crystals in one patch: do they fit there?
    match     crystals of these phases grow over the frame (`geometry`)
    safe      atoms that fit well, with neighbours of the same crystal, of species as in the template; the network is
              taken to say what fits, as surely as it does of the sample
    rest      all others are evaluated too; then the frame is labelled as any other (`verified`)

Only lattices that PTM knows, other common phases and ices are safe: of these a template that fits with all of its
neighbours is right (docs/speed.md has what was measured). A frame of which the sample knows little, of which much is
left, or in which atoms of the sample fit something else than the network says is evaluated as a whole.
"""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.cell_grid import CellGrid
from ovito_mace_phase.atoms.network_frame import NetworkFrame
from ovito_mace_phase.atoms.some_pairs import pairs_of
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.runtime.watch import Watch

from .geometry.confidence import FitTrust, of_fitted
from .geometry.matching import EARLY
from .geometry.merging import merged, not_joined
from .geometry.verdict import familiar
from .geometry.verify import Part, match_frame, of_molecules, verdict_of
from .readout.kept_logits import KeptLogits, LogitKeeper
from .readout.labels import label_atoms, other_column
from .sample import Sample, patches, piece_of, read_sample
from .settings import Settings
from .verified import fits_key, matched

Int = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
Value = TypeVar("Value", bound=np.generic)
LEAST_ATOMS = 15000
"""Smaller frames are evaluated as a whole."""
_KNOWN = 0.7  # share of the sample with a phase that is well known
_LIKELY = 0.7  # mean confidence of the network in a phase
_SMALL = 0.5  # share of the frame that a trial may be
_FITS = 0.7  # share of the atoms of the trial that are to be safe
_LEFT = 0.1  # share of the frame that may be left
_DIFFER = 0.02  # share of the safe atoms of the sample that may be something else
_SAFE = 0.9  # confidence, as a share of what a perfect fit has
_AGREE, _ACCORD = 0.7, 0.95
_FEW, _STRANGE = 2, 2e-4  # atoms, share of the frame, with labels that were not in the sample or do not fit
_CLAIM = 0.1 * EARLY
_NEVER = np.float32(-60.0)
_LESS = 0.02
_DENSE = np.float32(1e3)


def sampled(
    frame: NetworkFrame,
    model: PhaseModel,
    settings: Settings,
    possible: Bool,
    watch: Watch,
) -> KeptLogits | None:
    """Evaluate as few atoms of a frame as will do; None where all are needed.

    Parameters
    ----------
    frame : NetworkFrame
    model : PhaseModel
    settings : Settings
    possible : (n_phases,) bool
        Phases that the frame can have.
    watch : Watch

    Returns
    -------
    KeptLogits
        Of the atoms that were evaluated, and assumed ones of the others; with the fits.
    """
    calibration, grid = model.calibration.of(model.phases), frame.grid()
    patch, one = patches(grid)
    if not len(patch):
        return None
    order, keeper = grid.order, LogitKeeper(frame, model.phases, calibration.temperature, full=False)

    def look(atoms: Int) -> None:
        quiet = dataclasses.replace(watch, progress=None)
        model.some_logits(frame, grid, atoms, keeper.add, memory=settings.memory, watch=quiet)

    look(patch)
    kept = keeper.result()
    sample = read_sample(kept, order[patch], calibration, possible)
    if sample.known < _KNOWN:
        return None
    match = _Match(kept, sample, FitTrust(**calibration.fitted), watch)
    if not _fits_on_trial(match, frame, grid, one):
        return None
    parts, safe, column = match.of(frame, np.arange(len(frame)), _CLAIM)
    mine = sample.atoms
    differ = np.zeros(len(frame), dtype=bool)
    differ[mine] = safe[mine] & (column[mine] != sample.column)
    if differ.sum() > _DIFFER * safe[mine].sum():
        return None
    safe &= ~differ
    if (~safe).mean() > _LEFT:
        return None
    _report(watch, 0.7)
    rest = ~safe
    rest[mine] = False
    look(np.flatnonzero(rest[order]))
    misfit = _gathered(parts, [part.fits.misfit for part in parts], np.zeros(len(frame)))
    _assume(kept, safe, column, sample.mean, misfit)
    if not safe.all():
        labels = label_atoms(kept, dataclasses.replace(calibration, log_density=-np.inf), possible=possible)
        label = np.where(labels.column == other_column(kept), -1, labels.column)
        fitted = _gathered(parts, [part.fits.column for part in parts], np.full(len(frame), -1))
        strange = (label >= 0) & (~np.isin(label, sample.there) | ((fitted >= 0) & (fitted != label)))
        if strange.sum() > max(_FEW, _STRANGE * len(frame)):
            newer = matched(kept, calibration, settings, possible, watch)
            parts = merged(newer, parts, safe | (fitted == label))
        else:
            other = label < 0
            parts = tuple(dataclasses.replace(part, fits=not_joined(part.fits, other[part.atoms])) for part in parts)
    kept.found[fits_key(settings)] = parts
    _report(watch, 1.0)
    return kept


def _report(watch: Watch, done: float) -> None:
    if watch.progress is not None:
        watch.progress(done)


def _fits_on_trial(match: _Match, frame: NetworkFrame, grid: CellGrid, patch: Int) -> bool:
    """Tell whether most atoms of one patch are safe."""
    trial = _around(grid, _around(grid, patch))
    if len(trial) > _SMALL * len(frame):
        return False
    atoms = grid.order[trial]
    _, safe, _ = match.of(piece_of(frame, atoms), atoms, np.float32(0.0))
    return bool(safe[np.isin(trial, patch)].mean() >= _FITS)


class _Match:
    """Crystals of the phases of a sample, grown over a frame or a piece of it."""

    def __init__(self, kept: KeptLogits, sample: Sample, trust: FitTrust, watch: Watch) -> None:
        self.kept, self.sample, self.trust, self.watch = kept, sample, trust, watch
        n_best = kept.best_columns.shape[1]
        self.tried = np.array([*sample.there, *[sample.there[0]] * n_best][:n_best], dtype=np.int16)
        likely = np.isin(np.arange(len(kept.phases)), sample.there) & (sample.mean >= _LIKELY)
        self.likely = np.append(likely, False)

    def of(self, frame: NetworkFrame, atoms: Int, unseen: np.float32) -> tuple[tuple[Part, ...], Bool, Int]:
        """Return fits, which atoms are safe, and the place of the phase of each."""
        n_atoms, main, sample = len(frame), self.sample.there[0], self.sample
        label, claim = np.full(n_atoms, main), np.full(n_atoms, unseen, dtype=np.float32)
        place = np.full(len(self.kept), -1, dtype=np.int64)
        place[atoms] = np.arange(n_atoms)
        mine = place[sample.atoms]
        given = (mine >= 0) & np.isin(sample.column, sample.there)
        label[mine[given]] = sample.column[given]
        claim[mine[mine >= 0]] = np.where(given & sample.dense, sample.confidence, np.float32(0.0))[mine >= 0]
        best = np.repeat(self.tried[None], n_atoms, axis=0)
        everywhere = np.ones(n_atoms, dtype=bool)
        parts = match_frame(
            frame, self.kept.phases, label, claim, best, watch=Watch(cancelled=self.watch.cancelled),
            guessed=True,
        )  # fmt: skip
        for part in parts:
            matched = part.fits.template >= 0
            label[part.atoms[matched]] = part.fits.column[matched]
        confidence = sample.mean[label]
        verdict = verdict_of(frame, self.kept.phases, parts, label, confidence, everywhere, trust=self.trust)
        same, all_familiar, agreed = np.ones(n_atoms, bool), np.ones(n_atoms, bool), np.ones(n_atoms)
        most = of_fitted(confidence, same, all_familiar, agreed, self.trust)
        good = np.zeros(n_atoms, dtype=bool)
        for part in parts:
            fits = part.fits
            fine = familiar(fits) & (fits.accord >= _ACCORD) & (fits.support >= _AGREE) & ~fits.mixed
            if fits.proposals.templates[0].net:
                taken, place, _ = of_molecules(frame, self.kept.phases, label, part.atoms)
                good[taken] = fine[place]
            else:
                good[part.atoms] = fine
        safe = good & (verdict.confidence >= _SAFE * most) & self.likely[verdict.column]
        return parts, safe, verdict.column


def _around(grid: CellGrid, atoms: Int) -> Int:
    """Return some sorted atoms and their neighbours, ascending."""
    near = np.zeros(len(grid), dtype=bool)
    near[atoms] = True
    near[pairs_of(grid, atoms)[1]] = True
    return np.flatnonzero(near)


def _gathered(parts: tuple[Part, ...], found: list[npt.NDArray[Value]], rest: npt.NDArray[Value]) -> npt.NDArray[Value]:
    """Return values of the parts as those of all atoms; `rest` (n_atoms,) where nothing fits."""
    for part, values in zip(parts, found, strict=True):
        fits = part.fits.template >= 0
        rest[part.atoms[fits]] = values[fits]
    return rest


def _assume(kept: KeptLogits, safe: Bool, column: Int, mean: Float32, misfit: npt.NDArray[np.float64]) -> None:
    """Write logits of the safe atoms by which each has its phase, with the mean confidence of the sample.

    A little less where it fits less well: crystals are to grow from atoms that fit.
    """
    atoms = np.flatnonzero(safe)
    first = column[atoms].astype(np.int16)
    kept.best_columns[atoms] = first[:, None]
    kept.best[atoms, 0], kept.best[atoms, 1:] = 0.0, _NEVER
    kept.log_norm[atoms] = _LESS * misfit[atoms] - np.log(mean[first])
    kept.log_density[atoms] = _DENSE
