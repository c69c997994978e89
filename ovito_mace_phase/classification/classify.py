"""Classify the atoms of one frame: the front door below OVITO.

classify = make_frame -> evaluate_scores (expensive) -> read_out (cheap: prior, threshold, choice of phases)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame, make_frame
from ovito_mace_phase.atoms.network_frame import Units
from ovito_mace_phase.atoms.species import merge_species
from ovito_mace_phase.model.phase_model import Backend, Device, PhaseModel
from ovito_mace_phase.phases import Phase
from ovito_mace_phase.runtime.errors import InputError

from .readout.chosen_logits import ChosenScores
from .readout.frame_prior import frame_prior
from .readout.logits import FULL_BYTES, FullScores, PhaseScores

if TYPE_CHECKING:
    from .denoise import Denoised

Prior = Literal["local", "uniform", "frame"] | Mapping[str, float]
OTHER_ID = 0
FORWARD_SHARE = 0.05
"""About what one evaluation takes of the time of denoising in eight steps."""


@dataclass(frozen=True, kw_only=True)
class ReadoutSettings:
    """How logits become labels.

    Attributes
    ----------
    prior : 'local', 'uniform', 'frame' or mapping
        Weights of the phases before an atom is looked at: what its nearest neighbours are; all alike; estimated from
        the frame; or given by key (phases not named share weight 1 each).
    threshold : float
        Atoms whose confidence is lower become Other.
    phases : tuple of str, optional
        Keys of the phases to consider, OTHER is always among them; None considers all. With a choice the density
        thresholds of single phases are off: atoms of phases left out go to the nearest one.
    """

    prior: Prior = "local"
    threshold: float = 0.0
    phases: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class PhaseResult:
    """Phases of the atoms of one frame.

    Attributes
    ----------
    phase : (n_atoms,) int32
        Phase ids of the table, 0 is Other.
    confidence : (n_atoms,) float32
        Calibrated probability of the label, 0 to 1.
    margin : (n_atoms,) float32
        Best minus second-best logit.
    scores : PhaseScores
        What was kept of the logits, of the phases that were considered.
    denoised : Denoised or None
        With denoising: the final positions, to which all of the above belongs.
    before : PhaseResult or None
        With denoising: the result of the frame as given.
    """

    phase: npt.NDArray[np.int32]
    confidence: npt.NDArray[np.float32]
    margin: npt.NDArray[np.float32]
    scores: PhaseScores
    denoised: Denoised | None = None
    before: PhaseResult | None = None

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases that were considered."""
        return self.scores.phases

    @property
    def logits(self) -> npt.NDArray[np.float32]:
        """All order parameters, (n_atoms, n_phases) float32, columns as in `phases`; raises InputError if not kept."""
        if not isinstance(self.scores, (FullScores, ChosenScores)):
            size = 4e-9 * len(self.phase) * len(self.phases)
            raise InputError(
                f"the logits of this frame ({size:.1f} GB) were not kept: ask for single phases with "
                "order_parameters=[...], or for all with keep_logits=True"
            )
        return self.scores.logits

    def counts(self) -> dict[str, int]:
        """Return key -> number of atoms of every phase that occurs, most frequent first."""
        ids, numbers = np.unique(self.phase, return_counts=True)
        key = {OTHER_ID: "OTHER"} | {phase.id: phase.key for phase in self.phases}
        order = np.argsort(-numbers, kind="stable")
        return {key[int(ids[k])]: int(numbers[k]) for k in order}

    def fractions(self) -> dict[str, float]:
        """Return key -> share of the atoms of every phase that occurs."""
        return {key: count / len(self.phase) for key, count in self.counts().items()}

    def order_parameter(self, key: str) -> npt.NDArray[np.float32]:
        """Return the logit of one phase, (n_atoms,) float32.

        In a frame whose logits were not kept it is exact for the phases named in `order_parameters`; for others it is
        exact where the phase is among the eight best of an atom, and elsewhere the eighth, the most it can be.
        """
        return self.scores.column(key)


def classify(
    positions: npt.ArrayLike,
    species: Sequence[Any] | npt.ArrayLike | None,
    cell: npt.ArrayLike | None,
    pbc: npt.ArrayLike | None,
    *,
    model: PhaseModel | str | Path | None = None,
    species_spec: str | None = None,
    length_scale: float | Literal["auto"] = "auto",
    prior: Prior = "local",
    threshold: float = 0.0,
    phases: Sequence[str] | None = None,
    denoise_steps: int = 0,
    order_parameters: Sequence[str] = (),
    keep_logits: bool | None = None,
    memory: int | str | None = None,
    device: Device = "auto",
    backend: Backend = "engine",
    progress: Callable[[float], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> PhaseResult:
    """Give every atom its phase.

    Parameters
    ----------
    positions : (n_atoms, 3) array
        In any length unit; `cell` in the same.
    species : (n_atoms,) integers or strings, or None
        Equal means alike; which element it is plays no role. None: all alike.
    cell : (3, 3) array or None
        Rows are lattice vectors; None means open boundaries.
    pbc : (3,) bool or bool or None
    model : PhaseModel, path or None
        None loads the shipped weights; load once and pass the model when there are many frames.
    species_spec : str, optional
        Merges species: "1,2 3", or "ignore" (see `species.merge_species`).
    length_scale : float or 'auto'
        Cube root of the volume per atom; 'auto' takes it from the local density.
    prior, threshold, phases
        See `ReadoutSettings`.
    denoise_steps : int
        Take the thermal noise off first, in at most so many steps (`denoising.denoise`; 8 is a good number); the result
        then belongs to the final positions, and that of the frame as given is in `before`. 0: no denoising.
    order_parameters : sequence of str
        Keys of phases whose logits are wanted for every atom, whatever the size of the frame.
    keep_logits : bool, optional
        Keep the logits of all phases; default: where they take no more than 512 MB (240,000 atoms).
    memory : int or str, optional
        Bytes that the features of the network may take, or a text such as "2G"; default a quarter of what is free, at
        most 1 GiB. The answer does not depend on it.
    device : 'auto', 'cpu' or 'cuda'
    backend : 'engine' or 'mace'
        'mace' evaluates the same network by stock mace-torch, to check the engine: small frames only, and slow.
    progress : callable, optional
        Called with the fraction done.
    cancelled : callable, optional
        True stops with `CancelledError`.

    Raises
    ------
    InputError, ModelFileError

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ovito_mace_phase import classify
    >>> crystal = bulk("Cu", cubic=True) * (3, 3, 3)
    >>> result = classify(crystal.positions, crystal.numbers, crystal.cell[:], True)
    >>> result.counts()
    {'FCC': 108}
    """
    settings = ReadoutSettings(prior=prior, threshold=threshold, phases=None if phases is None else tuple(phases))
    frame = make_frame(positions, species, cell, pbc)
    loaded = model if isinstance(model, PhaseModel) else PhaseModel.load(model, device=device, backend=backend)
    wanted = EvaluationSettings(
        species_spec=species_spec,
        length_scale=None if length_scale == "auto" else float(length_scale),
        phases=settings.phases,
        order_parameters=tuple(order_parameters),
        keep_logits=keep_logits,
        memory=memory,
    )
    first, second = in_parts(progress, FORWARD_SHARE if denoise_steps else 1.0)
    given = evaluate_scores(frame, loaded, wanted, progress=first, cancelled=cancelled)
    result = read_out(given, loaded, settings)
    if not denoise_steps:
        return result
    scores, denoised = denoised_scores(
        frame, loaded, wanted, denoise_steps, given=given, progress=second, cancelled=cancelled
    )
    return dataclasses.replace(read_out(scores, loaded, settings), denoised=denoised, before=result)


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What the network is asked; see `classify`.

    `phases` matters only where not all logits are kept; `length_scale` None is taken from the local density.
    """

    species_spec: str | None = None
    length_scale: float | None = None
    phases: tuple[str, ...] | None = None
    order_parameters: tuple[str, ...] = ()
    keep_logits: bool | None = None
    memory: int | str | None = None

    def keeps_logits(self, n_atoms: int, n_phases: int) -> bool:
        """Whether all logits of a frame are kept."""
        return 4 * n_atoms * n_phases <= FULL_BYTES if self.keep_logits is None else self.keep_logits


def units_of(
    frame: Frame, model: PhaseModel, settings: EvaluationSettings, cancelled: Callable[[], bool] | None = None
) -> Units:
    """Return the length factor and the carriers of a frame, for `evaluate_scores`."""
    return model.units(merge_species(frame, settings.species_spec), settings.length_scale, cancelled)


def evaluate_scores(
    frame: Frame,
    model: PhaseModel,
    settings: EvaluationSettings | None = None,
    *,
    units: Units | None = None,
    progress: Callable[[float], None] | None = None,
    status: Callable[[str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> PhaseScores:
    """Return the scores of a frame: the expensive part of `classify`.

    `units` are those of another frame of these atoms; `status` gets a text when kernels have to be compiled first.
    """
    wanted = settings or EvaluationSettings()
    considered = _columns(model.phases, wanted.phases)
    for key in wanted.order_parameters:
        if key not in {phase.key for phase in model.phases}:
            raise InputError(f"order_parameters: the model was not trained on the phase {key!r}")
    return model.scores(
        merge_species(frame, wanted.species_spec),
        length_scale=wanted.length_scale,
        units=units,
        full=wanted.keeps_logits(len(frame), len(model.phases)),
        considered=considered,
        keys=wanted.order_parameters,
        memory=wanted.memory,
        progress=progress,
        status=status,
        cancelled=cancelled,
    )


def denoised_scores(
    frame: Frame,
    model: PhaseModel,
    settings: EvaluationSettings,
    steps: int,
    *,
    given: PhaseScores | None = None,
    progress: Callable[[float], None] | None = None,
    status: Callable[[str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[PhaseScores, Denoised]:
    """Denoise a frame and return the scores at its final positions, and the way there.

    `given` are the scores of the frame as it is, where they are known.
    """
    from .denoise import denoise

    first, second = in_parts(progress, 1.0 - FORWARD_SHARE)
    denoised = denoise(
        merge_species(frame, settings.species_spec),
        model,
        steps=steps,
        length_scale=settings.length_scale,
        scores=given,
        memory=settings.memory,
        progress=first,
        status=status,
        cancelled=cancelled,
    )
    moved = dataclasses.replace(frame, positions=denoised.frame.positions)
    scores = evaluate_scores(
        moved, model, settings, units=denoised.units, progress=second, status=status, cancelled=cancelled
    )
    return scores, denoised


def in_parts(
    progress: Callable[[float], None] | None, first: float
) -> tuple[Callable[[float], None] | None, Callable[[float], None] | None]:
    """Return the progress of two parts of a task, of which the first takes the share `first`."""
    if progress is None:
        return None, None
    return lambda done: progress(first * done), lambda done: progress(first + (1.0 - first) * done)


def read_out(scores: PhaseScores, model: PhaseModel, settings: ReadoutSettings) -> PhaseResult:
    """Turn scores into labels, confidence and margin: the cheap part, for changed thresholds and choices."""
    if not 0.0 <= settings.threshold <= 1.0:
        raise InputError(f"the confidence threshold must lie between 0 and 1, not {settings.threshold}")
    calibration = model.calibration
    if len(scores.phases) == len(model.phases):
        calibration = calibration.of(model.phases) if settings.phases is None else calibration
        columns = _columns(model.phases, settings.phases)
        scores = scores.restricted(columns) if len(columns) < len(model.phases) else scores
    other = next((column for column, phase in enumerate(scores.phases) if phase.id == OTHER_ID), None)
    if settings.prior == "local":
        column, confidence, margin = scores.local_labels(calibration, settings.threshold, other)
    else:
        weights = _weights(settings.prior, scores, model.calibration.temperature)
        column, confidence, margin = scores.labels(calibration, weights, settings.threshold, other)
    ids = np.array([phase.id for phase in scores.phases] + [OTHER_ID], dtype=np.int32)
    return PhaseResult(phase=ids[column], confidence=confidence, margin=margin, scores=scores)


def _columns(phases: Sequence[Phase], wanted: tuple[str, ...] | None) -> list[int]:
    """Columns of the wanted phases, with OTHER."""
    if wanted is None:
        return list(range(len(phases)))
    keys = [phase.key for phase in phases]
    unknown = [key for key in wanted if key not in keys]
    if unknown:
        raise InputError(f"the model does not know the phase {unknown[0]!r}; `ovito-mace-phase phases` lists the keys")
    if not any(key != "OTHER" for key in wanted):
        raise InputError("no phase is left to consider; name at least one besides OTHER")
    return [column for column, key in enumerate(keys) if key in wanted or key == "OTHER"]


def _weights(prior: Prior, scores: PhaseScores, temperature: float) -> npt.NDArray[np.float64] | None:
    if prior == "uniform":
        return None
    if prior == "frame":
        if temperature not in scores.priors:
            scores.priors[temperature] = frame_prior(scores.sample(), temperature)
        return scores.priors[temperature]
    if not isinstance(prior, Mapping):
        raise InputError(
            f"prior must be 'local', 'uniform', 'frame' or a mapping of phase keys to weights, not {prior!r}"
        )
    keys = [phase.key for phase in scores.phases]
    for key, weight in prior.items():
        if key not in keys:
            raise InputError(f"the prior names the phase {key!r}, which is not considered")
        if not (np.isfinite(weight) and weight >= 0):
            raise InputError(f"the prior weight of {key} must be a number of at least 0, not {weight}")
    return np.array([float(prior.get(key, 1.0)) for key in keys])
