"""The class branch once more, on features of the finished network: many more samples than a step end to end can see.

    z = W_3 silu(W_2 silu(C y + b_1) + b_2) + b_3,      y = M^T (f - mean) / scale,      W_1 = C M^T
    loss = mean over atoms of  -log softmax(z)_label,      W = mean over the steps of what Adam went through
    b_3,c <- b_3,c - t log(n_c / median n of its kind),  c other than Other,      n_c = rows of phase c

The mean of the weights (Izmailov et al., UAI 2018) forgets what single rows taught and keeps what all share. Phases
drawn more often became likelier answers; t takes a part of that back (Menon et al., ICLR 2021: logit adjustment), among
the common phases and among the others, so that the common ones stay the likelier answers. A sample costs one evaluation
of the network here, and five with its score and the gradient by the weights. Network and density branch stay as they
are, so that denoising does not change. Samples are drawn as in the training end to end, those of phases that are hard
to tell apart more often (`emphasis.py`), from (seed, number of the part). Parts are files, so that a stopped run goes
on and several processes can make them.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ovito_mace_phase.lab.samples.sampler import Sample
from ovito_mace_phase.model.engine.evaluator import Evaluator
from ovito_mace_phase.model.network.head import PhaseHead

from .feature_rows import Shard, batches, rows_of
from .whitening import Whitening, whiten

log = logging.getLogger(__name__)
Draw = Callable[[np.random.Generator], tuple[Sample, int]]
_TOGETHER = 24
_FIT = 7937


@dataclass(frozen=True, kw_only=True)
class RefitSettings:
    """How much, and how fast.

    Attributes
    ----------
    n_parts, n_samples : int
        Files, and samples in each; 0 files: no refit.
    keep : int
        Atoms of each sample; of a sample with several phases as many of each.
    passes, batch : int
        Over all rows; rows of a step.
    first_rate, rate : float
        Learning rates of Adam, of the first layer in whitened coordinates and of the others; constant.
    averaged : float
        Share of the steps, the last ones, whose weights are averaged; 0: the last step alone.
    levelled : float
        t.
    emphasis : float
        k of `emphasis.py`; 0: all phases are drawn as in the training end to end.
    seed : int
    """

    n_parts: int = 16
    n_samples: int = 3000
    keep: int = 32
    passes: int = 1
    batch: int = 4096
    first_rate: float = 3e-4
    rate: float = 1e-3
    averaged: float = 0.9
    levelled: float = 0.4
    emphasis: float = 2.0
    seed: int = 0


def refit_classes(
    evaluator: Evaluator,
    head: PhaseHead,
    draw: Draw,
    settings: RefitSettings,
    folder: Path,
    progress: Callable[[float], None] | None = None,
    common: Sequence[int] = (),
) -> PhaseHead:
    """Return the head with its class branch trained on; of kind "mlp".

    Parameters
    ----------
    evaluator, head
        Of the finished network.
    draw : callable
        Sample and class, or a sample with a class for each atom.
    settings : RefitSettings
    folder : Path
        Where parts are kept, about 500 MB each; those that are there are used.
    progress : callable, optional
        Called with the fraction done.
    common : sequence of int
        Columns of the common phases.
    """
    whitening = fit_directions(evaluator, head, draw, settings)
    parts = []
    for number in range(settings.n_parts):
        parts.append(part(evaluator, whitening, draw, settings, number, folder))
        if progress is not None:
            progress(0.6 * (number + 1) / settings.n_parts)
    return fit_classes(head, whitening, parts, settings, progress, common)


def fit_directions(
    evaluator: Evaluator, head: PhaseHead, draw: Draw, settings: RefitSettings, n_rows: int = 12000
) -> Whitening:
    """Return mean and scale of the head and M, (n_features, n_features)."""
    rng = np.random.default_rng([settings.seed, _FIT])
    rows: list[npt.NDArray[np.float32]] = []
    while sum(map(len, rows)) < n_rows:
        samples = [draw(rng) for _ in range(_TOGETHER)]
        rows.append(rows_of(evaluator, samples, settings.keep, rng, 0, np.float32)["features"])
    matrix = whiten(torch.from_numpy(np.concatenate(rows)), head.mean, head.scale, len(head.mean))
    return Whitening(mean=head.mean, scale=head.scale, matrix=matrix)


def part(
    evaluator: Evaluator, whitening: Whitening, draw: Draw, settings: RefitSettings, number: int, folder: Path
) -> Path:
    """Write a shard of y unless it is there; returns the file."""
    path = folder / f"refit_{number:02d}.npz"
    if path.is_file():
        return path
    rng = np.random.default_rng([settings.seed, number])
    found: list[Shard] = []
    for start in range(0, settings.n_samples, _TOGETHER):
        samples = [draw(rng) for _ in range(min(_TOGETHER, settings.n_samples - start))]
        rows = rows_of(evaluator, samples, settings.keep, rng, start, np.float32)
        found.append(whitening.apply(Shard(**rows)))
    names = [field.name for field in dataclasses.fields(Shard)]
    shard = Shard(**{name: np.concatenate([getattr(one, name) for one in found]) for name in names})
    folder.mkdir(parents=True, exist_ok=True)
    shard.save(path)
    log.info("wrote %s, %d rows", path, len(shard.label))
    return path


def fit_classes(
    head: PhaseHead,
    whitening: Whitening,
    parts: Sequence[Path],
    settings: RefitSettings,
    progress: Callable[[float], None] | None = None,
    common: Sequence[int] = (),
) -> PhaseHead:
    """Train the class branch on the rows of the parts; `common`: columns of the common phases."""
    torch.manual_seed(settings.seed)
    whole, matrix = copy.deepcopy(head).requires_grad_(True), whitening.matrix
    core = nn.Parameter(torch.linalg.solve(matrix.double(), head.first.weight.double().T).T.float())
    rest = [whole.first.bias, *whole.second.parameters(), *whole.last.parameters()]
    optimizer = torch.optim.Adam(
        [{"params": [core], "lr": settings.first_rate}, {"params": rest, "lr": settings.rate}], betas=(0.9, 0.99)
    )
    labels = [Shard.labels(path) for path in parts]
    total = settings.passes * sum(-(-len(label) // settings.batch) for label in labels)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 20))
    mean = AveragedModel(nn.ParameterList([core, *rest]))
    first = min(total - 1, int((1.0 - settings.averaged) * total))
    losses: list[float] = []
    for features, label in _rounds(parts, settings):
        y = torch.from_numpy(features).float()
        z = whole.classes(nn.functional.linear(y, core, whole.first.bias))
        loss = nn.functional.cross_entropy(z, torch.from_numpy(label.astype(np.int64)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if len(losses) >= first:
            mean.update_parameters(nn.ParameterList([core, *rest]))
        losses.append(float(loss.detach()))
        if len(losses) % 50 == 0:
            log.info("refit, step %d of %d: label loss %.4f", len(losses), total, np.mean(losses[-50:]))
        if progress is not None:
            progress(0.6 + 0.4 * len(losses) / total)
    with torch.no_grad():
        for own, averaged in zip([core, *rest], mean.module.parameters(), strict=True):
            own.copy_(averaged)
        whole.first.weight.copy_((core.double() @ matrix.double().T).float())
        whole.last.bias.sub_(settings.levelled * surplus(np.concatenate(labels), len(whole.last.bias), common))
    return whole.eval().requires_grad_(False)


def surplus(label: npt.NDArray[np.int16], n_phases: int, common: Sequence[int] = ()) -> torch.Tensor:
    """Return log(n_c / median n of its kind) by phase (n_phases,), 0 for Other and phases that are not there."""
    n_rows = np.bincount(label, minlength=n_phases)
    there = (n_rows > 0) & (np.arange(n_phases) > 0)
    is_common = np.isin(np.arange(n_phases), common)
    found = np.zeros(n_phases, dtype=np.float32)
    for kind in (there & is_common, there & ~is_common):
        if kind.any():
            found[kind] = np.log(n_rows[kind] / np.median(n_rows[kind]))
    return torch.from_numpy(found)


def _rounds(
    parts: Sequence[Path], settings: RefitSettings
) -> Iterator[tuple[npt.NDArray[np.float16], npt.NDArray[np.int16]]]:
    """Yield the rows of all parts in random order, as often as there are passes."""
    for turn in range(settings.passes):
        rng = np.random.default_rng([settings.seed, _FIT, turn])
        for place in rng.permutation(len(parts)):
            yield from batches(Shard.load(parts[place]), settings.batch, rng)
