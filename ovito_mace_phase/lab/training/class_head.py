"""Train the class branch of a head on features of a frozen network, with more samples than end-to-end training affords.

    z = W_3 silu(W_2 silu(C y + b_1) + b_2) + b_3,      y = M^T (f - mean) / scale,      W_1 = C M^T
    loss = mean over atoms of  -log softmax(z)_label,      W = mean over the steps of the weights that Adam went through
    b_3,c <- b_3,c - t log(n_c / median n of its kind),  c other than Other,      n_c = rows of phase c

Used twice: for a new head on the network as it came (first stage of `train`), and once more on the network that was
trained end to end. The mean of the weights (Izmailov et al., UAI 2018) forgets what single rows taught and keeps what
all share. Phases drawn more often became likelier answers; t takes part of that back (logit adjustment, Menon et al.,
ICLR 2021), among the common phases and among the others, so that the common ones stay the likelier answers. A sample
costs one evaluation of the network here, and five with its score and the gradient by the weights. Network and density
branch are left alone, so that denoising does not change.

Samples come from a stream of (seed, number of the part). Whitening and parts are files and the fit leaves a checkpoint
after each part, so that a stopped run goes on and several processes can make parts; all carry what they were made from.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ovito_mace_phase.lab.features.rows import TOGETHER, Shard, batches, rows_of
from ovito_mace_phase.lab.features.whitening import Whitening, whiten
from ovito_mace_phase.lab.identity import Identity, check_identity, digest, identity_of
from ovito_mace_phase.lab.samples.sampler import Sample
from ovito_mace_phase.model.engine.evaluator import Evaluator
from ovito_mace_phase.model.network.head import HeadConfig, PhaseHead
from ovito_mace_phase.runtime.files import finished_file

log = logging.getLogger(__name__)
Draw = Callable[[np.random.Generator], tuple[Sample, int]]
Stream = Callable[[int, int], Iterator[tuple[Sample, int]]]
WHITENING_SAMPLES, _WHITENING_KEEP = 2500, 16
"""Samples that the whitening is fitted to, and atoms of each; many samples, since atoms of one are correlated."""
_FIT, _KEPT = 7937, 7949


@dataclass(frozen=True, kw_only=True)
class ClassFitSettings:
    """How much a class branch is trained on, and how fast.

    Attributes
    ----------
    n_parts, n_samples : int
        Files of feature rows, and samples in each; 0 files: the stage is left out.
    uses : int
        Samples of one crystal, in place of those of the mix: the network takes longer here than the sampler, so more
        crystals are seen.
    keep : int
        Atoms of each sample; of a sample with several phases as many of each.
    passes, batch : int
        Passes over all rows; rows of a step.
    first_rate, rate : float
        Learning rates of Adam, of the first layer in whitened coordinates and of the others; constant.
    averaged : float
        Share of the steps, the last ones, whose weights are averaged; 0: the last step alone.
    prior_correction : float
        t.
    emphasis : float
        k of `emphasis.py`; 0: all phases are drawn as in end-to-end training.
    seed : int
    """

    n_parts: int = 16
    n_samples: int = 3000
    uses: int = 4
    keep: int = 32
    passes: int = 1
    batch: int = 4096
    first_rate: float = 3e-4
    rate: float = 1e-3
    averaged: float = 0.9
    prior_correction: float = 0.4
    emphasis: float = 2.0
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class FeatureRows:
    """Where feature rows come from.

    Attributes
    ----------
    evaluator : Evaluator
        The frozen network.
    draw : callable
        Returns a sample, independent of all others, and its class.
    stream : callable
        Yields samples of a seed and a number, crystals used several times.
    identity : Identity
        What network and samples were made from.
    """

    evaluator: Evaluator
    draw: Draw
    stream: Stream
    identity: Identity

    def blocks(
        self, samples: Iterable[tuple[Sample, int]], keep: int, rng: np.random.Generator
    ) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Yield the rows of samples, a few samples at a time."""
        left, start = iter(samples), 0
        while some := list(islice(left, TOGETHER)):
            yield rows_of(self.evaluator, some, keep, rng, start)
            start += len(some)

    def part(self, n_samples: int, keep: int, seed: int, number: int) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Yield the rows of a part."""
        rng = np.random.default_rng([seed, number, _KEPT])
        return self.blocks(islice(self.stream(seed, number), n_samples), keep, rng)

    def features(self, seed: int) -> torch.Tensor:
        """Return features of many independent samples, (n, n_features), the same for the same seed."""
        rng = np.random.default_rng([seed, _FIT])
        samples = (self.draw(rng) for _ in range(WHITENING_SAMPLES))
        return torch.from_numpy(
            np.concatenate([block["features"] for block in self.blocks(samples, _WHITENING_KEEP, rng)])
        )


def train_classes(
    rows: FeatureRows,
    head: PhaseHead | HeadConfig,
    settings: ClassFitSettings,
    folder: Path,
    progress: Callable[[float], None] | None = None,
    common: Sequence[int] = (),
) -> PhaseHead:
    """Return the head with its class branch trained.

    Parameters
    ----------
    rows : FeatureRows
    head : PhaseHead or HeadConfig
        Head to go on from; of a shape alone a new head is made.
    settings : ClassFitSettings
    folder : Path
        Where whitening, parts (about 500 MB each) and checkpoint are kept; those that are there are used.
    progress : callable, optional
        Called with the fraction done.
    common : sequence of int
        Columns of the common phases.

    Raises
    ------
    InputError
        When the folder holds files that were made from other data, another network or with other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    whitening = stored_whitening(rows, head, settings, folder / "whitening.npz")
    parts = []
    for number in range(settings.n_parts):
        parts.append(part(rows, whitening, settings, number, folder))
        if progress is not None:
            progress(0.6 * (number + 1) / settings.n_parts)
    started = new_head(head, whitening, settings.seed) if isinstance(head, HeadConfig) else head
    return fit_classes(started, whitening, parts, settings, folder / "fit.checkpoint", progress, common)


def stored_whitening(
    rows: FeatureRows, head: PhaseHead | HeadConfig, settings: ClassFitSettings, path: Path
) -> Whitening:
    """Return the whitening of a run: read where it is there, since made anew it may differ by rounding and turns."""
    given = digest(head if isinstance(head, HeadConfig) else head.state_dict())
    identity = identity_of(
        **rows.identity, head=given, seed=settings.seed, whitening=[WHITENING_SAMPLES, _WHITENING_KEEP]
    )
    if path.is_file():
        with np.load(path) as archive:
            check_identity(path, json.loads(str(archive["identity"])), identity)
            return Whitening(**{name: torch.from_numpy(archive[name]) for name in ("mean", "scale", "matrix")})
    features = rows.features(settings.seed)
    if isinstance(head, HeadConfig):
        found = whiten(features, features.mean(0), features.std(0) + 1e-4, head.n_features // 2)
    else:  # all directions, or something of its first layer would be lost
        found = whiten(features, head.mean, head.scale)
    with finished_file(path) as temporary, temporary.open("wb") as file:
        arrays = {name: getattr(found, name).numpy() for name in ("mean", "scale", "matrix")}
        np.savez(file, identity=np.array(json.dumps(identity)), **arrays)
    return found


def new_head(config: HeadConfig, whitening: Whitening, seed: int) -> PhaseHead:
    """Return an untrained head, its first layer drawn at random in whitened coordinates."""
    torch.manual_seed(seed)
    head = PhaseHead(config)
    with torch.no_grad():
        head.mean.copy_(whitening.mean)
        head.scale.copy_(whitening.scale)
        white = nn.Linear(whitening.matrix.shape[1], config.n_hidden).weight
        head.entry_layers()["classes"].weight.copy_(whitening.to_plain(white))
    return head.eval().requires_grad_(False)


def part(rows: FeatureRows, whitening: Whitening, settings: ClassFitSettings, number: int, folder: Path) -> Path:
    """Write the shard of y with this number unless it is there; returns the file."""
    path = folder / f"rows_{number:02d}.npz"
    identity = identity_of(
        **rows.identity,
        whitening=[whitening.mean, whitening.scale, whitening.matrix],
        sampling=[settings.n_samples, settings.keep],
        seed=[settings.seed, number],
    )
    if path.is_file():
        Shard.check(path, identity)
        return path
    blocks = rows.part(settings.n_samples, settings.keep, settings.seed, number)
    shard = Shard.joined([vars(whitening.apply(Shard(**block))) for block in blocks])
    shard.save(path, identity)
    log.info("wrote %s, %d rows", path, len(shard.label))
    return path


def fit_classes(
    head: PhaseHead,
    whitening: Whitening,
    parts: Sequence[Path],
    settings: ClassFitSettings,
    checkpoint: Path,
    progress: Callable[[float], None] | None = None,
    common: Sequence[int] = (),
) -> PhaseHead:
    """Train the class branch on the rows of the parts, given in whitened coordinates.

    The checkpoint is written after every part; one of another fit is refused with InputError.
    """
    fit = _Fit(head, whitening, settings)
    labels = [Shard.labels(path) for path in parts]
    total = settings.passes * sum(-(-len(label) // settings.batch) for label in labels)
    first = min(total - 1, int((1.0 - settings.averaged) * total))
    identity = identity_of(
        settings=settings, start=head.state_dict(), whitening=whitening.matrix, rows=[digest(one) for one in labels]
    )
    done = fit.resume(checkpoint, identity)
    for turn in range(done, settings.passes * len(parts)):
        order = np.random.default_rng([settings.seed, _FIT, turn // len(parts)]).permutation(len(parts))
        rng = np.random.default_rng([settings.seed, _FIT, 1, turn])
        losses = []
        for features, label in batches(Shard.load(parts[order[turn % len(parts)]]), settings.batch, rng):
            losses.append(fit.step(features, label, averaged=fit.n_steps >= first))
            if progress is not None:
                progress(0.6 + 0.4 * fit.n_steps / total)
        log.info("classes, step %d of %d: label loss %.4f", fit.n_steps, total, np.mean(losses))
        fit.save(checkpoint, identity, turn + 1)
    correction = log_oversampling(np.concatenate(labels), head.config.n_phases, common)
    return fit.result(settings.prior_correction * correction)


class _Fit:
    """The class branch in whitened coordinates, its optimiser and the average of its weights."""

    def __init__(self, head: PhaseHead, whitening: Whitening, settings: ClassFitSettings) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.head = copy.deepcopy(head).requires_grad_(True).train().to(self.device)
        self.whitening, self.n_steps = whitening, 0
        self.core = nn.Parameter(whitening.to_white(head.entry_layers()["classes"].weight).to(self.device))
        rest = self.head.branch_parameters()["classes"]
        self.trained = nn.ParameterList([self.core, *rest])
        groups = [{"params": [self.core], "lr": settings.first_rate}, {"params": rest, "lr": settings.rate}]
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: min(1.0, (step + 1) / 20))
        self.mean = AveragedModel(self.trained)

    def step(self, features: npt.NDArray[np.float16], label: npt.NDArray[np.int16], *, averaged: bool) -> float:
        """Make one step; returns the loss."""
        y = torch.from_numpy(features).to(self.device).float()
        z = self.head.classes_of(nn.functional.linear(y, self.core))
        loss = nn.functional.cross_entropy(z, torch.from_numpy(label.astype(np.int64)).to(self.device))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.n_steps += 1
        if averaged:
            self.mean.update_parameters(self.trained)
        return float(loss.detach())

    def _state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("trained", "optimizer", "schedule", "mean")}

    def save(self, path: Path, identity: Identity, done: int) -> None:
        """Write everything that a resumed fit needs, complete or not at all."""
        state = {name: one.state_dict() for name, one in self._state().items()}
        with finished_file(path) as temporary:
            torch.save({"identity": identity, "done": done, "n_steps": self.n_steps, **state}, temporary)

    def resume(self, path: Path, identity: Identity) -> int:
        """Take up a checkpoint where there is one; returns the number of parts done."""
        if not path.is_file():
            return 0
        state = torch.load(path, map_location="cpu", weights_only=True)
        check_identity(path, state["identity"], identity)
        for name, one in self._state().items():
            one.load_state_dict(state[name])
        self.n_steps = int(state["n_steps"])
        return int(state["done"])

    def result(self, correction: torch.Tensor) -> PhaseHead:
        """Return the head with the averaged weights, its logits lower by `correction` (n_phases,)."""
        with torch.no_grad():
            for own, averaged in zip(self.trained, self.mean.module.parameters(), strict=True):
                own.copy_(averaged)
            entry = self.head.cpu().entry_layers()["classes"]
            entry.weight.copy_(self.whitening.to_plain(self.core.cpu()))
            self.head.lower_logits(correction)
        return self.head.eval().requires_grad_(False)


def log_oversampling(label: npt.NDArray[np.int16], n_phases: int, common: Sequence[int] = ()) -> torch.Tensor:
    """Return log(n_c / median n of its kind) by phase (n_phases,), 0 for Other and phases that are not there."""
    n_rows = np.bincount(label, minlength=n_phases)
    there = (n_rows > 0) & (np.arange(n_phases) > 0)
    is_common = np.isin(np.arange(n_phases), common)
    found = np.zeros(n_phases, dtype=np.float32)
    for kind in (there & is_common, there & ~is_common):
        if kind.any():
            found[kind] = np.log(n_rows[kind] / np.median(n_rows[kind]))
    return torch.from_numpy(found)
