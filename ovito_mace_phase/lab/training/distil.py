"""Training of a new, small network on stored samples: labels, the answers of a teacher, and score matching.

    files of samples -> random order -> batches of some thousand atoms -> one evaluation with labels and teacher,
    for a share of them three with the score -> Muon and Adam -> moving average of the weights, which is what is kept

Matrices that a feature passes through are trained with Muon, whose steps have singular values of one size: it learns
directions of little variance, by which polytypes differ, as fast as others (Jordan et al., 2024; `torch.optim.Muon`);
everything else with Adam. The learning rate rises, stays, and falls over the last part of the run to nothing. Every
epoch has its own order from (seed, epoch), so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ovito_mace_phase.lab.features.sample_files import in_random_order
from ovito_mace_phase.lab.features.targets import Targets
from ovito_mace_phase.lab.identity import check_identity, identity_of
from ovito_mace_phase.lab.samples.sampler import Sample
from ovito_mace_phase.model.network.head import PhaseHead
from ovito_mace_phase.model.network.model_file import NetworkConfig
from ovito_mace_phase.runtime.files import finished_file
from ovito_mace_phase.runtime.threads import BlockPool

from .batches import denoise_some, make_batch, noise_weight
from .new_network import NewShape, new_model, new_network, standardise
from .step import Batch, TrainableModel, training_step
from .target_loss import TargetWeights

log = logging.getLogger(__name__)
Drawn = tuple[Sample, int]
Shown = tuple[Sample, int, Targets | None]
_BEGINNING = 300
"""Samples on which a new network is scaled."""
_STANDARDISED_AT = (100, 400, 1600, 6400)
_DENOISED, _SCORED = 7927, 7933


@dataclass(frozen=True, kw_only=True)
class DistilSettings:
    """Everything that decides the weights, besides samples and teacher.

    Attributes
    ----------
    shape : NewShape
    n_steps, n_atoms : int
        Atoms of a step, about.
    files_together : int
        Files whose samples are mixed.
    matrix_rate, rate : float
        Learning rates of Muon and of Adam.
    weight_decay : float
        Of the matrices, per step and learning rate.
    warm_up : int
    decay : float
        Share of the run, the last, over which the rate falls.
    clip : float
        Largest norm of the gradient.
    average : float
        Decay per step of the moving average of the weights.
    targets : TargetWeights
    score_share : float
        Share of the samples from which the score is learned; 0: none.
    score_weight, noise_scale, least_noise, denoised, largest_error : float
        As in end-to-end training.
    seed : int
    """

    shape: NewShape = field(default_factory=NewShape)
    n_steps: int = 10000
    n_atoms: int = 6000
    files_together: int = 4
    matrix_rate: float = 0.02
    rate: float = 3e-3
    weight_decay: float = 0.0
    warm_up: int = 100
    decay: float = 0.4
    clip: float = 1.0
    average: float = 0.998
    targets: TargetWeights = field(default_factory=TargetWeights)
    score_share: float = 0.0
    score_weight: float = 1.0
    noise_scale: float = 0.15
    least_noise: float = 0.06
    denoised: float = 0.3
    largest_error: float = 20.0
    seed: int = 0


class Distillation:
    """A run: model, optimisers, average.

    Parameters
    ----------
    paths : list of Path
        Files of samples (`sample_files`).
    like, config
        Tensors and configuration of the teacher's network, whose basis and species the new one takes over.
    n_phases : int
    settings : DistilSettings
    """

    def __init__(
        self, paths: list[Path], like: dict[str, Any], config: NetworkConfig, n_phases: int, settings: DistilSettings
    ) -> None:
        self.paths, self.settings, self.step = paths, settings, 0
        self.identity = identity_of(settings=settings, files=[path.name for path in paths], n_phases=n_phases)
        torch.manual_seed(settings.seed)
        tensors, own = new_network(settings.shape, like, config, np.random.default_rng(settings.seed))
        some = itertools.islice(in_random_order(paths, 1, np.random.default_rng(settings.seed)), _BEGINNING)
        first = batch_of(list(some), settings.shape.r_max)
        self.model = new_model(tensors, own, settings.shape, n_phases, first)
        self.optimizers = optimizers(self.model, settings)
        self._rates = [[group["lr"] for group in one.param_groups] for one in self.optimizers]
        self.average = AveragedModel(self.model, avg_fn=self._averaged)

    def _averaged(self, mean: Tensor, weight: Tensor, _count: Tensor | int) -> Tensor:
        decay = min(self.settings.average, self.step / (self.step + 10.0))
        return torch.lerp(mean, weight, 1.0 - decay)

    def rate(self) -> float:
        """Return the present learning rate over the largest."""
        s = self.settings
        left = (s.n_steps - self.step) / max(1.0, s.decay * s.n_steps)
        return min(1.0, (self.step + 1) / max(1, s.warm_up), max(0.0, left))

    def _shown(self, epoch: int, n_atoms: int) -> Iterator[list[Shown]]:
        """Yield the samples of the steps of an epoch."""
        rng = np.random.default_rng([self.settings.seed, epoch])
        waiting: list[Shown] = []
        count = 0
        for one in in_random_order(self.paths, self.settings.files_together, rng):
            waiting.append(one)
            count += len(one[0].slots)
            if count >= n_atoms:
                yield waiting
                waiting, count = [], 0

    def batches(self) -> Iterator[tuple[Batch, list[Drawn]]]:
        """Yield the batches from the present step on, and samples to learn the score from, made ahead in a thread."""

        def all_epochs() -> Iterator[tuple[Batch, list[Drawn]]]:
            epoch, passed = 0, 0
            while True:
                for shown in self._shown(epoch, self.settings.n_atoms):
                    passed += 1
                    if passed > self.step:
                        yield batch_of(shown, self.settings.shape.r_max), self._to_score(shown, passed)
                epoch += 1

        source = all_epochs()
        with ThreadPoolExecutor(1) as executor:
            coming = executor.submit(next, source)
            while self.step < self.settings.n_steps:
                batch = coming.result()
                coming = executor.submit(next, source)
                yield batch

    def run(
        self, checkpoint: Path, seconds: float = math.inf, progress: Callable[[float, str], None] | None = None
    ) -> bool:
        """Train until the steps are done or the time is up; returns whether the steps are done."""
        self.resume(checkpoint)
        started = saved = time.monotonic()
        recent: list[tuple[float, ...]] = []
        with BlockPool() as pool:
            for batch, scored in self.batches():
                recent.append(self.advance(batch, scored, pool))
                if self.step % 25 == 0:
                    losses = np.mean(recent[-25:], axis=0)
                    log.info("step %d: label %.4f, teacher %.4f, density %.4f, score %.4f", self.step, *losses)
                    if progress is not None:
                        progress(self.step / self.settings.n_steps, f"label {losses[0]:.3f}")
                now = time.monotonic()
                if now - saved > 180.0 or now - started > seconds:
                    self.save(checkpoint)
                    saved = now
                if now - started > seconds:
                    return False
        self.save(checkpoint)
        return True

    def advance(self, batch: Batch, scored: list[Drawn], pool: BlockPool) -> tuple[float, ...]:
        """Make one step; returns the losses of labels, teacher, density and score."""
        s = self.settings
        if self.step in _STANDARDISED_AT:
            standardise(self.model, batch)
        self.model.zero_grad()
        found = training_step(
            self.model, batch, noise_scale=s.noise_scale, score_weight=0.0, target_weights=s.targets, pool=pool
        )
        score = self._learn_score(scored, pool) if scored else math.nan
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), s.clip))
        share = self.rate()
        for one, rates in zip(self.optimizers, self._rates, strict=True):
            for group, rate in zip(one.param_groups, rates, strict=True):
                group["lr"] = rate * share
            if math.isfinite(norm):
                one.step()
        if not math.isfinite(norm):
            log.warning("step %d left out: the gradient is not finite", self.step)
        self.step += 1
        self.average.update_parameters(self.model)
        return found.label_loss, found.teacher_loss, found.density_loss, score

    def _to_score(self, shown: list[Shown], step: int) -> list[Drawn]:
        """Return a share of the samples of a step, of those with clean positions."""
        share = np.random.default_rng([self.settings.seed, step, _SCORED]).uniform(size=len(shown))
        return [
            (sample, label)
            for (sample, label, _), chance in zip(shown, share, strict=True)
            if chance < self.settings.score_share and np.isfinite(sample.displacement).any()
        ]

    def _learn_score(self, scored: list[Drawn], pool: BlockPool) -> float:
        """Add the gradient of the score loss, some of the samples denoised a little first; returns the loss."""
        s = self.settings
        rng = np.random.default_rng([s.seed, self.step, _DENOISED])
        denoise_some(scored, self.model, s.denoised, s.noise_scale, rng, pool)
        batch = make_batch(scored, s.shape.r_max)
        batch = dataclasses.replace(
            batch, label=np.full(len(batch.label), -1), weight=noise_weight(batch, s.noise_scale, s.least_noise)
        )
        return training_step(
            self.model,
            batch,
            noise_scale=s.noise_scale,
            score_weight=s.score_weight,
            largest_error=s.largest_error,
            pool=pool,
        ).score_loss

    def result(self) -> tuple[dict[str, Any], NetworkConfig, PhaseHead]:
        """Return the averaged network, its configuration, and the averaged head."""
        model = self.average.module
        assert isinstance(model, TrainableModel)
        tensors = {name: tensor.detach().cpu().numpy().copy() for name, tensor in model.tensors().items()}
        return tensors, model.config, model.head.cpu().eval().requires_grad_(False)

    def save(self, path: Path) -> None:
        """Write everything a resumed run needs, complete or not at all."""
        state: dict[str, Any] = {"model": self.model.state_dict(), "average": self.average.state_dict()}
        state |= {"optimizers": [one.state_dict() for one in self.optimizers]}
        with finished_file(path) as temporary:
            torch.save(state | {"identity": self.identity, "step": self.step}, temporary)

    def resume(self, path: Path) -> None:
        """Take up a checkpoint where there is one; InputError for one of other settings or samples."""
        if not path.is_file():
            return
        state = torch.load(path, weights_only=True)
        check_identity(path, state["identity"], self.identity)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for one, known in zip(self.optimizers, state["optimizers"], strict=True):
            one.load_state_dict(known)
        self.step = int(state["step"])
        log.info("resumed at step %d", self.step)


def optimizers(model: TrainableModel, settings: DistilSettings) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices that features pass through, Adam for everything else."""
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        last = name.startswith("head.") and "last" in name
        through = parameter.ndim == 2 and "embedding" not in name and not last
        (matrices if through else others).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=settings.matrix_rate, weight_decay=settings.weight_decay, momentum=0.95),
        torch.optim.Adam(others, lr=settings.rate, betas=(0.9, 0.99)),
    ]


def batch_of(shown: list[Shown], r_max: float) -> Batch:
    """Put samples side by side, with the answers of the teacher where they have any."""
    batch = make_batch([(sample, label) for sample, label, _ in shown], r_max)
    answers = [targets for _, _, targets in shown if targets is not None]
    return dataclasses.replace(batch, targets=Targets.joined(answers) if len(answers) == len(shown) else None)
