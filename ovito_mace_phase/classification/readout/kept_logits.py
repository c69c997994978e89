"""Logits that are kept of a frame: the best few of each atom, their sums, and for a small frame all of them.

    of each atom  the N_BEST largest logits, logsumexp_c l and logsumexp_c l / T
    of some       all logits of every k-th atom, for the prior of the frame; the columns asked for, of every atom
    small frames  (n_atoms, n_phases) float32: any prior and any choice of phases is then answered exactly

That is some 60 bytes an atom without all logits. Label and confidence under the uniform and the local prior are exact
in both cases. Under another prior the phases that are not kept count with the most they can be, so that a confidence is
never too high.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.network_frame import NetworkFrame
from ovito_mace_phase.phases import Phase
from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.runtime.held_array import HeldArray
from ovito_mace_phase.runtime.threads import over_rows

from .kernels_keep import keep_rows

Float32 = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
N_BEST = 8
SAMPLE = 20000
FULL_BYTES = 512 * 2**20
"""Frames whose logits take no more than this keep all of them by default."""
_ROWS = 1024  # of a piece for one thread: they stay in the cache
_FEW = 8  # times as many phases are chosen as are left out


@dataclass(frozen=True, kw_only=True)
class KeptLogits:
    """Logits of the atoms of a frame for `phases`.

    Attributes
    ----------
    frame : NetworkFrame
        The atoms they belong to.
    phases : tuple of Phase
        The phases under consideration.
    best_columns : (n_atoms, n_best) int16
        Places in `phases`.
    best : (n_atoms, n_best) float32
        Largest first.
    log_density, log_norm : (n_atoms,) float32
        logsumexp of l, and of l / T, over `phases`.
    sampled : (n_sampled, n_phases) float32
        On a GPU until it is asked for, where the frame ran there, and so are `all_logits`.
    columns : mapping
        Key -> logits of a phase, (n_atoms,); empty where all logits are kept.
    all_logits : (n_atoms, n_all) float32 or None
        Of all phases of the model.
    chosen : (n_phases,) int64 or None
        Columns of `all_logits` that `phases` are; None: all.
    device : str
        What they were evaluated on, see `PhaseModel.device`.
    found : dict
        What was worked out from these logits, kept for the next change of a setting.
    """

    frame: NetworkFrame
    phases: tuple[Phase, ...]
    best_columns: npt.NDArray[np.int16]
    best: Float32
    log_density: Float32
    log_norm: Float32
    sampled: Float32 | HeldArray
    columns: Mapping[str, Float32] = field(default_factory=dict)
    all_logits: Float32 | HeldArray | None = None
    chosen: IntArray | None = None
    device: str = "cpu"
    found: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.best)

    @property
    def nbytes(self) -> int:
        """Memory taken, bytes, that of the frame and of what was worked out included."""
        arrays = (self.best, self.log_density, self.log_norm, self.sampled, *self.columns.values())
        everything = 0 if self.all_logits is None else self.all_logits.nbytes
        fits = [value for key, value in self.found.items() if isinstance(key, tuple) and key[0] == "fits"]
        further = sum(part.nbytes for parts in fits for part in parts)
        kept = self.best_columns.nbytes + sum(array.nbytes for array in arrays)
        return self.frame.nbytes + everything + kept + further

    @property
    def logits(self) -> Float32:
        """All logits, (n_atoms, n_phases) float32; raises InputError if they were not kept."""
        if self.all_logits is None:
            size = 4e-9 * len(self) * len(self.phases)
            raise InputError(
                f"the logits of this frame ({size:.1f} GB) were not kept: ask for single phases with "
                "order_parameters=[...], or for all with keep_logits=True"
            )
        return np.asarray(self.all_logits) if self.chosen is None else self.all_logits[:, self.chosen]

    def sample(self) -> Float32:
        """Return logits of atoms taken at equal strides, at most SAMPLE of them, (n_sampled, n_phases)."""
        if self.all_logits is None:
            return np.asarray(self.sampled)
        rows = self.all_logits[:: stride_of(len(self))]
        return rows if self.chosen is None else np.take(rows, self.chosen, axis=1)

    def column(self, key: str) -> Float32:
        """Return the logit of a phase, (n_atoms,).

        Where it was not kept, and is not among the best of an atom, the least of those: the most it can be there.
        """
        if key in self.columns:
            return self.columns[key]
        place = column_of(self.phases, key)
        if self.all_logits is not None:
            return self.all_logits[:, place if self.chosen is None else self.chosen[place]]
        hit = self.best_columns == place
        return np.where(hit.any(axis=1), np.where(hit, self.best, 0.0).sum(axis=1), self.best[:, -1])

    def restricted(self, columns: Sequence[int], temperature: float) -> KeptLogits:
        """Return what is kept for some of the phases of the model; the last choice is remembered.

        Raises
        ------
        InputError
            Where not all logits were kept.
        """
        wanted = tuple(columns)
        if wanted == tuple(range(len(self.phases))):
            return self
        if self.all_logits is None:
            raise InputError(
                "the logits of this frame were kept for other phases: evaluate it again with the phases to consider"
            )
        if self.found.get("choice") != (wanted, temperature):
            self.found["choice"] = (wanted, temperature)
            self.found["restricted"] = _restricted(self, np.asarray(self.all_logits), np.asarray(wanted), temperature)
        return self.found["restricted"]


class LogitKeeper:
    """Collects what is kept, from logits that arrive in blocks.

    Parameters
    ----------
    frame : NetworkFrame
    phases : tuple of Phase
        Columns of the logits that come in.
    temperature : float
    full : bool
        Keep all logits.
    considered : sequence of int, optional
        Columns to look at, when not all logits are kept; default all.
    keys : sequence of str
        Phases whose logits are kept for every atom.
    """

    def __init__(
        self,
        frame: NetworkFrame,
        phases: tuple[Phase, ...],
        temperature: float,
        *,
        full: bool,
        considered: Sequence[int] | None = None,
        keys: Sequence[str] = (),
    ) -> None:
        n_atoms = len(frame)
        self._frame, self._all_phases, self._temperature = frame, phases, temperature
        self._considered = None if considered is None or full else np.asarray(considered, dtype=np.int64)
        self._phases = phases if self._considered is None else tuple(phases[k] for k in self._considered)
        self._logits = np.zeros((n_atoms, len(phases)), dtype=np.float32) if full else None
        self._stride = n_atoms + 1 if full else stride_of(n_atoms)
        self._rows = _Rows.empty(n_atoms, min(N_BEST, len(self._phases)))
        self._sampled = np.zeros((-(-n_atoms // self._stride), len(self._phases)), dtype=np.float32)
        self._columns = {} if full else {key: np.zeros(n_atoms, dtype=np.float32) for key in keys}

    def add(self, atoms: IntArray, logits: Float32) -> None:
        """Take the logits (n, n_phases) of some atoms; safe from several threads for different atoms."""
        for key, column in self._columns.items():
            column[atoms] = logits[:, column_of(self._all_phases, key)]
        if self._considered is not None:
            logits = take_columns(logits, self._considered)
        self._rows.keep(atoms, logits, self._temperature, self._logits, self._stride, self._sampled)

    def result(self) -> KeptLogits:
        """Return what was kept."""
        return KeptLogits(
            frame=self._frame,
            phases=self._phases,
            **vars(self._rows),
            sampled=self._sampled,
            columns=self._columns,
            all_logits=self._logits,
        )


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """The part that is kept of every atom; see `KeptLogits`."""

    best_columns: npt.NDArray[np.int16]
    best: Float32
    log_density: Float32
    log_norm: Float32

    @classmethod
    def empty(cls, n_rows: int, n_best: int) -> _Rows:
        density, norm = np.zeros((2, n_rows), dtype=np.float32)
        return cls(
            best_columns=np.zeros((n_rows, n_best), dtype=np.int16),
            best=np.zeros((n_rows, n_best), dtype=np.float32),
            log_density=density,
            log_norm=norm,
        )

    def keep(
        self,
        atoms: IntArray,
        logits: Float32,
        temperature: float,
        all_logits: Float32 | None = None,
        stride: int = 0,
        sampled: Float32 | None = None,
    ) -> None:
        """Write what is kept of the logits (n, n_phases) of some atoms; see `kernels_keep.keep_rows`."""
        nothing = np.empty((0, logits.shape[1]), dtype=np.float32)
        keep_rows(
            logits,
            atoms,
            np.float32(1.0 / temperature),
            self.best_columns,
            self.best,
            self.log_density,
            self.log_norm,
            nothing if all_logits is None else all_logits,
            stride,
            nothing if sampled is None else sampled,
        )


def _restricted(kept: KeptLogits, logits: Float32, chosen: IntArray, temperature: float) -> KeptLogits:
    """Return what is kept for the chosen columns of all logits.

    Where few phases are left out, the sums over the others follow from those over all,

        log sum_chosen exp(l) = log sum_all exp(l) + log(1 - sum_left_out exp(l - log sum_all exp(l))),

    and so do the best phases of the atoms that have none of those left out among their best.
    """
    left_out = np.setdiff1d(np.arange(logits.shape[1]), chosen)
    n_best = min(N_BEST, len(chosen))
    rows = _Rows.empty(len(kept), n_best)
    again = np.arange(len(kept))
    if _FEW * len(left_out) <= len(chosen) and kept.best.shape[1] == n_best:
        place = np.full(logits.shape[1], -1, dtype=np.int16)
        place[chosen] = np.arange(len(chosen))
        lost = logits[:, left_out]
        rows.best_columns[:], rows.best[:] = place[kept.best_columns], kept.best
        rows.log_density[:] = _without(kept.log_density, lost)
        rows.log_norm[:] = _without(kept.log_norm, lost / np.float32(temperature))
        again = np.flatnonzero((rows.best_columns < 0).any(axis=1))

    def look(first: int, last: int) -> None:
        atoms = again[first:last]
        part = logits[first:last] if len(again) == len(kept) else logits[atoms]
        rows.keep(atoms, take_columns(part, chosen), temperature)

    over_rows(look, len(again), _ROWS)
    return dataclasses.replace(
        kept, phases=tuple(kept.phases[column] for column in chosen), **vars(rows), chosen=chosen, found={}
    )


def _without(log_sum: Float32, lost: Float32) -> Float32:
    share = np.exp(np.minimum(lost - log_sum[:, None], 0.0)).sum(axis=1)
    return log_sum + np.log1p(-np.minimum(share, np.float32(0.999999)))


def take_columns(logits: Float32, chosen: IntArray) -> Float32:
    """Return a copy of some of the columns; a list that leaves out a few is copied run by run, which is faster."""
    ends = np.flatnonzero(np.diff(chosen) != 1) + 1
    if 8 * (len(ends) + 1) > len(chosen):
        return np.take(logits, chosen, axis=1, mode="clip")
    firsts, lasts = np.append(0, ends), np.append(ends, len(chosen))
    runs = [logits[:, chosen[a] : chosen[b - 1] + 1] for a, b in zip(firsts, lasts, strict=True)]
    return np.concatenate(runs, axis=1)


def stride_of(n_atoms: int) -> int:
    """Return the stride of the sample."""
    return max(1, -(-n_atoms // SAMPLE))


def column_of(phases: Sequence[Phase], key: str) -> int:
    """Return the column of a phase; InputError if it is not among them."""
    for place, phase in enumerate(phases):
        if phase.key == key:
            return place
    raise InputError(f"phase {key!r} is not among the {len(phases)} phases considered")
