"""Training of the whole network and its head: score matching and cross-entropy (`step.py`), step by step.

    samples of a step -> some denoised by the model -> gradient -> clipped -> Adam -> moving average of the weights,
    which is what is kept

Every sample has the same weight in the score loss, whatever its noise: atom a of a sample of amplitude sigma (rms per
component) counts (s / max(sigma, sigma_0))^2. A share of the samples is first denoised by one to three steps of the
current model: later steps of denoising have to deal with the noise that earlier ones leave.

The first layer of the head is trained in whitened coordinates, W = C M^T with M of `whitening.py` (all directions): the
features of fcc, hcp and dhcp differ in directions with a millionth of the largest variance, and a step that is small
for one direction would be huge for another. Samples come from a stream of (seed, number of the shard), `_SHARD` steps
a shard, so a run that was stopped goes on from its checkpoint with the same samples: those of the shard up to there are
drawn again. The checkpoint carries the identity of settings, data and start model.
"""

from __future__ import annotations

import copy
import dataclasses
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

from ovito_mace_phase.lab.features.rows import TOGETHER, rows_of
from ovito_mace_phase.lab.features.whitening import Whitening, whiten
from ovito_mace_phase.lab.identity import check_identity, identity_of
from ovito_mace_phase.lab.samples.sampler import Sample
from ovito_mace_phase.lab.samples.source import SampleMix, SampleSource
from ovito_mace_phase.model.engine.evaluator import make_evaluator
from ovito_mace_phase.model.network.head import PhaseHead, with_density
from ovito_mace_phase.model.network.model_file import NetworkConfig
from ovito_mace_phase.runtime.files import finished_file
from ovito_mace_phase.runtime.threads import BlockPool

from .batches import denoise_some, label_shares, make_batch, noise_weight
from .step import Batch, TrainableModel, training_step

log = logging.getLogger(__name__)
_ROWS = 12000
_SHARD = 128
_AFRESH, _DENOISED, _LABELLED, _STREAM = 7919, 7927, 7933, 7951


@dataclass(frozen=True, kw_only=True)
class EndToEndSettings:
    """Everything that decides the weights, besides the data and the model to start from.

    Attributes
    ----------
    n_steps : int
    n_atoms : int
        Atoms of a step, about.
    noise_scale : float
        s, A in network units.
    label_weight : float
        Of the cross-entropy against the score loss.
    score_weight : float
        0 trains the labels alone.
    label_share : float
        Share of atoms used in the label loss; atoms of one sample are highly correlated.
    least_noise : float
        sigma_0, A in network units; infinite: every atom counts the same.
    denoised : float
        Share of the samples that are first denoised by one to three steps of the current model.
    n_density : int
        Width of the density branch: it is added to a head without one, a narrower one is widened; 0 changes nothing.
    first_rate, head_rate, density_first_rate, density_rate, network_rate : float
        Learning rates: of the first layer of the classes in whitened coordinates, of the other layers, the same of the
        density branch, and of the network as a multiple of the rms of each tensor (they differ by a factor of a
        thousand); 0 keeps the network as it is.
    largest_error : float
        Error of the score of an atom, 1/A, above which the score loss grows linearly.
    warm_up : int
        Steps over which the rate rises; then it falls as a cosine to a hundredth.
    clip : float
        Largest norm of the gradient.
    floor : float
        Root of `floor` in `head.py`, over the standard deviation of the feature.
    average : float
        Decay per step of the moving average of the weights.
    mix : SampleMix
        How often which kind of sample is drawn.
    """

    n_steps: int = 2000
    n_atoms: int = 2000
    noise_scale: float = 0.15
    label_weight: float = 1.0
    score_weight: float = 1.0
    label_share: float = 0.5
    least_noise: float = 0.06
    denoised: float = 0.3
    n_density: int = 256
    first_rate: float = 2e-5
    head_rate: float = 1e-4
    density_first_rate: float = 3e-5
    density_rate: float = 1e-3
    network_rate: float = 2e-4
    largest_error: float = 20.0
    warm_up: int = 150
    clip: float = 1.0
    floor: float = 0.1
    average: float = 0.998
    mix: SampleMix = field(default_factory=SampleMix)
    seed: int = 0


class EndToEnd:
    """A run: model, optimiser, average.

    Parameters
    ----------
    tensors, config
        Network to start from.
    head : PhaseHead
        Head to start from, on plain features.
    source : SampleSource
        Of the training part.
    settings : EndToEndSettings
    """

    def __init__(
        self,
        tensors: dict[str, Any],
        config: NetworkConfig,
        head: PhaseHead,
        source: SampleSource,
        settings: EndToEndSettings,
        device: str = "cpu",
    ) -> None:
        self.source, self.settings, self.step = source, settings, 0
        self._stream: Iterator[tuple[Sample, int]] = iter(())
        self._next = -1
        self.identity = identity_of(
            settings=settings, data=source.digest, start_model=[tensors, config, head.config, head.state_dict()]
        )
        tensors = reinitialise_zero_matrices(tensors, config, np.random.default_rng(settings.seed))
        torch.manual_seed(settings.seed)
        trained_head = with_density(head, settings.n_density).eval().requires_grad_(True)
        self.model = TrainableModel(tensors, config, trained_head, device)
        self.whitening = self._standardise(tensors, config)  # before the optimiser looks at the head
        self._whitened = {
            name: nn.Parameter(self.whitening.to_white(layer.weight))
            for name, layer in self.model.head.entry_layers().items()
        }
        network = list(self.model.network.parameters())
        if not settings.network_rate:
            for parameter in network:
                parameter.requires_grad_(False)
        rate = {"classes": settings.first_rate, "density": settings.density_first_rate}
        branches = self.model.head.branch_parameters()
        groups = [
            *({"params": [weight], "lr": rate[name]} for name, weight in self._whitened.items()),
            {"params": branches["classes"], "lr": settings.head_rate},
            {"params": branches["density"], "lr": settings.density_rate},
        ]
        for parameter in network if settings.network_rate else ():
            rms = float(parameter.detach().square().mean().sqrt())
            groups.append({"params": [parameter], "lr": settings.network_rate * rms})
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        self.average = AveragedModel(self.model, avg_fn=self._averaged)

    def _averaged(self, mean: Tensor, weight: Tensor, _count: Tensor | int) -> Tensor:
        decay = min(self.settings.average, self.step / (self.step + 10.0))
        return torch.lerp(mean, weight, 1.0 - decay)

    def _rate(self, step: int) -> float:
        rise = min(1.0, (step + 1) / max(1, self.settings.warm_up))
        return rise * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / self.settings.n_steps))))

    def _standardise(self, tensors: dict[str, Any], config: NetworkConfig) -> Whitening:
        """Whiten the features as they are at the start of the run; columns that were idle get a mean and a scale."""
        evaluator = make_evaluator(tensors, config, None)
        rng = np.random.default_rng([self.settings.seed, _AFRESH])
        parts: list[Any] = []
        while sum(map(len, parts)) < _ROWS:
            samples = [self.draw(rng) for _ in range(TOGETHER)]
            parts.append(rows_of(evaluator, samples, 24, rng, 0, np.float16)["features"])
        head, s = self.model.head, self.settings
        features = torch.from_numpy(np.concatenate(parts).astype(np.float32))
        powers = torch.ones(config.n_layers + 2, (config.l_max + 2) * config.n_channels)
        powers[:, : 2 * config.n_channels] = 0.0
        floor = powers * (s.floor * features.std(0)).square().reshape(powers.shape)
        floor[-2] = floor[-1]
        if not head.floor.any():
            head.floor.copy_(floor.flatten())
        features = torch.where(powers.flatten() > 0, (features.square() + head.floor).sqrt(), features)
        idle = features.std(0) > 100.0 * head.scale
        head.mean.copy_(torch.where(idle, features.mean(0), head.mean))
        head.scale.copy_(torch.where(idle, features.std(0), head.scale))
        with torch.no_grad():
            head.entry_layers()["classes"].weight[:, idle] = 0.0
        log.info("%d features were idle and got a scale", int(idle.sum()))
        found = whiten(features, head.mean, head.scale)
        return Whitening(mean=head.mean, scale=head.scale, matrix=found.matrix.to(head.mean))

    def draw(self, rng: np.random.Generator) -> tuple[Sample, int]:
        """Return a sample of any kind and its class."""
        return self.source.draw_any(self.settings.mix, rng)

    def samples(self, step: int) -> list[tuple[Sample, int]]:
        """Draw the samples of a step; fast for the step after the one asked for last, or the first of a shard."""
        if self._next != step or step % _SHARD == 0:
            shard = step // _SHARD
            self._stream = self.source.stream(self.settings.mix, (self.settings.seed, _STREAM, shard))
            for _ in range(shard * _SHARD, step):
                self._some()
        self._next = step + 1
        return self._some()

    def _some(self) -> list[tuple[Sample, int]]:
        samples: list[tuple[Sample, int]] = []
        n_atoms = 0
        while n_atoms < self.settings.n_atoms:
            samples.append(next(self._stream))
            n_atoms += len(samples[-1][0].slots)
        return samples

    def batch(self, step: int, pool: BlockPool | None = None, samples: list[tuple[Sample, int]] | None = None) -> Batch:
        """Return the samples of a step side by side; with `pool`, a share of them denoised."""
        s = self.settings
        samples = self.samples(step) if samples is None else list(samples)
        if pool is not None and s.score_weight and s.denoised:
            rng = np.random.default_rng([s.seed, step, _DENOISED])
            denoise_some(samples, self.model, s.denoised, s.noise_scale, rng, pool)
        batch = make_batch(samples, self.model.config.r_max)
        share = label_shares(batch, s.label_share)
        kept = np.random.default_rng([s.seed, step, _LABELLED]).uniform(size=len(batch.label)) < share
        return dataclasses.replace(
            batch,
            label=np.where(kept, batch.label, -1),
            weight=None if math.isinf(s.least_noise) else noise_weight(batch, s.noise_scale, s.least_noise),
        )

    def ahead(self) -> Iterator[list[tuple[Sample, int]]]:
        """Yield the samples of the steps from the present one on, one step drawn ahead."""
        self.source.prepare(self.settings.mix)
        with ThreadPoolExecutor(1) as executor:
            coming = executor.submit(self.samples, self.step)
            for step in range(self.step, self.settings.n_steps):
                samples = coming.result()
                if step + 1 < self.settings.n_steps:
                    coming = executor.submit(self.samples, step + 1)
                yield samples

    def run(
        self, checkpoint: Path, seconds: float = math.inf, progress: Callable[[float, str], None] | None = None
    ) -> bool:
        """Train until the steps are done or the time is up; returns whether the steps are done."""
        self.resume(checkpoint)
        started = saved = time.monotonic()
        recent: list[tuple[float, float]] = []
        with BlockPool() as pool:
            for samples in self.ahead():
                recent.append(self.advance(self.batch(self.step, pool, samples), pool))
                if self.step % 20 == 0:
                    score, label = np.mean(recent[-100:], axis=0)
                    log.info("step %d: score loss %.4f, label loss %.4f", self.step, *np.mean(recent[-20:], axis=0))
                    if progress is not None:
                        progress(self.step / self.settings.n_steps, f"score {score:.3f}, label {label:.3f}")
                now = time.monotonic()
                if now - saved > 120.0 or now - started > seconds:
                    self.save(checkpoint)
                    saved = now
                if now - started > seconds:
                    return False
        self.save(checkpoint)
        return True

    def advance(self, batch: Batch, pool: BlockPool) -> tuple[float, float]:
        """Make one step; returns the losses, of the score and of the labels."""
        s, first = self.settings, self.model.head.entry_layers()
        self.model.zero_grad()
        found = training_step(
            self.model,
            batch,
            noise_scale=s.noise_scale,
            label_weight=s.label_weight,
            score_weight=s.score_weight,
            largest_error=s.largest_error,
            pool=pool,
        )
        for name, white in self._whitened.items():
            weight = first[name].weight
            white.grad = None if weight.grad is None else weight.grad @ self.whitening.matrix
            weight.grad = None
        trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = float(nn.utils.clip_grad_norm_(trained, s.clip))
        if math.isfinite(norm):
            self.optimizer.step()
        else:
            log.warning("step %d left out: the gradient is not finite", self.step)
        self.schedule.step()
        self.step += 1
        with torch.no_grad():
            for name, white in self._whitened.items():
                first[name].weight.copy_(white @ self.whitening.matrix.T)
        self.average.update_parameters(self.model)
        return found.score_loss, found.label_loss

    def result(self) -> tuple[dict[str, Any], PhaseHead]:
        """Return the averaged network and head."""
        model = self.average.module
        assert isinstance(model, TrainableModel)
        tensors = {name: tensor.detach().cpu().numpy().copy() for name, tensor in model.tensors().items()}
        return tensors, copy.deepcopy(model.head).cpu().eval().requires_grad_(False)

    def save(self, path: Path) -> None:
        """Write everything a resumed run needs, complete or not at all."""
        state = {name: one.state_dict() for name, one in self._parts().items()}
        white = {name: weight.detach() for name, weight in self._whitened.items()}
        state |= {"identity": self.identity, "step": self.step, "matrix": self.whitening.matrix, "whitened": white}
        with finished_file(path) as temporary:
            torch.save(state, temporary)

    def resume(self, path: Path) -> None:
        """Take up a checkpoint where there is one; InputError for one of other settings, data or another start."""
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.model.device, weights_only=True)
        check_identity(path, state["identity"], self.identity)
        for name, one in self._parts().items():
            one.load_state_dict(state[name])
        with torch.no_grad():
            for name, weight in self._whitened.items():
                weight.copy_(state["whitened"][name])
        head = self.model.head
        self.whitening = Whitening(mean=head.mean, scale=head.scale, matrix=state["matrix"])
        self.step = int(state["step"])
        log.info("resumed at step %d", self.step)

    def _parts(self) -> dict[str, Any]:
        """Return what has a state, by its name in a checkpoint."""
        return {name: getattr(self, name) for name in ("model", "average", "optimizer", "schedule")}


def reinitialise_zero_matrices(
    tensors: dict[str, Any], config: NetworkConfig, rng: np.random.Generator
) -> dict[str, Any]:
    """Return the tensors; matrices that have decayed to zero are drawn anew, with the rms of that of degree 0.

    In MACE-MP-0 small all matrices that read the degrees 1 to 3 of the second layer have decayed to zero: its messages
    carry no directions. The coefficients of the products may stay zero, they have a gradient.
    """
    out = dict(tensors)
    for layer in range(config.n_layers):
        scale = float(np.sqrt(np.mean(np.square(tensors[f"layers.{layer}.linear.0"]))))
        for degree in range(1, config.l_max + 1):
            name = f"layers.{layer}.linear.{degree}"
            if np.abs(tensors[name]).max() < 1e-6 * scale:
                out[name] = rng.normal(0.0, scale, tensors[name].shape).astype(tensors[name].dtype)
    return out
