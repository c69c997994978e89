"""Denoising: atoms climb the log-density to where they would be without thermal noise.

    r_a <- r_a + t g_a s^2 grad_a logP(r),    t = 1, halved as often as needed for logP not to fall

With noise of variance s^2 one step with t = g = 1 is the mean of the clean position given the noisy one (Tweedie's
formula: Robbins 1956, Efron, J. Am. Stat. Assoc. 106 (2011) 1602); a few steps take the rest off. The gain 0 < g_a <
1 of `step_damping` holds back steps no longer than the error of the model for the phase the atom had at first.
Length factor and species slots are those of the frame as it was given. The centre of mass is kept (the gradient keeps
it by itself, gains do not). Source: Kwon et al., arXiv:2512.11077; Hsu et al., npj Comput. Mater. 10 (2024) 155.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import FloatArray, Frame
from ovito_mace_phase.atoms.network_frame import NetworkFrame
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.runtime.watch import Watch

from .readout.kept_logits import KeptLogits, LogitKeeper
from .readout.labels import label_weighted, prior_of_frame
from .settings import MOST_STEPS
from .step_damping import step_gain

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
    scale, errors = model.noise_scale, model.step_errors
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
        kept = kept or _kept(start, model, memory, watch.part(0.0, 1.0 / total))
        prior = prior_of_frame(kept, model.calibration.temperature)
        error = errors[label_weighted(kept, Calibration(), prior).column]

    def evaluate(place: NetworkFrame, done: int) -> tuple[float, FloatArray]:
        part = watch.part((done + labelling) / total, (done + labelling + 1) / total)
        found = model.log_density_gradient(place, memory=memory, watch=part)
        move = found.gradient * (scale / place.factor) ** 2
        length = np.linalg.norm(move, axis=1, keepdims=True)
        move *= np.minimum(1.0, _LONGEST / place.factor / np.maximum(length, 1e-300))
        move *= step_gain(place.frame, move, error, place.factor, free, watch.cancelled)[:, None]
        move[~free] = 0.0
        if free.all():
            move -= move.mean(axis=0)
        return float(found.log_density.sum()), move

    here = start
    height, move = evaluate(here, 0)
    table = [Step(number=0, size=0.0, rms=0.0, log_density=height / len(start))]
    converged = False
    for number in range(1, steps + 1):
        rms = float(np.sqrt((move**2).sum(axis=1).mean()))
        if rms * start.factor < tolerance:
            converged = True
            break
        size = 1.0
        for _ in range(_HALVINGS):
            there = here.moved(here.frame.positions + size * move)
            new_height, new_move = evaluate(there, number)
            if new_height >= height - _ROUNDING * abs(height):
                break
            size *= 0.5
        else:
            converged = True
            break
        here, height, move = there, new_height, new_move
        table.append(Step(number=number, size=size, rms=size * rms, log_density=height / len(start)))
    return Denoised(
        network_frame=here,
        displacement=here.frame.positions - start.frame.positions,
        steps=tuple(table),
        converged=converged,
    )


def _kept(frame: NetworkFrame, model: PhaseModel, memory: int | str | None, watch: Watch) -> KeptLogits:
    """Evaluate the logits of a frame and keep the best of each atom."""
    keeper = LogitKeeper(frame, model.phases, model.calibration.temperature, full=False)
    model.stream_logits(frame, keeper.add, memory=memory, watch=watch)
    return keeper.result()
