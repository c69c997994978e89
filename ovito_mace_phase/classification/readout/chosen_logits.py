"""Some columns of all logits, for a choice of phases.

They are not copied. Where few phases are left out, the sums over the others follow from those over all:

    log sum_chosen exp(l) = log sum_all exp(l) + log(1 - sum_left_out exp(l - log sum_all exp(l)))

and so do the best phases of the atoms that have none of those left out among their best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.phases import Phase
from ovito_mace_phase.runtime.threads import over_rows

from .labels import label
from .local_prior import N_RIVALS
from .logits import CompactScores, Float32, FullScores, Labels, ScoreKeeper, place_of

_ROWS = 1024  # of a piece for one thread: they stay in the cache
_FEW = 8  # times as many phases are chosen as are left out


@dataclass(frozen=True, kw_only=True)
class ChosenScores:
    """Some columns of all logits, which are not copied: they may fill half a gigabyte.

    Attributes
    ----------
    whole : FullScores
    chosen : (n_chosen,) int64
        Columns of `whole`.
    priors : dict
        See `PhaseScores`.
    best : list
        The best logits of each atom, once they are asked for.
    """

    whole: FullScores
    chosen: npt.NDArray[np.int64]
    priors: dict[float, npt.NDArray[np.float64]] = field(default_factory=dict, repr=False, compare=False)
    best: list[CompactScores] = field(default_factory=list, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.whole)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """See `PhaseScores`."""
        return tuple(self.whole.phases[column] for column in self.chosen)

    @property
    def logits(self) -> Float32:
        """A copy, (n_atoms, n_chosen)."""
        return self.whole.logits[:, self.chosen]

    @property
    def nbytes(self) -> int:
        """See `PhaseScores`."""
        return self.whole.nbytes

    @property
    def extra_bytes(self) -> int:
        """Memory taken beside that of `whole`, whose bonds are shared."""
        return sum(one.nbytes - (0 if one.bonds is None else one.bonds.nbytes) for one in self.best)

    def sample(self) -> Float32:
        """See `PhaseScores`."""
        return np.take(self.whole.sample(), self.chosen, axis=1)

    def column(self, key: str) -> Float32:
        """See `PhaseScores`."""
        place_of(self.phases, key)
        return self.whole.column(key)

    def restricted(self, columns: Sequence[int]) -> ChosenScores:
        """See `PhaseScores`."""
        return ChosenScores(whole=self.whole, chosen=self.chosen[list(columns)])

    def labels(
        self, calibration: Calibration, weights: npt.NDArray[np.float64] | None, threshold: float, other: int | None
    ) -> Labels:
        """See `PhaseScores`."""
        return label(self.whole.logits, calibration, weights, threshold, other, chosen=self.chosen)

    def local_labels(self, calibration: Calibration, threshold: float, other: int | None) -> Labels:
        """See `PhaseScores`."""
        if not self.best:
            self.best.append(best_of(self.whole, self.chosen, calibration.temperature))
        return self.best[0].local_labels(calibration, threshold, other)


def best_of(whole: FullScores, chosen: npt.NDArray[np.int64], temperature: float) -> CompactScores:
    """Return the N_RIVALS best logits of every atom among the chosen columns, and the sums over these.

    `temperature` is that of the summary of `whole`.
    """
    summary, n_phases = whole.summary, len(whole.phases)
    if summary is None:
        raise TypeError("the best logits of every atom were not kept")
    left_out = np.setdiff1d(np.arange(n_phases), chosen)
    if _FEW * len(left_out) > len(chosen) or len(chosen) < N_RIVALS:
        return _looked_up(whole, chosen, temperature, whole.logits)
    place = np.full(n_phases, -1, dtype=np.int16)
    place[chosen] = np.arange(len(chosen))
    lost = whole.logits[:, left_out]
    columns, best = place[summary.best_columns[:, :N_RIVALS]], summary.best[:, :N_RIVALS].copy()
    density = _without(summary.log_density, lost)
    norm = _without(summary.log_norm, lost / np.float32(temperature))
    again = np.flatnonzero((columns < 0).any(axis=1))
    found = _looked_up(whole, chosen, temperature, whole.logits[again])
    columns[again], best[again] = found.best_columns, found.best
    density[again], norm[again] = found.log_density, found.log_norm
    return replace(found, best_columns=columns, best=best, log_density=density, log_norm=norm, bonds=summary.bonds)


def _looked_up(whole: FullScores, chosen: npt.NDArray[np.int64], temperature: float, logits: Float32) -> CompactScores:
    """Look at all chosen columns of some rows."""
    keeper = ScoreKeeper(
        len(logits), whole.phases, temperature, full=False, considered=chosen.tolist(), n_best=N_RIVALS
    )
    over_rows(lambda a, b: keeper.add(np.arange(a, b), logits[a:b]), len(logits), _ROWS)
    found = keeper.result(None if whole.summary is None else whole.summary.bonds)
    if not isinstance(found, CompactScores):
        raise TypeError("compact scores were asked for")
    return replace(found, sampled=found.sampled[:0])  # `ChosenScores.sample` has them


def _without(log_sum: Float32, lost: Float32) -> Float32:
    share = np.exp(np.minimum(lost - log_sum[:, None], 0.0)).sum(axis=1)
    return log_sum + np.log1p(-np.minimum(share, np.float32(0.999999)))
