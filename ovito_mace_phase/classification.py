"""Classify the atoms of one frame: the front door below OVITO.

classify = make_frame -> evaluate_logits (expensive) -> read_out (cheap: prior, threshold, choice of phases)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .confidence import label
from .errors import InputError
from .frame import Frame, make_frame
from .model import Device, PhaseModel
from .phases import Phase
from .prior import frame_prior
from .species import merge_species

Prior = Literal["uniform", "frame"] | Mapping[str, float]
OTHER_ID = 0


@dataclass(frozen=True, kw_only=True)
class ReadoutSettings:
    """How logits become labels.

    Attributes
    ----------
    prior : 'uniform', 'frame' or mapping
        Weights of the phases before an atom is looked at: all alike; estimated from the frame; or given by key
        (phases not named share weight 1 each).
    threshold : float
        Atoms whose confidence is lower become Other.
    phases : tuple of str, optional
        Keys of the phases to consider, OTHER is always among them; None considers all.
    """

    prior: Prior = "uniform"
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
    logits : (n_atoms, n_phases) float32
        Order parameters; columns as in `phases`.
    phases : tuple of Phase
        The phases that were considered.
    """

    phase: npt.NDArray[np.int32]
    confidence: npt.NDArray[np.float32]
    margin: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]
    phases: tuple[Phase, ...]

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
        """Return the logit of one phase, (n_atoms,) float32."""
        for column, phase in enumerate(self.phases):
            if phase.key == key:
                return self.logits[:, column]
        raise InputError(f"phase {key!r} is not among the {len(self.phases)} phases considered")


def classify(
    positions: npt.ArrayLike,
    species: Sequence[Any] | npt.ArrayLike | None,
    cell: npt.ArrayLike | None,
    pbc: npt.ArrayLike | None,
    *,
    model: PhaseModel | str | Path | None = None,
    species_spec: str | None = None,
    length_scale: float | Literal["auto"] = "auto",
    prior: Prior = "uniform",
    threshold: float = 0.0,
    phases: Sequence[str] | None = None,
    device: Device = "auto",
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
    device : 'auto', 'cpu' or 'cuda'
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
    loaded = model if isinstance(model, PhaseModel) else PhaseModel.load(model, device=device)
    logits = evaluate_logits(
        frame, loaded, species_spec=species_spec, length_scale=length_scale, progress=progress, cancelled=cancelled
    )
    return read_out(logits, loaded, settings)


def evaluate_logits(
    frame: Frame,
    model: PhaseModel,
    *,
    species_spec: str | None = None,
    length_scale: float | Literal["auto"] = "auto",
    progress: Callable[[float], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> npt.NDArray[np.float32]:
    """Return the logits of a frame, (n_atoms, n_phases) float32: the expensive part of `classify`."""
    scale = None if length_scale == "auto" else float(length_scale)
    return model.logits(merge_species(frame, species_spec), length_scale=scale, progress=progress, cancelled=cancelled)


def read_out(logits: npt.NDArray[np.float32], model: PhaseModel, settings: ReadoutSettings) -> PhaseResult:
    """Turn logits into labels, confidence and margin: the cheap part, for changed thresholds and choices."""
    if not 0.0 <= settings.threshold <= 1.0:
        raise InputError(f"the confidence threshold must lie between 0 and 1, not {settings.threshold}")
    columns = _columns(model.phases, settings.phases)
    phases = tuple(model.phases[column] for column in columns)
    if len(columns) < len(model.phases):
        logits = logits[:, columns]
    weights = _weights(settings.prior, phases, logits, model.calibration.temperature)
    other = next((column for column, phase in enumerate(phases) if phase.id == OTHER_ID), None)
    column, confidence, margin = label(logits, model.calibration, weights, settings.threshold, other)
    ids = np.array([phase.id for phase in phases] + [OTHER_ID], dtype=np.int32)
    return PhaseResult(phase=ids[column], confidence=confidence, margin=margin, logits=logits, phases=phases)


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


def _weights(
    prior: Prior, phases: Sequence[Phase], logits: npt.NDArray[np.float32], temperature: float
) -> npt.NDArray[np.float64] | None:
    if prior == "uniform":
        return None
    if prior == "frame":
        return frame_prior(logits, temperature)
    if not isinstance(prior, Mapping):
        raise InputError(f"prior must be 'uniform', 'frame' or a mapping of phase keys to weights, not {prior!r}")
    keys = [phase.key for phase in phases]
    for key, weight in prior.items():
        if key not in keys:
            raise InputError(f"the prior names the phase {key!r}, which is not considered")
        if not (np.isfinite(weight) and weight >= 0):
            raise InputError(f"the prior weight of {key} must be a number of at least 0, not {weight}")
    return np.array([float(prior.get(key, 1.0)) for key in keys])
