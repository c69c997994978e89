"""Denoising: atoms climb the log-density to where they would be without thermal noise.

    r_a <- r_a + t g_a s^2 grad_a logP(r),    t = 1, halved as often as needed for logP not to fall

With noise of variance s^2 one step with t = g = 1 is the mean of the clean position given the noisy one (Tweedie's
formula: Robbins 1956, Efron, J. Am. Stat. Assoc. 106 (2011) 1602); a few steps take the rest off. The gain 0 < g_a <
1 of `step_damping` holds back steps no longer than the error of the model for the phase the atom had at first.
Length factor and species slots are those of the frame as it was given. The centre of mass is kept (the gradient keeps
it by itself, gains do not). Source: Kwon et al., arXiv:2512.11077; Hsu et al., npj Comput. Mater. 10 (2024) 155.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import FloatArray, Frame
from ovito_mace_phase.atoms.network_frame import NetworkFrame
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.runtime.watch import Watch

from .readout.keep import keep_logits
from .readout.kept_logits import KeptLogits
from .readout.labels import label_weighted, prior_of_frame
from .settings import MOST_STEPS
from .step_damping import NEARBY, step_gain

DEFAULT_STEPS = 8
TOLERANCE = 0.003
"""Rms step at which atoms count as at rest, network units (about a thousandth of the distance of neighbours)."""
_LONGEST = 0.4  # of one atom in one step, network units
_HALVINGS = 6
_ROUNDING = 1e-6  # of logP, relative: what float32 may lose between two evaluations


@dataclass(frozen=True, kw_only=True)
class Step:
    """One row of the convergence table.

    Attributes
    ----------
    number : int
        0 is the frame as given.
    size : float
        t.
    rms : float
        Root mean square over the atoms of the length of the step that was made, in the unit of the file.
    log_density : float
        logP per atom after the step.
    """

    number: int
    size: float
    rms: float
    log_density: float


@dataclass(frozen=True, kw_only=True)
class Denoised:
    """A frame without its thermal noise.

    Attributes
    ----------
    network_frame : NetworkFrame
        Atoms at their final positions, with the length factor and species slots of the frame as it was given; those
        that crossed a periodic boundary are not wrapped.
    displacement : (n_atoms, 3) float64
        Final minus given position, in the unit of the file.
    steps : tuple of Step
    converged : bool
        Whether the last step was shorter than the tolerance, or no step could raise logP.
    """

    network_frame: NetworkFrame
    displacement: FloatArray
    steps: tuple[Step, ...]
    converged: bool

    @property
    def frame(self) -> Frame:
        """The frame at the final positions."""
        return self.network_frame.frame

    def moved(self, moves: FloatArray) -> Denoised:
        """Return it with the final positions moved further, (n_atoms, 3), in the unit of the file."""
        there = self.network_frame.frame.positions + moves
        return replace(self, network_frame=self.network_frame.moved(there), displacement=self.displacement + moves)


def denoise(
    frame: Frame | NetworkFrame,
    model: PhaseModel,
    *,
    steps: int = DEFAULT_STEPS,
    tolerance: float = TOLERANCE,
    movable: npt.NDArray[np.bool_] | None = None,
    length_scale: float | None = None,
    kept: KeptLogits | None = None,
    memory: int | str | None = None,
    watch: Watch | None = None,
) -> Denoised:
    """Take the thermal noise off a frame.

    Parameters
    ----------
    frame : Frame or NetworkFrame
        Species already merged (`species.merge_species`).
    model : PhaseModel
        Trained end to end; its `noise_scale` is s.
    steps : int
        At most; 1 to 1000.
    tolerance : float
        Rms step at which to stop, network units.
    movable : (n_atoms,) bool, optional
        Atoms that may move; the others keep their places and still are neighbours.
    length_scale : float, optional
        Of a Frame, see `network_frame`.
    kept : KeptLogits, optional
        Of the frame as given, of all phases, where they are known: saves an evaluation.
    memory, watch
        See `PhaseModel.stream_logits`; the fraction counts steps.

    Raises
    ------
    InputError
        When the model has no density, or `steps` or `movable` cannot be used.
    """
    if not 1 <= steps <= MOST_STEPS:
        raise InputError(f"the number of denoising steps must be 1 to {MOST_STEPS}, not {steps}")
    if movable is not None and movable.shape != (len(frame),):
        raise InputError(f"movable must have the shape ({len(frame)},), one bool per atom, not {movable.shape}")
    watch = watch or Watch()
    model.noise_scale  # noqa: B018 - raises for a model that has none, before any work
    errors = model.step_errors
    start = frame if isinstance(frame, NetworkFrame) else model.network_frame(frame, length_scale, watch.cancelled)
    if not len(start):
        return Denoised(network_frame=start, displacement=np.zeros((0, 3)), steps=(), converged=True)
    free = np.ones(len(start), dtype=bool) if movable is None else movable
    if kept is not None and len(kept.phases) != len(errors):
        kept = None
    labelling = float(errors.any() and kept is None)  # is one more evaluation
    total = steps + 1 + labelling
    error = np.zeros(len(start))
    if errors.any():
        part = watch.part(0.0, 1.0 / total)
        kept = kept or keep_logits(start, model, full=False, memory=memory, watch=part)
        prior = prior_of_frame(kept, model.calibration.temperature)
        error = errors[label_weighted(kept, Calibration(), prior).column]

    ascent: Ascent | None = model.ascent(start, longest=_LONGEST, nearby=NEARBY, error=error, free=free, memory=memory)
    ascent = ascent or _HostAscent(start, model, error, free, memory)
    table, positions, converged = _climb(
        ascent,
        len(start),
        steps=steps,
        tolerance=tolerance / start.factor,
        watches=[watch.part((k + labelling) / total, (k + labelling + 1) / total) for k in range(steps + 1)],
    )
    return Denoised(
        network_frame=start.moved(positions),
        displacement=positions - start.frame.positions,
        steps=tuple(table),
        converged=converged,
    )


def _climb(
    ascent: Ascent[Places], n_atoms: int, *, steps: int, tolerance: float, watches: Sequence[Watch]
) -> tuple[list[Step], FloatArray, bool]:
    """Make the steps; return their table, the final positions, and whether the atoms came to rest."""
    here = ascent.start
    height, move = ascent.evaluate(here, watches[0])
    table = [Step(number=0, size=0.0, rms=0.0, log_density=height / n_atoms)]
    converged = halved = False
    for number in range(1, steps + 1):
        rms = ascent.rms(move)
        if rms < tolerance:
            converged = True
            break
        size, least = 1.0, height - _ROUNDING * abs(height)
        for trial in range(_HALVINGS):
            there = ascent.moved(here, size, move)
            if halved and trial == 0 and ascent.falls(there, least, watches[number]):
                size *= 0.5
                continue
            new_height, new_move = ascent.evaluate(there, watches[number])
            if new_height >= least:
                break
            size *= 0.5
        else:
            converged = True
            break
        halved = size < 1.0
        here, height, move = there, new_height, new_move
        table.append(Step(number=number, size=size, rms=size * rms, log_density=height / n_atoms))
    return table, ascent.positions(here), converged


Places = TypeVar("Places")
"""Positions or moves of the atoms, (n_atoms, 3), in the unit of the file: arrays, or tensors on a GPU."""


class Ascent(Protocol[Places]):
    """A frame on its way up the log-density: on the host, or on a GPU (`PhaseModel.ascent`)."""

    start: Places

    def evaluate(self, place: Places, watch: Watch) -> tuple[float, Places]:
        """Return logP at the positions `place`, and the proposed moves."""
        ...

    def falls(self, place: Places, least: float, watch: Watch) -> bool:
        """Say whether logP is known to be less than `least` at `place`, if that costs little."""
        ...

    def rms(self, move: Places) -> float:
        """Return the root mean square of the moves."""
        ...

    def moved(self, place: Places, size: float, move: Places) -> Places:
        """Return positions after a step of `size` times the moves."""
        ...

    def positions(self, place: Places) -> FloatArray:
        """Return positions on the host."""
        ...


class _HostAscent:
    """See `Ascent`."""

    def __init__(
        self,
        frame: NetworkFrame,
        model: PhaseModel,
        error: FloatArray,
        free: npt.NDArray[np.bool_],
        memory: int | str | None,
    ) -> None:
        self._frame, self._model, self._error, self._free, self._memory = frame, model, error, free, memory
        self.start = frame.frame.positions

    def evaluate(self, place: FloatArray, watch: Watch) -> tuple[float, FloatArray]:
        frame, free = self._frame.moved(place), self._free
        found = self._model.log_density_gradient(frame, memory=self._memory, watch=watch)
        move = found.gradient * (self._model.noise_scale / frame.factor) ** 2
        length = np.linalg.norm(move, axis=1, keepdims=True)
        move *= np.minimum(1.0, _LONGEST / frame.factor / np.maximum(length, 1e-300))
        move *= step_gain(frame.frame, move, self._error, frame.factor, free, watch.cancelled)[:, None]
        move[~free] = 0.0
        if free.all():
            move -= move.mean(axis=0)
        return float(found.log_density.sum()), move

    def falls(self, place: FloatArray, least: float, watch: Watch) -> bool:
        return False  # looking costs a third of an evaluation here too, but is seldom worth it

    def rms(self, move: FloatArray) -> float:
        return float(np.sqrt((move**2).sum(axis=1).mean()))

    def moved(self, place: FloatArray, size: float, move: FloatArray) -> FloatArray:
        return place + size * move

    def positions(self, place: FloatArray) -> FloatArray:
        return place
