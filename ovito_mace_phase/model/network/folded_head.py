"""A head ready for use in the engine, its scale folded into the weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .head import Entry, PhaseHead, roots_of
from .model_file import SMALLEST
from .operations.memory import Memory, NewMemory


class FoldedHead:
    """A head ready for use: `x W1 / scale` as one matrix, and a smaller one for frames of one species.

    There the means over neighbours alike and over all are the same numbers m, read once:

        (m - mean_1) W_1 + (m - mean_2) W_2 = (m - mean_1) (W_1 + W_2) + (mean_1 - mean_2) W_2

    That holds where both blocks have the same floor; of a head with two floors the numbers are read twice.

    Parameters
    ----------
    head : PhaseHead
    width : int
        Features of one block; the last two blocks are the means.
    n_plain : int
        Columns of a block that are not powers.
    """

    def __init__(self, head: PhaseHead, width: int, n_plain: int) -> None:
        self._head, self._floor, self._n_plain = head, head.floor, n_plain
        kind, n_classes = head.mean.dtype, head.config.n_hidden
        mean, weight = head.mean.double(), (head.entry_weight().double() / head.scale.double()).T
        several = (head.mean, _usable(weight, kind), head.entry_bias())
        n_kept = len(mean) - width
        alike, every = slice(n_kept - width, n_kept), slice(n_kept, None)
        single = weight[:n_kept].clone()
        single[alike] += weight[every]
        bias = head.entry_bias().double() + (mean[alike] - mean[every]) @ weight[every]
        one = (head.mean[:n_kept].contiguous(), _usable(single, kind), bias.to(kind))
        floors = head.floor.unflatten(0, (-1, width))
        self._folds = bool(torch.equal(floors[-2], floors[-1]))
        self._entry = {False: several, True: one if self._folds else several}
        self._n_blocks = len(floors)
        self._density = {
            kinds: (mean, weight[:, n_classes:].contiguous(), bias[n_classes:].contiguous())
            for kinds, (mean, weight, bias) in self._entry.items()
        }

    @property
    def floor(self) -> Tensor:
        """See `Head`."""
        return self._floor

    @property
    def n_plain(self) -> int:
        """See `Head`."""
        return self._n_plain

    @property
    def folds(self) -> bool:
        """See `Head`."""
        return self._folds

    def entry(self, one_species: bool) -> Entry:
        """See `Head`."""
        return self._entry[one_species]

    def branches(self, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
        """See `Head`."""
        config = self._head.config
        density = self._head.log_density(hidden[:, config.n_hidden :]) if config.n_density else None
        return self._head.classes(hidden[:, : config.n_hidden]), density

    def density_entry(self, one_species: bool) -> Entry:
        """See `Head`; that of the density branch alone where there is one."""
        return self._density[one_species] if self._head.config.n_density else self._entry[one_species]

    def density_of(self, hidden: Tensor) -> Tensor:
        """See `Head`."""
        if not self._head.config.n_density:
            return torch.logsumexp(self._head.finish(hidden), 1)
        return self._head.log_density(hidden)

    def finish(self, hidden: Tensor) -> Tensor:
        """See `Head`."""
        return self._head.finish(hidden)

    def roots(self, parts: Sequence[Tensor]) -> Tensor:
        """See `Head`; the last block may be missing."""
        return roots_of(self._floor, self._complete(parts), self._n_plain)

    def _complete(self, parts: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return all blocks that the entry asks for: the means twice where they were read once and do not fold."""
        return parts if self._folds or len(parts) == self._n_blocks else (*parts, parts[-1])

    def logits(self, parts: Sequence[Tensor], one_species: bool, memory: Memory | None = None) -> Tensor:
        """See `Head`."""
        if torch.is_grad_enabled() or self._floor.device.type != "cpu":
            return self._head.finish(self._first(parts, self._entry[one_species]))
        memory = NewMemory() if memory is None else memory
        return self._finish_in_place(self._first(parts, self._entry[one_species], memory), memory)

    def log_density(self, parts: Sequence[Tensor], one_species: bool) -> Tensor:
        """See `Head`; without the logits where there is a density branch."""
        return self.density_of(self._first(parts, self.density_entry(one_species)))

    def _finish_in_place(self, hidden: Tensor, memory: Memory) -> Tensor:
        """Do what `PhaseHead.finish` does, in few pieces of memory; `hidden` is overwritten."""
        head, width = self._head, self._head.config.n_hidden
        silu, linear = nn.functional.silu, torch.addmm
        silu(hidden, inplace=True)
        inner = memory.take("inner", tuple(hidden.shape), hidden)
        linear(head.second.bias, hidden[:, :width], head.second.weight.T, out=inner[:, :width])
        if head.config.n_density:
            linear(head.density_second.bias, hidden[:, width:], head.density_second.weight.T, out=inner[:, width:])
        silu(inner, inplace=True)
        logits = memory.take("logits", (len(hidden), head.config.n_phases), hidden)
        linear(head.last.bias, inner[:, :width], head.last.weight.T, out=logits)
        if head.config.n_density:
            density = linear(head.density_last.bias, inner[:, width:], head.density_last.weight.T)
            logits += density - torch.logsumexp(logits, 1, keepdim=True)
        return logits

    def _first(self, parts: Sequence[Tensor], entry: Entry, memory: Memory | None = None) -> Tensor:
        mean, weight, bias = entry
        if torch.is_grad_enabled() or mean.device.type != "cpu":
            return torch.addmm(bias, self.roots(parts) - mean, weight)
        from .operations.kernels import standardise

        memory = NewMemory() if memory is None else memory
        features = memory.take("features", (len(parts[0]), len(mean)), mean)
        for place, part in enumerate(self._complete(parts)):
            standardise(
                part.numpy(), self._n_plain, mean.numpy(), self._floor.numpy(), features.numpy(), place * part.shape[1]
            )
        return torch.addmm(bias, features, weight, out=memory.take("hidden", (len(features), len(bias)), mean))


def _usable(weight: Tensor, kind: torch.dtype) -> Tensor:
    """Return weights in a precision, without numbers so small that products with them are slow."""
    return weight.masked_fill(weight.abs() < SMALLEST, 0.0).to(kind).contiguous()
