"""Training of a new network from random weights, step by step: labels first, later the score as well.

    stream of samples -> batches of some thousand atoms -> one evaluation with the labels, for a share of the samples
    three more with the score -> Muon and Adam -> moving average of the weights, which is what is kept

Matrices that a feature passes through are trained with Muon, whose steps have singular values of one size: directions
of little variance, by which polytypes differ, are learned as fast as others (Jordan et al. 2024; Liu et al.,
arXiv:2502.16982). Everything else is trained with Adam. The learning rate rises, stays, and falls over the last part of
the run to nothing. The class branch learns from rows of the last steps together (`rehearsal`). On the network the score
pulls no harder than the labels, and more and more over its first steps: what a new density branch asks for is noise.

    g = g_labels + g_score min(1, p |g_labels| / |g_score|),      p = score_pull min(1, steps since score_begins / 200)

Samples of a step are drawn from (seed, number of the piece of the stream), so that a run that was stopped goes on from
its checkpoint; how many steps there are in all may be changed then. Rows to rehearse are collected anew.
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

from ovito_mace_phase.lab.identity import check_identity, digest, identity_of
from ovito_mace_phase.lab.samples.pool import PoolSettings
from ovito_mace_phase.lab.samples.sampler import MIN_ATOMS, Sample, SampleSettings
from ovito_mace_phase.lab.samples.source import SampleMix, SampleSource
from ovito_mace_phase.model.network.head import PhaseHead
from ovito_mace_phase.model.network.model_file import NetworkConfig
from ovito_mace_phase.runtime.errors import MissingPackageError
from ovito_mace_phase.runtime.files import finished_file
from ovito_mace_phase.runtime.threads import BlockPool

from .batches import denoise_some, label_shares, make_batch, noise_weight
from .higher_degree import Trained, with_degree
from .new_network import NewShape, equalise_floors, new_model, new_network, standardise
from .rehearsal import Rehearsal
from .step import Batch, StepResult, TrainableModel, training_step

log = logging.getLogger(__name__)
Drawn = tuple[Sample, int]
_BEGINNING = 300
"""Samples on which a new network is scaled."""
_STANDARDISED_AT = (100, 400, 1600, 6400, 25600)
_PIECE = 200
"""Steps of a piece of the stream: what is drawn again, at most, when a run goes on."""
_FILLED = 4
"""The class branch waits until a quarter of the rows to rehearse is there: those of few steps it learns by heart."""
_RISE = 200
"""Steps over which the score comes to pull as hard as it may."""
_SHOWN, _DENOISED, _SCORED, _LABELLED, _REHEARSED = 7919, 7927, 7933, 7937, 7949


@dataclass(frozen=True, kw_only=True)
class NewRunSettings:
    """Everything that decides the weights, besides the data.

    Attributes
    ----------
    shape : NewShape
    n_steps, n_atoms : int
        Atoms of a step, about.
    matrix_rate, rate : float
        Learning rates of Muon and of Adam.
    warm_up : int
        Steps over which the rates rise.
    decay : float
        Share of the run, the last, over which they fall.
    clip : float
        Largest norm of the gradient.
    average : float
        Decay per step of the moving average of the weights.
    label_share : float
        Share of atoms used in the label loss; of samples with several phases as many of each.
    rehearsed : int
        Rows of the last steps from which the class branch learns in a step (`rehearsal`); 0: it learns from the step.
    remembered, remembered_each : int
        Rows that are kept, and of each step.
    score_begins : float
        Share of the run after which the score is learned too.
    score_share : float
        Share of the samples from which it is.
    score_pull : float
        Largest norm of its gradient by the weights of the network, over that of the labels.
    score_weight, noise_scale, least_noise, denoised, largest_error : float
        As in end-to-end training.
    mix : SampleMix
        How often which kind of sample is drawn. Crystals are small and used twice: what a step costs is the network,
        and what it learns goes with the number of different crystals.
    seed : int
    """

    shape: NewShape = field(default_factory=NewShape)
    n_steps: int = 20000
    n_atoms: int = 8000
    matrix_rate: float = 0.02
    rate: float = 3e-3
    warm_up: int = 200
    decay: float = 0.3
    clip: float = 1.0
    average: float = 0.998
    label_share: float = 1.0
    rehearsed: int = 4096
    remembered: int = 100_000
    remembered_each: int = 1000
    score_begins: float = 0.3
    score_share: float = 0.25
    score_pull: float = 1.0
    score_weight: float = 1.0
    noise_scale: float = 0.15
    least_noise: float = 0.06
    denoised: float = 0.3
    largest_error: float = 20.0
    mix: SampleMix = field(
        default_factory=lambda: SampleMix(
            common_weight=3.0,
            background=0.06,
            dynamics=0.04,
            unlisted=0.06,
            kinds=0.1,
            sample=SampleSettings(atoms=(MIN_ATOMS, 49)),
            pool=PoolSettings(uses=2),
        )
    )
    seed: int = 0


class NewRun:
    """A run: model, optimisers, average.

    Parameters
    ----------
    source : SampleSource
        Of the training part.
    like, config
        Tensors and configuration of a network whose basis and species the new one takes over.
    settings : NewRunSettings
    phase_weights : dict
        How much more often phases are drawn.
    device : str
    begin : tensors, configuration and head, optional
        A trained network of the same shape, but perhaps of lower degree, to go on from (`higher_degree`).
    """

    def __init__(
        self,
        source: SampleSource,
        like: dict[str, Any],
        config: NetworkConfig,
        settings: NewRunSettings,
        phase_weights: dict[int, float] | None = None,
        device: str = "cpu",
        begin: Trained | None = None,
    ) -> None:
        self.source, self.settings, self.phase_weights, self.step = source, settings, phase_weights, 0
        self.identity = identity_of(
            settings=dataclasses.replace(settings, n_steps=0, decay=0.0), data=source.digest, weights=phase_weights
        ) | ({} if begin is None else identity_of(begin=digest([begin[0], begin[2].state_dict()])))
        torch.manual_seed(settings.seed)
        tensors, own = new_network(settings.shape, like, config, np.random.default_rng(settings.seed))
        first = make_batch(list(itertools.islice(self._stream(0), _BEGINNING)), settings.shape.r_max)
        if begin is None:
            self.model = new_model(tensors, own, settings.shape, len(source.phases), first, device)
        else:
            self.model = with_degree((tensors, own), *begin, first, device)
            equalise_floors(self.model, first)
        self.optimizers = optimizers(self.model, settings)
        self._rates = [[group["lr"] for group in one.param_groups] for one in self.optimizers]
        self.average = AveragedModel(self.model, avg_fn=self._averaged)
        n_features = self.model.head.config.n_features
        self.rehearsal = Rehearsal(max(1, settings.remembered), n_features, self.model.device)

    def _stream(self, piece: int) -> Iterator[Drawn]:
        return self.source.stream(self.settings.mix, (self.settings.seed, _SHOWN, piece), self.phase_weights)

    def _averaged(self, mean: Tensor, weight: Tensor, _count: Tensor | int) -> Tensor:
        decay = min(self.settings.average, self.step / (self.step + 10.0))
        return torch.lerp(mean, weight, 1.0 - decay)

    def rate(self) -> float:
        """Return the present learning rates over the largest."""
        s = self.settings
        left = (s.n_steps - self.step) / max(1.0, s.decay * s.n_steps)
        return min(1.0, (self.step + 1) / max(1, s.warm_up), max(0.0, left))

    def samples(self) -> Iterator[tuple[int, list[Drawn]]]:
        """Yield the number of each step from the present one on, and its samples."""
        piece = self.step // _PIECE
        while True:
            stream = self._stream(piece)
            for step in range(piece * _PIECE, (piece + 1) * _PIECE):
                drawn: list[Drawn] = []
                while sum(len(sample.slots) for sample, _ in drawn) < self.settings.n_atoms:
                    drawn.append(next(stream))
                if step >= self.step:
                    yield step, drawn
            piece += 1

    def batches(self) -> Iterator[tuple[Batch, list[Drawn]]]:
        """Yield the batches from the present step on, and samples to learn the score from, made ahead in a thread."""
        self.source.prepare(self.settings.mix)
        made = ((self._labelled(drawn, step), self._to_score(drawn, step)) for step, drawn in self.samples())
        with ThreadPoolExecutor(1) as executor:
            coming = executor.submit(next, made)
            while self.step < self.settings.n_steps:
                batch = coming.result()
                coming = executor.submit(next, made)
                yield batch

    def run(
        self, checkpoint: Path, seconds: float = math.inf, progress: Callable[[float, str], None] | None = None
    ) -> bool:
        """Train until the steps are done or the time is up; returns whether the steps are done."""
        self.resume(checkpoint)
        if self.step >= self.settings.n_steps:
            return True
        started = saved = time.monotonic()
        recent: list[tuple[float, float]] = []
        with BlockPool() as pool:
            for batch, scored in self.batches():
                recent.append(self.advance(batch, scored, pool))
                if self.step % 50 == 0:
                    label, score = np.mean(recent[-50:], axis=0)
                    log.info("step %d: label loss %.4f, score loss %.4f", self.step, label, score)
                    if progress is not None:
                        progress(self.step / self.settings.n_steps, f"label {label:.3f}, score {score:.3f}")
                now = time.monotonic()
                if now - saved > 180.0 or now - started > seconds:
                    self.save(checkpoint)
                    saved = now
                if now - started > seconds:
                    return False
        self.save(checkpoint)
        return True

    def advance(self, batch: Batch, scored: list[Drawn], pool: BlockPool) -> tuple[float, float]:
        """Make one step; returns the losses of labels and score, NaN where no score was learned."""
        s = self.settings
        if self.step in _STANDARDISED_AT:
            standardise(self.model, batch)
        self.model.zero_grad()
        found = training_step(self.model, batch, noise_scale=s.noise_scale, score_weight=0.0, pool=pool)
        self._rehearse(found)
        nn.utils.clip_grad_norm_(self.model.parameters(), s.clip)
        since = self.step - s.score_begins * s.n_steps
        score = self._learn_score(scored, pool, min(1.0, since / _RISE)) if scored and since >= 0.0 else math.nan
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        finite = math.isfinite(float(nn.utils.get_total_norm(gradients)))
        share = self.rate()
        for one, rates in zip(self.optimizers, self._rates, strict=True):
            for group, rate in zip(one.param_groups, rates, strict=True):
                group["lr"] = rate * share
            if finite:
                one.step()
        if not finite:
            log.warning("step %d left out: the gradient is not finite", self.step)
        self.step += 1
        self.average.update_parameters(self.model)
        return found.label_loss, score

    def _labelled(self, drawn: list[Drawn], step: int) -> Batch:
        batch = make_batch(drawn, self.settings.shape.r_max)
        share = label_shares(batch, self.settings.label_share)
        kept = np.random.default_rng([self.settings.seed, step, _LABELLED]).uniform(size=len(batch.label)) < share
        return dataclasses.replace(batch, label=np.where(kept, batch.label, -1))

    def _to_score(self, drawn: list[Drawn], step: int) -> list[Drawn]:
        """Return a share of the samples of a step, of those with clean positions."""
        chance = np.random.default_rng([self.settings.seed, step, _SCORED]).uniform(size=len(drawn))
        return [
            one
            for one, share in zip(drawn, chance, strict=True)
            if share < self.settings.score_share and np.isfinite(one[0].displacement).any()
        ]

    def _rehearse(self, found: StepResult) -> None:
        """Give the class branch the gradient of rows of earlier steps in place of this one's; keep some of this one."""
        s, head = self.settings, self.model.head
        if not s.rehearsed:
            return
        for parameter in (head.entry_layers()["classes"].weight, *head.branch_parameters()["classes"]):
            parameter.grad = None
        rng = np.random.default_rng([s.seed, self.step, _REHEARSED])
        rows = torch.from_numpy(rng.permutation(len(found.label))[: s.remembered_each]).to(found.label.device)
        self.rehearsal.add(found.features[rows], found.label[rows])
        if _FILLED * len(self.rehearsal) >= s.remembered:
            self.rehearsal.learn(head, s.rehearsed, rng)

    def _learn_score(self, scored: list[Drawn], pool: BlockPool, share: float) -> float:
        """Add the gradient of the score loss, some of the samples denoised a little first; returns the loss."""
        s = self.settings
        rng = np.random.default_rng([s.seed, self.step, _DENOISED])
        denoise_some(scored, self.model, s.denoised, s.noise_scale, rng, pool)
        batch = make_batch(scored, s.shape.r_max)
        batch = dataclasses.replace(
            batch, label=np.full(len(batch.label), -1), weight=noise_weight(batch, s.noise_scale, s.least_noise)
        )
        labels = [parameter.grad for parameter in self.model.parameters()]
        self.model.zero_grad()
        loss = training_step(
            self.model,
            batch,
            noise_scale=s.noise_scale,
            score_weight=s.score_weight,
            largest_error=s.largest_error,
            pool=pool,
        ).score_loss
        nn.utils.clip_grad_norm_(self.model.head.parameters(), s.clip)
        network = {id(parameter) for parameter in self.model.network.parameters()}
        by_labels = [grad for p, grad in zip(self.model.parameters(), labels, strict=True) if id(p) in network]
        largest = s.score_pull * share * float(nn.utils.get_total_norm([g for g in by_labels if g is not None]))
        nn.utils.clip_grad_norm_(self.model.network.parameters(), largest)
        for parameter, grad in zip(self.model.parameters(), labels, strict=True):
            if grad is not None:
                parameter.grad = grad if parameter.grad is None else parameter.grad + grad
        return loss

    def result(self) -> tuple[dict[str, Any], NetworkConfig, PhaseHead]:
        """Return the averaged network, its configuration, and the averaged head."""
        model = self.average.module
        assert isinstance(model, TrainableModel)
        tensors = {name: tensor.detach().cpu().numpy().copy() for name, tensor in model.tensors().items()}
        head = PhaseHead(model.head.config)
        head.load_state_dict(model.head.state_dict())
        return tensors, model.config, head.cpu().eval().requires_grad_(False)

    def save(self, path: Path) -> None:
        """Write everything a resumed run needs, complete or not at all."""
        state: dict[str, Any] = {"model": self.model.state_dict(), "average": self.average.state_dict()}
        state |= {"optimizers": [one.state_dict() for one in self.optimizers]}
        with finished_file(path) as temporary:
            torch.save(state | {"identity": self.identity, "step": self.step}, temporary)

    def resume(self, path: Path) -> None:
        """Take up a checkpoint where there is one; InputError for one of other settings or data."""
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.model.device, weights_only=True)
        check_identity(path, state["identity"], self.identity)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for one, known in zip(self.optimizers, state["optimizers"], strict=True):
            one.load_state_dict(known)
        self.step = int(state["step"])
        log.info("resumed at step %d", self.step)


def optimizers(model: TrainableModel, settings: NewRunSettings) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices that features pass through, Adam for everything else.

    Raises
    ------
    MissingPackageError
        With a version of torch before 2.9, which has no Muon.
    """
    if not hasattr(torch.optim, "Muon"):
        raise MissingPackageError(f"the stage 'new' of the training needs torch 2.9 or newer, not {torch.__version__}")
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        last = name.startswith("head.") and "last" in name
        through = parameter.ndim == 2 and "embedding" not in name and not last
        (matrices if through else others).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=settings.matrix_rate, weight_decay=0.0, momentum=0.95),
        torch.optim.Adam(others, lr=settings.rate, betas=(0.9, 0.99)),
    ]
