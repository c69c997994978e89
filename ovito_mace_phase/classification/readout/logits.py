"""What is kept of the logits of a frame: all of them for a small frame, the best few of each atom for a large one.

    all      (n_atoms, n_phases) float32: any change of prior, threshold and choice of phases is answered exactly
    compact  the N_BEST largest logits of each atom, logsumexp_c l and logsumexp_c l / T, the logits of every k-th
             atom (for the prior of the frame), and the columns asked for: some 60 bytes an atom

From compact scores the label and the confidence under a uniform prior are exact. Under another prior the phases that
are not kept count with the most they can be, so that a confidence is never too high.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.bonds import Bonds
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.phases import Phase
from ovito_mace_phase.runtime.errors import InputError

from .labels import label, picked
from .local_prior import N_RIVALS, local_labels

if TYPE_CHECKING:
    from .chosen_logits import ChosenScores

Float32 = npt.NDArray[np.float32]
Labels = tuple[npt.NDArray[np.int64], Float32, Float32]
N_BEST = 8
SAMPLE = 20000
FULL_BYTES = 512 * 2**20
"""Frames whose logits take no more than this keep all of them by default."""


class PhaseScores(Protocol):
    """Scores of the atoms of a frame for `phases`."""

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Columns."""

    def __len__(self) -> int:
        """Return the number of atoms."""

    @property
    def nbytes(self) -> int:
        """Memory taken, bytes."""

    @property
    def priors(self) -> dict[float, npt.NDArray[np.float64]]:
        """Temperature -> prior of the frame, once it is known."""

    def sample(self) -> Float32:
        """Return logits of atoms taken at equal strides, at most SAMPLE of them."""

    def column(self, key: str) -> Float32:
        """Return the logit of one phase, (n_atoms,)."""

    def restricted(self, columns: Sequence[int]) -> PhaseScores:
        """Return the scores for some of the phases only."""

    def labels(
        self, calibration: Calibration, weights: npt.NDArray[np.float64] | None, threshold: float, other: int | None
    ) -> Labels:
        """Return column of the phase, confidence and margin of every atom; see `confidence.label`."""

    def local_labels(self, calibration: Calibration, threshold: float, other: int | None) -> Labels:
        """Return the same with the prior of the surroundings, see `local_prior`."""


@dataclass(frozen=True, kw_only=True)
class FullScores:
    """All logits, (n_atoms, n_phases) float32, and what answers for a uniform prior at once."""

    phases: tuple[Phase, ...]
    logits: Float32
    summary: CompactScores | None = None
    priors: dict[float, npt.NDArray[np.float64]] = field(default_factory=dict, repr=False, compare=False)
    parts: dict[tuple[int, ...], ChosenScores] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def nbytes(self) -> int:
        """See `PhaseScores`."""
        summary = 0 if self.summary is None else self.summary.nbytes
        return self.logits.nbytes + summary + sum(part.extra_bytes for part in self.parts.values())

    def sample(self) -> Float32:
        """See `PhaseScores`."""
        return self.logits[:: stride_of(len(self.logits))]

    def column(self, key: str) -> Float32:
        """See `PhaseScores`."""
        return self.logits[:, place_of(self.phases, key)]

    def restricted(self, columns: Sequence[int]) -> ChosenScores:
        """See `PhaseScores`."""
        from .chosen_logits import ChosenScores

        wanted = tuple(columns)
        if wanted not in self.parts:
            self.parts.clear()  # the last one is kept for its prior
            self.parts[wanted] = ChosenScores(whole=self, chosen=np.asarray(wanted, dtype=np.int64))
        return self.parts[wanted]

    def labels(
        self, calibration: Calibration, weights: npt.NDArray[np.float64] | None, threshold: float, other: int | None
    ) -> Labels:
        """See `PhaseScores`."""
        if weights is None and self.summary is not None:
            return self.summary.labels(calibration, None, threshold, other)
        density = None if self.summary is None else self.summary.log_density
        return label(self.logits, calibration, weights, threshold, other, density)

    def local_labels(self, calibration: Calibration, threshold: float, other: int | None) -> Labels:
        """See `PhaseScores`."""
        if self.summary is None:
            raise TypeError("the best logits of every atom were not kept")
        return self.summary.local_labels(calibration, threshold, other)


@dataclass(frozen=True, kw_only=True)
class CompactScores:
    """The best logits of each atom.

    Attributes
    ----------
    phases : tuple of Phase
    best_columns : (n_atoms, N_BEST) int16
    best : (n_atoms, N_BEST) float32
        Largest first.
    log_density, log_norm : (n_atoms,) float32
        logsumexp of l, and of l / T.
    sampled : (n_sampled, n_phases) float32
    columns : mapping
        Key -> logits of a phase, (n_atoms,).
    priors : dict
        See `PhaseScores`.
    bonds : Bonds or None
        Nearest neighbours, for the prior of the surroundings.
    local : dict
        Temperature -> what `local_prior.local_labels` found, once it is asked for.
    """

    phases: tuple[Phase, ...]
    best_columns: npt.NDArray[np.int16]
    best: Float32
    log_density: Float32
    log_norm: Float32
    sampled: Float32
    columns: Mapping[str, Float32] = field(default_factory=dict)
    priors: dict[float, npt.NDArray[np.float64]] = field(default_factory=dict, repr=False, compare=False)
    bonds: Bonds | None = None
    local: dict[float, tuple[npt.NDArray[np.int64], Float32]] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.best)

    @property
    def nbytes(self) -> int:
        """See `PhaseScores`."""
        arrays = (self.best, self.log_density, self.log_norm, self.sampled, *self.columns.values())
        bonds = 0 if self.bonds is None else self.bonds.nbytes
        return self.best_columns.nbytes + bonds + sum(array.nbytes for array in arrays)

    def sample(self) -> Float32:
        """See `PhaseScores`."""
        return self.sampled

    def column(self, key: str) -> Float32:
        """Return the logit of a phase.

        Where it was not asked for, and is not among the best of an atom, the least of those: the most it can be there.
        """
        if key in self.columns:
            return self.columns[key]
        hit = self.best_columns == place_of(self.phases, key)
        return np.where(hit.any(axis=1), np.where(hit, self.best, 0.0).sum(axis=1), self.best[:, -1])

    def restricted(self, columns: Sequence[int]) -> PhaseScores:
        """See `PhaseScores`; only all phases can be asked for."""
        if list(columns) != list(range(len(self.phases))):
            raise InputError(
                "the scores of this frame were kept for other phases: evaluate it again with the phases to consider"
            )
        return self

    def labels(
        self, calibration: Calibration, weights: npt.NDArray[np.float64] | None, threshold: float, other: int | None
    ) -> Labels:
        """See `PhaseScores`."""
        joint = self.best / np.float32(calibration.temperature)
        norm = self.log_norm
        if weights is not None:
            with np.errstate(divide="ignore"):
                joint = joint + np.log(weights).astype(np.float32)[self.best_columns]
            norm = np.logaddexp(_log_sum(joint), self._rest(weights, calibration.temperature))
        place = joint.argmax(axis=1)
        sure = np.exp(np.minimum(joint[np.arange(len(place)), place] - norm, 0.0))
        return self._accepted(place, sure, calibration, threshold, other)

    def local_labels(self, calibration: Calibration, threshold: float, other: int | None) -> Labels:
        """See `PhaseScores`."""
        if self.bonds is None:
            raise TypeError("the neighbours were not kept")
        temperature = calibration.temperature
        if temperature not in self.local:
            scaled = self.best[:, :N_RIVALS] / np.float32(temperature) - self.log_norm[:, None]
            probability = np.exp(np.minimum(scaled, 0.0))
            self.local[temperature] = local_labels(self.best_columns[:, :N_RIVALS], probability, self.bonds)
        return self._accepted(*self.local[temperature], calibration, threshold, other)

    def _accepted(
        self,
        place: npt.NDArray[np.int64],
        sure: Float32,
        calibration: Calibration,
        threshold: float,
        other: int | None,
    ) -> Labels:
        """Turn atoms that are not sure, or too unlike their phase, into Other."""
        chosen = self.best_columns[np.arange(len(place)), place].astype(np.int64)
        margin = self.best[:, 0] - self.best[:, 1] if self.best.shape[1] > 1 else np.full_like(sure, np.inf)
        reject = -1 if other is None else other
        doubtful = ((sure < threshold) | calibration.too_rare(self.log_density, chosen)) & (chosen != reject)
        return np.where(doubtful, reject, chosen), np.where(doubtful, 1.0 - sure, sure).astype(np.float32), margin

    def _rest(self, weights: npt.NDArray[np.float64], temperature: float) -> Float32:
        """Return the log of the most that the phases not kept can weigh."""
        kept = _log_sum(self.best / np.float32(temperature))
        share = -np.expm1(np.minimum(kept - self.log_norm, 0.0))  # of the uniform posterior
        order = np.argsort(-weights)
        heaviest = np.full(len(self), -np.inf)
        unknown = np.ones(len(self), dtype=bool)
        for column in order[: self.best.shape[1] + 1]:  # one of these is not kept
            free = unknown & ~(self.best_columns == column).any(axis=1)
            with np.errstate(divide="ignore"):
                heaviest[free] = np.log(weights[column])
            unknown &= ~free
            if not unknown.any():
                break
        with np.errstate(divide="ignore"):
            return (np.log(share) + self.log_norm + heaviest).astype(np.float32)


def stride_of(n_atoms: int) -> int:
    """Return the stride of the sample."""
    return max(1, -(-n_atoms // SAMPLE))


def place_of(phases: Sequence[Phase], key: str) -> int:
    """Return the column of a phase; InputError if it is not among them."""
    for place, phase in enumerate(phases):
        if phase.key == key:
            return place
    raise InputError(f"phase {key!r} is not among the {len(phases)} phases considered")


def _log_sum(values: Float32) -> Float32:
    top = values.max(axis=1)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return top + np.log(np.exp(values - top[:, None]).sum(axis=1))


class ScoreKeeper:
    """Gathers the scores of a frame from logits that come in blocks.

    Parameters
    ----------
    n_atoms : int
    phases : tuple of Phase
        Columns of the logits that come in.
    temperature : float
    full : bool
        Keep all logits.
    considered : sequence of int, optional
        Columns to look at, when not all logits are kept; default all.
    keys : sequence of str
        Phases whose logits are kept for every atom.
    n_best : int
        Logits kept of each atom.
    """

    def __init__(
        self,
        n_atoms: int,
        phases: tuple[Phase, ...],
        temperature: float,
        *,
        full: bool,
        considered: Sequence[int] | None = None,
        keys: Sequence[str] = (),
        n_best: int = N_BEST,
    ) -> None:
        self._all_phases, self._temperature = phases, temperature
        self._considered = None if considered is None or full else np.asarray(considered, dtype=np.int64)
        self.phases = phases if self._considered is None else tuple(phases[k] for k in self._considered)
        self._logits = np.zeros((n_atoms, len(phases)), dtype=np.float32) if full else None
        n_best = min(n_best, len(self.phases))
        self._stride = n_atoms + 1 if full else stride_of(n_atoms)
        self._best_columns = np.zeros((n_atoms, n_best), dtype=np.int16)
        self._best = np.zeros((n_atoms, n_best), dtype=np.float32)
        self._log_density, self._log_norm = np.zeros((2, n_atoms), dtype=np.float32)
        self._sampled = np.zeros((-(-n_atoms // self._stride), len(self.phases)), dtype=np.float32)
        self._columns = {} if full else {key: np.zeros(n_atoms, dtype=np.float32) for key in keys}

    def add(self, atoms: npt.NDArray[np.int64], logits: Float32) -> None:
        """Take the logits (n, n_phases) of some atoms; safe from several threads for different atoms."""
        from ovito_mace_phase.model.network.operations.kernels import best_columns, log_sums

        if self._logits is not None:
            self._logits[atoms] = logits
        for key, column in self._columns.items():
            column[atoms] = logits[:, place_of(self._all_phases, key)]
        if self._considered is not None:
            logits = picked(logits, self._considered)
        columns = np.empty((len(atoms), self._best.shape[1]), dtype=np.int16)
        values = np.empty(columns.shape, dtype=np.float32)
        best_columns(logits, columns, values)
        self._best_columns[atoms], self._best[atoms] = columns, values
        density, norm = np.empty((2, len(atoms)), dtype=np.float32)
        log_sums(logits, 1.0 / self._temperature, density, norm)
        self._log_density[atoms], self._log_norm[atoms] = density, norm
        taken = atoms % self._stride == 0
        self._sampled[atoms[taken] // self._stride] = logits[taken]

    def result(self, bonds: Bonds | None = None) -> PhaseScores:
        """Return what was kept, with the nearest neighbours."""
        summary = CompactScores(
            phases=self.phases,
            best_columns=self._best_columns,
            best=self._best,
            log_density=self._log_density,
            log_norm=self._log_norm,
            sampled=self._sampled,
            columns=self._columns,
            bonds=bonds,
        )
        if self._logits is None:
            return summary
        return FullScores(phases=self.phases, logits=self._logits, summary=summary)
