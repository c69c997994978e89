"""Train a phase head on shards of frozen features, and calibrate it.

    loss = mean over atoms of  -log softmax(l)_label          (cross-entropy; phases are drawn evenly by the shards)

AdamW with a one-cycle learning rate, matrix products in bfloat16; a checkpoint after every pass over one shard, so that
a run that was stopped goes on where it was. Temperature: the T that minimises the cross-entropy of l / T on the
validation part.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.model.network.head import HeadConfig, PhaseHead
from ovito_mace_phase.runtime.errors import InputError

from .feature_rows import Shard, batches

Rows = tuple[npt.NDArray[np.float32], npt.NDArray[np.integer]]
log = logging.getLogger(__name__)
_WARM_UP = 0.1


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How the head is optimised."""

    epochs: int = 8
    batch: int = 4096
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    seed: int = 0


def fit_head(
    config: HeadConfig,
    shards: Sequence[Path],
    settings: FitSettings,
    checkpoint: Path,
    progress: Callable[[float, float], None] | None = None,
) -> PhaseHead:
    """Train a head.

    Parameters
    ----------
    config : HeadConfig
    shards : sequence of Path
        Files made by `shards.ShardMaker`, read one at a time.
    settings : FitSettings
    checkpoint : Path
        Written after every shard and taken up when it exists and belongs to the same settings.
    progress : callable, optional
        Called with the fraction done and the loss of the last shard.

    Returns
    -------
    PhaseHead
        In evaluation mode, on the CPU.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(settings.seed)
    head = PhaseHead(config)
    _standardise(head, Shard.load(shards[0]))
    head.to(device)
    total = settings.epochs * sum(-(-len(Shard.load(path).label) // settings.batch) for path in shards)
    optimizer = torch.optim.AdamW(head.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=total, pct_start=_WARM_UP
    )
    identity = json.dumps([dataclasses.asdict(config), dataclasses.asdict(settings), [path.name for path in shards]])
    done = _resume(checkpoint, identity, head, optimizer, schedule)
    n_passes = settings.epochs * len(shards)
    for step in range(done, n_passes):
        rng = np.random.default_rng([settings.seed, step])
        order = np.random.default_rng([settings.seed, 7, step // len(shards)]).permutation(len(shards))
        loss = _one_pass(
            head, Shard.load(shards[order[step % len(shards)]]), settings, optimizer, schedule, rng, device
        )
        log.info("pass %d of %d: loss %.4f", step + 1, n_passes, loss)
        _save(
            checkpoint,
            {
                "identity": identity,
                "done": step + 1,
                "head": head.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
            },
        )
        if progress is not None:
            progress((step + 1) / n_passes, loss)
    return head.cpu().eval().requires_grad_(False)


def _one_pass(
    head: PhaseHead,
    shard: Shard,
    settings: FitSettings,
    optimizer: torch.optim.Optimizer,
    schedule: Any,
    rng: np.random.Generator,
    device: str,
) -> float:
    """Go once over a shard; return the mean loss."""
    head.train()
    total = 0.0
    for features, label in batches(shard, settings.batch, rng):
        with torch.autocast(device, dtype=torch.bfloat16):
            logits = head(torch.from_numpy(features).to(device).float())
        loss = nn.functional.cross_entropy(logits.float(), torch.from_numpy(label.astype(np.int64)).to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item() * len(label)
    return total / len(shard.label)


def _standardise(head: PhaseHead, shard: Shard) -> None:
    """Set the mean and the scale of the features."""
    rows = torch.from_numpy(shard.features[:: max(1, len(shard.label) // 50000)].astype(np.float32))
    head.mean.copy_(rows.mean(0))
    head.scale.copy_(rows.std(0) + 1e-4)


def _save(path: Path, state: dict[str, Any]) -> None:
    temporary = path.with_suffix(".part")
    torch.save(state, temporary)
    temporary.replace(path)


def _resume(path: Path, identity: str, head: PhaseHead, optimizer: torch.optim.Optimizer, schedule: Any) -> int:
    """Take up a checkpoint; returns the passes done."""
    if not path.is_file():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["identity"] != identity:
        raise InputError(
            f"the checkpoint {path} belongs to a run with other settings; remove it or choose another output folder"
        )
    head.load_state_dict(state["head"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    log.info("resumed after %d passes", state["done"])
    return int(state["done"])


def shard_logits(head: PhaseHead, shard: Shard) -> np.ndarray:
    """Return the logits of the rows of a shard, (n, n_phases) float32."""
    with torch.inference_mode():
        return np.concatenate(
            [
                head(torch.from_numpy(shard.features[start : start + 16384]).float()).numpy()
                for start in range(0, len(shard.label), 16384)
            ]
        )


def calibrate(validation: Rows, hot: Sequence[Rows], rejected: float, *, hot_weight: float = 0.0) -> Calibration:
    """Fit the temperature on held-out samples and the density threshold on them and on hot crystals.

    The threshold is the lowest of the `rejected` quantiles of logsumexp of the crystal atoms of each source, so that no
    source of crystals loses a larger share to Other.

    Parameters
    ----------
    validation, hot
        Logits (n, n_phases) and labels (n,) of each source.
    rejected : float
    hot_weight : float
        Weight of the hot crystals, all together, in the fit of the temperature against the held-out samples.
    """
    log_temperature = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=50)
    sources = [(1.0, *validation), *((hot_weight / max(1, len(hot)), *rows) for rows in hot)]
    terms = [
        (weight, torch.from_numpy(logits), torch.from_numpy(label.astype(np.int64)))
        for weight, logits, label in sources
        if weight
    ]

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.zeros(())
        for weight, logits, label in terms:
            loss = loss + weight * nn.functional.cross_entropy(logits / log_temperature.exp(), label)
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    densities = []
    for logits, label in (validation, *hot):
        crystal = torch.from_numpy(logits[label != 0])
        densities.append(torch.quantile(torch.logsumexp(crystal, 1)[:1_000_000], rejected))
    return Calibration(temperature=float(log_temperature.detach().exp()), log_density=float(min(densities)))
