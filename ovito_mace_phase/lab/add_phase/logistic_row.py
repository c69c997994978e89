"""One more row of the last layer of an MLP head: the logit of a new phase, all others kept as they are.

    l_new = w . z + b                            z: embedding of the atom, the last hidden layer, (n_hidden,)
    to_beat = log( sum_c exp l_c + exp tau )     c: the old phases;  tau: density below which an atom is Other
    loss = share < log(1 + exp(l_new - to_beat)) >_old + < log(1 + exp(to_beat - l_new)) >_new + decay |w sd(z)|^2

The first two terms are the cross-entropy of old and new atoms up to constants, so this is logistic regression with an
offset: convex, one optimum, found by L-BFGS. In the mean over old atoms every phase has the same weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

STEPS = 120


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """Atoms as the last layer sees them.

    Attributes
    ----------
    embedding : (n_atoms, n_hidden) float32 Tensor
    to_beat : (n_atoms,) float32 Tensor
        Logit that the new phase has to beat.
    weight : (n_atoms,) float32 Tensor
        The v above.
    """

    embedding: Tensor
    to_beat: Tensor
    weight: Tensor


def fit_row(old: Embedded, new: Embedded, *, decay: float) -> tuple[Tensor, float]:
    """Return w (n_hidden,) float32 and b.

    Parameters
    ----------
    old, new : Embedded
        Atoms of the phases (and background) that the model knows, and of the new phase.
    decay : float
        Pulls the row to zero, in units of the standard deviation of each embedding.
    """
    scaled = torch.cat([old.embedding, new.embedding])  # a copy, changed in place: these are the largest arrays
    mean, std = scaled.mean(0), scaled.std(0)
    std = torch.where(std > 1e-3 * std.max(), std, torch.inf)
    scaled.sub_(mean).div_(std)
    to_beat = torch.cat([old.to_beat, new.to_beat])
    weight = torch.cat([old.weight, new.weight])
    sign = torch.cat([torch.ones_like(old.to_beat), -torch.ones_like(new.to_beat)])
    row = torch.zeros(scaled.shape[1] + 1, requires_grad=True)
    with torch.no_grad():
        row[-1] = new.to_beat.mean()
    optimizer = torch.optim.LBFGS([row], max_iter=STEPS, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logit = scaled @ row[:-1] + row[-1]
        value = (weight * softplus(sign * (logit - to_beat))).sum() + decay * (row[:-1] ** 2).sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[arg-type]
    found = row.detach().double()
    plain = found[:-1] / std.double()
    return plain.float(), float(found[-1] - plain @ mean.double())
