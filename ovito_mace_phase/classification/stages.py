"""The stages of a frame: `classify`, the modifier, the command line and the suites all go through them.

network_frame_of   types merged, close atoms taken out: Frame -> NetworkFrame
sample_of   network, templates: NetworkFrame -> KeptLogits of some atoms      a third of the next; None where not enough
logits_of   network: NetworkFrame -> KeptLogits                               expensive
denoised    atoms climb logP, crystals are averaged; then their logits: -> Denoised, KeptLogits      some ten times that
result_of   prior, templates, thresholds: KeptLogits -> PhaseResult           cheap
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Sequence

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.atoms.network_frame import NetworkFrame
from ovito_mace_phase.atoms.sites import Sites, find_sites
from ovito_mace_phase.atoms.species import is_automatic
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.phases import Phase
from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.runtime.watch import Watch

from .denoise import Denoised, denoise
from .geometry.averaging import crystal_moves
from .geometry.geometry import Geometry
from .readout.keep import keep_logits
from .readout.kept_logits import FULL_BYTES, KeptLogits
from .readout.labels import OTHER_ID, label_atoms
from .result import Looked, PhaseResult
from .sampled import LEAST_ATOMS, sampled
from .settings import Settings
from .verified import unverified, verified

FORWARD_SHARE = 0.05
"""About what one evaluation takes of the time of denoising in eight steps."""


def network_frame_of(
    frame: Frame, model: PhaseModel, settings: Settings, cancelled: Callable[[], bool] | None = None
) -> NetworkFrame:
    """Find the sites of a frame, whose types are merged as the user asked, and normalise them for the network.

    With `species="auto"` interchangeable types are merged here; see `atoms.sites`.
    """
    sites, here = find_sites(
        frame,
        lambda left: model.network_frame(left, settings.length_scale, cancelled),
        automatic=is_automatic(settings.species),
    )
    return dataclasses.replace(here, sites=sites)


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
        with_bonds=settings.prior == "local",
    )


def denoised(
    kept: KeptLogits, model: PhaseModel, settings: Settings, watch: Watch | None = None
) -> tuple[Denoised, KeptLogits]:
    """Denoise a frame whose logits are known; return the steps and the logits at the final positions.

    Where labels are verified crystals are averaged at last, see `geometry.averaging`; what else is asked of labels,
    but for the phases considered, changes no positions (`denoising_key`).
    """
    watch = watch or Watch()
    averages = settings.verify == "auto"
    shares = (1.0 - 2.0 * FORWARD_SHARE, 1.0 - FORWARD_SHARE) if averages else (1.0 - FORWARD_SHARE, 1.0)
    found = denoise(
        kept.frame,
        model,
        steps=settings.denoise_steps,
        kept=kept,
        memory=settings.memory,
        watch=watch.part(0.0, shares[0]),
    )
    after = found, logits_of(found.network_frame, model, settings, watch.part(*shares))
    if not averages:
        return after
    plain = Settings(phases=settings.phases, denoise_steps=settings.denoise_steps, memory=settings.memory)
    labels = result_of(kept, model, plain, after, Watch(cancelled=watch.cancelled))
    geometry, factor = labels.geometry, kept.frame.factor
    assert geometry is not None
    moves = crystal_moves(
        found.network_frame, labels.phases, geometry.parts, geometry.column, -found.displacement * factor,
        watch.cancelled,
    )  # fmt: skip
    if not moves.any():
        return after
    found = found.moved(moves / factor)
    return found, logits_of(found.network_frame, model, settings, watch.part(shares[1], 1.0))


def denoising_key(settings: Settings) -> tuple[Hashable, ...]:
    """Return what denoised positions depend on, of one frame and its logits."""
    return settings.denoise_steps, settings.verify, settings.phases


def result_of(
    kept: KeptLogits,
    model: PhaseModel,
    settings: Settings,
    after: tuple[Denoised, KeptLogits] | None = None,
    watch: Watch | None = None,
) -> PhaseResult:
    """Label the atoms: of the original frame, or of the denoised one with the original in `before`."""
    before = _labelled(kept, model, settings, watch=watch)
    if after is None:
        return before
    return _labelled(after[1], model, settings, after[0], before, watch)


def samples(settings: Settings) -> bool:
    """Whether a sample may be enough for settings that ask for no order parameters."""
    plain = settings.verify == "auto" and settings.prior == "local" and settings.phases is None
    plain = plain and not settings.denoise_steps and not settings.distances and not settings.keep_logits
    return plain and settings.sampling == "auto"


def sample_of(
    frame: NetworkFrame, model: PhaseModel, settings: Settings, watch: Watch | None = None
) -> KeptLogits | None:
    """Evaluate the network on some atoms of a frame where that is enough; None where it is not, see `sampled`.

    For those who need no logits: `order_parameters` are not looked at.
    """
    if not samples(settings) or not model.evaluates_parts or len(frame) < LEAST_ATOMS:
        return None
    return sampled(frame, model, settings, possible_phases(frame, model.phases), watch or Watch())


def result_of_sample(
    kept: KeptLogits, model: PhaseModel, settings: Settings, watch: Watch | None = None
) -> PhaseResult:
    """Label the atoms of a frame of which `sample_of` evaluated some; its logits are evaluated when asked for."""

    def look() -> Looked:
        complete = logits_of(kept.frame, model, settings)
        return Looked(kept=complete, evaluated=complete, margin=margin_of(complete, model, settings))

    return _labelled(kept, model, settings, watch=watch, look=look)


def margin_of(kept: KeptLogits, model: PhaseModel, settings: Settings) -> npt.NDArray[np.float32]:
    """Return the margin of the logits of a frame, on all its atoms."""
    free = dataclasses.replace(model.calibration, log_density=-np.inf)
    possible = possible_phases(kept.frame, kept.phases)
    margin = label_atoms(kept, free, prior=settings.prior, possible=possible).margin
    return margin if kept.frame.sites is None else kept.frame.sites.spread(margin, 0.0)


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
    watch: Watch | None = None,
    look: Callable[[], Looked] | None = None,
) -> PhaseResult:
    calibration: Calibration = model.calibration
    evaluated = kept
    if len(kept.phases) == len(model.phases):
        if settings.phases is None:
            calibration = calibration.of(model.phases)
        kept = kept.restricted(considered_columns(model.phases, settings.phases), calibration.temperature)
    ids: npt.NDArray[np.int32] = np.array([phase.id for phase in kept.phases] + [OTHER_ID], dtype=np.int32)
    possible = possible_phases(kept.frame, kept.phases)
    geometry: Geometry | None = None
    if settings.verify == "off":
        verdict, margin = unverified(kept, calibration, settings, possible)
    else:
        first = None if before is None or before.geometry is None else before.geometry.verdict
        geometry, margin = verified(kept, calibration, settings, possible, first=first, watch=watch)
        verdict = geometry.verdict
    phase, confidence, reason = ids[verdict.column], verdict.confidence, verdict.reason
    sites = evaluated.frame.sites
    if sites is not None:
        phase, confidence = sites.spread(phase, OTHER_ID), sites.spread(confidence, 1.0)
        reason = sites.spread(reason, 0)
        margin, found = sites.spread(margin, 0.0), None if found is None else _of_all_atoms(found, sites)
    return PhaseResult(
        phase=phase,
        confidence=confidence,
        reason=reason,
        phases=kept.phases,
        frame=kept.frame,
        device=model.device,
        look=look or Looked(kept=kept, evaluated=evaluated, margin=margin),
        settings=settings,
        card=model.card,
        geometry=geometry,
        denoised=found,
        before=before,
    )


def possible_phases(frame: NetworkFrame, phases: Sequence[Phase]) -> npt.NDArray[np.bool_]:
    """Return which phases a frame can have, (n_phases,): none has more species than the frame."""
    n_species = np.count_nonzero(np.bincount(frame.slots)) if len(frame) else 0
    return np.array([phase.n_species <= n_species or phase.id == OTHER_ID for phase in phases])


def _of_all_atoms(found: Denoised, sites: Sites) -> Denoised:
    """Return denoised sites as the atoms of the frame: those that lie on another move with it."""
    if sites.site is None:
        return found
    displacement = sites.spread(found.displacement, 0.0)
    here = found.network_frame
    everything = dataclasses.replace(sites.given, positions=sites.given.positions + displacement)
    frame = NetworkFrame(frame=everything, factor=here.factor, slots=sites.spread(here.slots, 0), r_max=here.r_max)
    return dataclasses.replace(found, network_frame=frame, displacement=displacement)
