"""The three stages of a frame: `classify`, the modifier, the command line and the suites all go through them.

logits_of   network: NetworkFrame -> KeptLogits                               expensive
denoised    atoms climb logP; then their logits: -> Denoised, KeptLogits      some ten times that
result_of   prior, templates, thresholds: KeptLogits -> PhaseResult           cheap
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.network_frame import NetworkFrame
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.phases import Phase
from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.runtime.watch import Watch

from .denoise import Denoised, denoise
from .readout.keep import keep_logits
from .readout.kept_logits import FULL_BYTES, KeptLogits
from .readout.labels import OTHER_ID, label_atoms
from .result import PhaseResult
from .settings import Settings
from .verified import verified

FORWARD_SHARE = 0.05
"""About what one evaluation takes of the time of denoising in eight steps."""


def logits_of(frame: NetworkFrame, model: PhaseModel, settings: Settings, watch: Watch | None = None) -> KeptLogits:
    """Evaluate the network on a frame and keep what the settings may ask for.

    Raises
    ------
    InputError
        When a phase named in the settings is unknown to the model.
    """
    known = {phase.key for phase in model.phases}
    for key in settings.order_parameters or ():
        if key not in known:
            raise InputError(f"order_parameters: the model was not trained on the phase {key!r}")
    return keep_logits(
        frame,
        model,
        full=keeps_all_logits(settings, len(frame), len(model.phases)),
        considered=considered_columns(model.phases, settings.phases),
        keys=settings.order_parameters or (),
        memory=settings.memory,
        watch=watch,
    )


def denoised(
    kept: KeptLogits, model: PhaseModel, settings: Settings, watch: Watch | None = None
) -> tuple[Denoised, KeptLogits]:
    """Denoise a frame whose logits are known; return the steps and the logits at the final positions."""
    watch = watch or Watch()
    found = denoise(
        kept.frame,
        model,
        steps=settings.denoise_steps,
        kept=kept,
        memory=settings.memory,
        watch=watch.part(0.0, 1.0 - FORWARD_SHARE),
    )
    return found, logits_of(found.network_frame, model, settings, watch.part(1.0 - FORWARD_SHARE, 1.0))


def result_of(
    kept: KeptLogits,
    model: PhaseModel,
    settings: Settings,
    after: tuple[Denoised, KeptLogits] | None = None,
) -> PhaseResult:
    """Label the atoms: of the original frame, or of the denoised one with the original in `before`."""
    before = _labelled(kept, model, settings)
    if after is None:
        return before
    return _labelled(after[1], model, settings, after[0], before)


def keeps_all_logits(settings: Settings, n_atoms: int, n_phases: int) -> bool:
    """Whether all logits of a frame are kept."""
    return 4 * n_atoms * n_phases <= FULL_BYTES if settings.keep_logits is None else settings.keep_logits


def considered_columns(phases: Sequence[Phase], wanted: tuple[str, ...] | None) -> list[int]:
    """Return the columns of the wanted phases, with OTHER; None: of all.

    Raises
    ------
    InputError
        For a phase that is not there, or when none is left.
    """
    if wanted is None:
        return list(range(len(phases)))
    keys = [phase.key for phase in phases]
    unknown = [key for key in wanted if key not in keys]
    if unknown:
        raise InputError(f"the model does not know the phase {unknown[0]!r}; `ovito-mace-phase phases` lists the keys")
    if not any(key != "OTHER" for key in wanted):
        raise InputError("no phase is left to consider; name at least one besides OTHER")
    return [column for column, key in enumerate(keys) if key in wanted or key == "OTHER"]


def _labelled(
    kept: KeptLogits,
    model: PhaseModel,
    settings: Settings,
    found: Denoised | None = None,
    before: PhaseResult | None = None,
) -> PhaseResult:
    calibration: Calibration = model.calibration
    evaluated = kept
    if len(kept.phases) == len(model.phases):
        if settings.phases is None:
            calibration = calibration.of(model.phases)
        kept = kept.restricted(considered_columns(model.phases, settings.phases), calibration.temperature)
    ids: npt.NDArray[np.int32] = np.array([phase.id for phase in kept.phases] + [OTHER_ID], dtype=np.int32)
    if settings.verify == "off":
        labels = label_atoms(kept, calibration, prior=settings.prior, threshold=settings.confidence_threshold)
        column, confidence, margin, geometry = labels.column, labels.confidence, labels.margin, None
    else:
        geometry, margin = verified(kept, calibration, settings)
        column, confidence = geometry.column, geometry.confidence
    return PhaseResult(
        phase=ids[column],
        confidence=confidence,
        margin=margin,
        kept=kept,
        evaluated=evaluated,
        settings=settings,
        card=model.card,
        geometry=geometry,
        denoised=found,
        before=before,
    )
