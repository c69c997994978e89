"""A frame through the network, and what is kept of its logits: block by block on the CPU, in one go on a GPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ovito_mace_phase.atoms.network_frame import NetworkFrame
from ovito_mace_phase.model.phase_model import LogitRequest, LogitSummary, PhaseModel
from ovito_mace_phase.phases import Phase
from ovito_mace_phase.runtime.watch import Watch

from .kept_logits import N_BEST, KeptLogits, LogitKeeper, column_of, stride_of
from .local_prior import N_RIVALS, N_SWEEPS


def keep_logits(
    frame: NetworkFrame,
    model: PhaseModel,
    *,
    full: bool,
    considered: Sequence[int] | None = None,
    keys: Sequence[str] = (),
    memory: int | str | None = None,
    watch: Watch | None = None,
    with_bonds: bool = False,
) -> KeptLogits:
    """Evaluate a frame; `full`, `considered` and `keys` as in `LogitKeeper`, the rest as in `stream_logits`."""
    phases, temperature, n_atoms = model.phases, model.calibration.temperature, len(frame)
    columns = range(len(phases)) if considered is None or full else considered
    request = LogitRequest(
        temperature=temperature,
        full=full,
        considered=columns,
        columns=() if full else [column_of(phases, key) for key in keys],
        n_best=min(N_BEST, len(columns)),
        stride=n_atoms + 1 if full else stride_of(n_atoms),
        n_rivals=N_RIVALS,
        n_sweeps=N_SWEEPS,
    )
    found = model.logit_summary(frame, request, memory=memory, watch=watch)
    if found is not None:
        kept = _kept(frame, tuple(phases[k] for k in columns), () if full else keys, request, found)
        return dataclasses.replace(kept, device=model.device)
    keeper = LogitKeeper(frame, phases, temperature, full=full, considered=considered, keys=keys)
    model.stream_logits(frame, keeper.add, memory=memory, watch=watch, with_bonds=with_bonds)
    return dataclasses.replace(keeper.result(), device=model.device)


def _kept(
    frame: NetworkFrame, phases: tuple[Phase, ...], keys: Sequence[str], request: LogitRequest, found: LogitSummary
) -> KeptLogits:
    frame.give_bonds(found.bonds)
    return KeptLogits(
        frame=frame,
        phases=phases,
        best_columns=found.best_columns,
        best=found.best,
        log_density=found.log_density,
        log_norm=found.log_norm,
        sampled=found.sampled,
        columns={key: found.columns[k] for k, key in enumerate(keys)},
        all_logits=found.all_logits,
        found={("local prior", request.temperature): (found.place, found.confidence)},
    )
