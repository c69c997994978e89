"""Positions, types, cell -> phase, confidence and order parameters of every atom: the main function below OVITO.

make_frame -> merge_species -> network_frame_of -> logits_of -> (denoised) -> result_of          see `stages`
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame, make_frame
from ovito_mace_phase.atoms.species import merge_species
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.model.store import get_model
from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.runtime.watch import Watch

from .result import PhaseResult
from .settings import Backend, Defects, Device, Prior, Sampling, Settings, Verify
from .stages import FORWARD_SHARE, denoised, logits_of, network_frame_of, result_of, result_of_sample, sample_of


@runtime_checkable
class AtomsLike(Protocol):
    """What is read of ase.Atoms."""

    positions: npt.NDArray[np.float64]
    numbers: npt.NDArray[np.int64]
    cell: Any
    pbc: npt.NDArray[np.bool_]


def classify(  # noqa: PLR0913 - the public signature
    positions: npt.ArrayLike | AtomsLike,
    types: Sequence[Any] | npt.ArrayLike | None = None,
    cell: npt.ArrayLike | None = None,
    pbc: npt.ArrayLike | None = None,
    *,
    species: str | None = "auto",
    length_scale: float | None = None,
    phases: Sequence[str] | None = None,
    prior: Prior = "local",
    confidence_threshold: float = 0.0,
    verify: Verify = "auto",
    rmsd_cutoff: float = 0.0,
    defects: Defects = "other",
    sampling: Sampling = "auto",
    denoise_steps: int = 0,
    order_parameters: Sequence[str] | None = None,
    distances: bool = False,
    model: PhaseModel | str | Path | None = None,
    device: Device = "auto",
    backend: Backend = "engine",
    memory: int | str | None = None,
    keep_logits: bool | None = None,
    progress: Callable[[float], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    **old_names: Any,
) -> PhaseResult:
    """Assign every atom a phase.

    Parameters
    ----------
    positions : (n_atoms, 3) array, or ase.Atoms
        In any length unit; `cell` in the same. Of ase.Atoms its types, cell and pbc are taken where none are given.
    types : (n_atoms,) integers or strings, or None
        Atoms with equal values are of one species; which element it is plays no role. None: all are of one.
    cell : (3, 3) array or None
        Rows are lattice vectors; None means open boundaries.
    pbc : (3,) bool or bool or None
        Periodic directions; None: all, where there is a cell.
    species, length_scale, phases, prior, confidence_threshold, verify, rmsd_cutoff, defects, sampling, denoise_steps, \
    order_parameters, distances, device, backend, memory, keep_logits
        See `Settings`.
    model : PhaseModel, str, Path or None
        A model in memory, the name of a model, or the path of a model file; None is the shipped one. A model that was
        read stays in memory.
    progress : callable, optional
        Called with the fraction done.
    cancelled : callable, optional
        True stops with `CancelledError`.

    Returns
    -------
    PhaseResult
        With denoising it belongs to the final positions, and `before` is the result of the original frame.

    Warns
    -----
    UserWarning
        When atoms lie at the place of others: how many, of which types, and what to do.

    Raises
    ------
    InputError, ModelFileError
        Naming the value that cannot be used and what to do.
    TypeError
        For a name that is no parameter.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ovito_mace_phase import classify
    >>> crystal = bulk("Cu", cubic=True) * (3, 3, 3)
    >>> result = classify(crystal)
    >>> result.counts()
    {'FCC': 108}
    """
    positions, types, cell, pbc = _unpacked(positions, types, cell, pbc)
    types, species, confidence_threshold = _new_names(types, species, confidence_threshold, old_names)
    settings = Settings(
        species=species,
        length_scale=None if length_scale == "auto" else length_scale,
        phases=_keys("phases", phases),
        prior=prior,
        confidence_threshold=confidence_threshold,
        verify=verify,
        rmsd_cutoff=rmsd_cutoff,
        defects=defects,
        sampling=sampling,
        denoise_steps=denoise_steps,
        order_parameters=_keys("order_parameters", order_parameters),
        distances=distances,
        model=None if isinstance(model, PhaseModel) or model is None else str(model),
        device=device,
        backend=backend,
        memory=memory,
        keep_logits=keep_logits,
    )
    frame = merge_species(make_frame(positions, types, cell, pbc), settings.species)
    loaded = model if isinstance(model, PhaseModel) else get_model(model, device, backend)
    result = classify_frame(frame, loaded, settings, Watch(progress=progress, cancelled=cancelled))
    for note in result.notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    return result


def _unpacked(
    positions: npt.ArrayLike | AtomsLike,
    types: Sequence[Any] | npt.ArrayLike | None,
    cell: npt.ArrayLike | None,
    pbc: npt.ArrayLike | None,
) -> tuple[npt.ArrayLike, Sequence[Any] | npt.ArrayLike | None, npt.ArrayLike | None, npt.ArrayLike | None]:
    """Return the arrays of ase.Atoms, those that were given first; arrays as they are."""
    if isinstance(positions, AtomsLike):
        atoms = positions
        rows = np.asarray(atoms.cell) if cell is None else cell
        types = atoms.numbers if types is None else types
        return atoms.positions, types, rows if np.any(rows) else None, atoms.pbc if pbc is None else pbc
    return positions, types, cell, pbc


def classify_frame(frame: Frame, model: PhaseModel, settings: Settings, watch: Watch | None = None) -> PhaseResult:
    """Take a frame, whose types are merged where the user named groups, through the stages."""
    watch = watch or Watch()
    share = FORWARD_SHARE if settings.denoise_steps else 1.0
    here = network_frame_of(frame, model, settings, watch.cancelled)
    if not settings.order_parameters and (known := sample_of(here, model, settings, watch)) is not None:
        return result_of_sample(known, model, settings, watch)
    kept = logits_of(here, model, settings, watch.part(0.0, share))
    after = denoised(kept, model, settings, watch.part(share, 1.0)) if settings.denoise_steps else None
    return result_of(kept, model, settings, after, watch)


def _keys(name: str, keys: Sequence[str] | None) -> tuple[str, ...] | None:
    if isinstance(keys, str):
        raise InputError(f"{name} must be a list of phase keys, such as ['FCC', 'HCP'], not {keys!r}")
    return None if keys is None else tuple(keys)


def _new_names(types: Any, species: Any, threshold: float, old: dict[str, Any]) -> tuple[Any, str | None, float]:
    """Take the keywords of version 0.1, with a warning: `species` for types, `species_spec`, `threshold`.

    Raises
    ------
    TypeError
        For a name that is no parameter.
    """
    if species is not None and not isinstance(species, str):
        if types is not None:
            raise InputError(f"species says which types are alike, as a text such as '1,2 3', not {species!r}")
        types, species = species, None
        _renamed("species", "types")
    for name, value in old.items():
        if name == "species_spec" and species in (None, "auto"):
            species = value
        elif name == "threshold" and threshold == 0.0:
            threshold = value
        else:
            raise TypeError(f"classify() got an unexpected keyword argument {name!r}")
        _renamed(name, {"species_spec": "species", "threshold": "confidence_threshold"}[name])
    return types, species, threshold


def _renamed(old: str, new: str) -> None:
    warnings.warn(f"classify(): the parameter {old!r} is now {new!r}", FutureWarning, stacklevel=4)
