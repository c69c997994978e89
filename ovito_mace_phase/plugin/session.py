"""One frame through the stages, in a worker thread, with the logits kept for the next cheap change.

frame, settings -> logits_of, denoised (or from the cache) -> result_of -> PhaseResult          see `stages`
"""

from __future__ import annotations

from collections.abc import Generator
from functools import lru_cache
from typing import TypeVar

import numpy as np

from ovito_mace_phase.atoms.frame import Frame, make_frame
from ovito_mace_phase.atoms.interchangeable import interchangeable
from ovito_mace_phase.atoms.length_scale import local_spacing
from ovito_mace_phase.atoms.network_frame import NetworkFrame
from ovito_mace_phase.atoms.species import is_automatic
from ovito_mace_phase.classification.geometry.verify import match_frame
from ovito_mace_phase.classification.readout.frame_prior import frame_prior
from ovito_mace_phase.classification.readout.kept_logits import N_BEST, LogitKeeper
from ovito_mace_phase.classification.readout.labels import label, label_atoms
from ovito_mace_phase.classification.result import PhaseResult
from ovito_mace_phase.classification.settings import Settings
from ovito_mace_phase.classification.stages import (
    FORWARD_SHARE,
    denoised,
    denoising_key,
    logits_of,
    network_frame_of,
    result_of,
    result_of_sample,
    sample_of,
    samples,
)
from ovito_mace_phase.model import store
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.model.registry import model_path
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.runtime.wait_for import wait_for
from ovito_mace_phase.runtime.watch import Watch
from ovito_mace_phase.runtime.worker import Cancelled, Progress, run_in_worker

from .logit_cache import Entry, LogitCache, content_key

T = TypeVar("T")


def evaluate(frame: Frame, settings: Settings, cache: LogitCache) -> Generator[str | float, None, PhaseResult]:
    """Classify a frame, its types merged where the user named groups; yield status texts and fractions done.

    Raises
    ------
    InputError, ModelFileError
        What the layers below raise.
    """
    path = model_path(settings.model)
    model_key = (path, store.file_times(path), settings.device)
    few = settings.order_parameters == () and samples(settings)
    key = content_key(frame, is_automatic(settings.species), settings.length_scale, few, *model_key)
    stored = cache.get(key, settings) or Entry()
    steps, way = settings.denoise_steps, denoising_key(settings)

    def work(progress: Progress, cancelled: Cancelled) -> tuple[Entry, PhaseResult]:
        watch = Watch(progress=progress, status=progress, cancelled=cancelled)
        progress("Preparing the network")  # reads and, once on a machine, compiles it
        model = wait_for(("model", *model_key), lambda: store.get_model(path, settings.device), cancelled)
        wait_for("kernels around the network", compile_kernels, cancelled)
        share = FORWARD_SHARE if steps else 1.0
        kept, after, sampled = stored.kept, stored.after.get(way), stored.sampled
        if kept is None:
            progress("Comparing types and distances")
            here = network_frame_of(frame, model, settings, cancelled)
            kept = sample_of(here, model, settings, watch) if few else None
            sampled = kept is not None
            if kept is None:
                kept = logits_of(here, model, settings, watch.part(0.0, share))
        if steps and after is None:
            after = denoised(kept, model, settings, watch.part(share, 1.0))
        progress("Holding labels against templates")
        if sampled:
            result = result_of_sample(kept, model, settings, watch)
        else:
            result = result_of(kept, model, settings, after, watch)
        result.distances, result.order_parameters  # noqa: B018 - worked out here, not on OVITO's main thread
        if settings.output_orientation or settings.output_deformation_gradient:
            result.orientation  # noqa: B018 - as above
        return Entry(kept=kept, sampled=sampled, after={way: after} if after else {}), result

    doing = "Denoising atoms" if steps else "Classifying atoms"
    message = f"{doing}, {len(frame):,}"
    if stored.kept is not None and (not steps or way in stored.after):
        message = "Reading phases from stored logits"
    entry, result = yield from in_atoms(run_in_worker(work, message), doing, len(frame))
    cache.put(key, settings, entry)
    return result


def in_atoms(reports: Generator[str | float, None, T], doing: str, n_atoms: int) -> Generator[str | float, None, T]:
    """Say fractions done in atoms as well, whenever they have changed: "Classifying atoms, 1,000 of 5,000"."""
    last = 0.0
    yield next(reports)
    yield last
    while True:
        try:
            report = next(reports)
        except StopIteration as end:
            return end.value
        try:
            if not isinstance(report, str) and 0.0 < report < 1.0 and report != last:
                last = report
                yield f"{doing}, {int(report * n_atoms):,} of {n_atoms:,}"
            yield report
        except BaseException as error:  # cancelled: the worker is to end
            reports.throw(error)
            raise


@lru_cache(maxsize=1)
def compile_kernels() -> None:
    """Compile or load what measures lengths, reads logits out and fits templates; the model does so for the network."""
    points = np.indices((4, 4, 4)).reshape(3, -1).T
    frame = make_frame(points[points.sum(axis=1) % 2 == 0], None, np.eye(3) * 4.0, True)  # fcc
    local_spacing(frame)
    interchangeable(make_frame(frame.positions, np.arange(len(frame)) % 2, frame.cell, True))
    phases = tuple(phase_table())[: N_BEST + 1]  # more than are kept: their arrays are laid out as in any frame
    logits = np.zeros((len(frame), len(phases)), dtype=np.float32)
    label(logits, Calibration(log_density=0.0), frame_prior(logits, 1.0), 0.0, None)
    slots = np.zeros(len(frame), dtype=np.int64)
    keeper = LogitKeeper(NetworkFrame(frame=frame, factor=1.0, slots=slots, r_max=1.0), phases, 1.0, full=False)
    keeper.add(np.arange(len(frame)), logits)
    kept = keeper.result()
    label_atoms(kept, Calibration())
    one = np.arange(len(frame)) == 0  # a seed, from which the crystal grows
    match_frame(kept.frame, phases, np.ones_like(slots), one.astype(np.float32), kept.best_columns)
