"""Phase head: features of an atom -> one logit per phase.

    x = (g(f) - mean) / scale,   g the identity on node features and sqrt(f + floor) on message powers
    classes: z = W_3 silu(W_2 silu(W_1 x))
    density: E = V_3 silu(V_2 silu(V_1 x)),   l_c = E + log softmax_c z;   without a density branch l = z

With a density branch  logsumexp_c l = E  and  softmax_c l = softmax_c z:  p(surroundings) and p(phase | surroundings),
the two factors of the joint density, each have weights of their own. (With l = z one set of numbers must give both;
classes that are told apart by fine differences then make the density steep: docs/training.md.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ovito_mace_phase.runtime.errors import ModelFileError

from .operations.memory import Memory

_SMALLEST_ROOT = 1e-9
_FORMER = ("n_embedding", "n_anchors")  # of metric heads; they stand in the cards of other models, too


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """Shape of a head; stored in the model card. `n_density` is the width of the density branch, 0: there is none.

    `kind` is always "mlp".
    """

    kind: Literal["mlp"] = "mlp"
    n_features: int
    n_phases: int
    n_hidden: int = 512
    dropout: float = 0.0
    n_density: int = 0


class PhaseHead(nn.Module):
    """Logits (n, n_phases) of features (n, n_features)."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.mean = nn.Buffer(torch.zeros(config.n_features))
        self.floor = nn.Buffer(torch.zeros(config.n_features))
        self.scale = nn.Buffer(torch.ones(config.n_features))
        self.first = nn.Linear(config.n_features, config.n_hidden)
        self.second = nn.Linear(config.n_hidden, config.n_hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.last = nn.Linear(config.n_hidden, config.n_phases)
        if config.n_density:
            self.density_first = nn.Linear(config.n_features, config.n_density)
            self.density_second = nn.Linear(config.n_density, config.n_density)
            self.density_last = nn.Linear(config.n_density, 1)
            nn.init.zeros_(self.density_last.weight)
            nn.init.zeros_(self.density_last.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits."""
        return self.finish((features - self.mean) / self.scale @ self.entry_weight().T + self.entry_bias())

    def entry_weight(self) -> Tensor:
        """Return the weights of the first layers of both branches, (n_hidden + n_density, n_features)."""
        return torch.cat([self.first.weight, self.density_first.weight]) if self.config.n_density else self.first.weight

    def entry_bias(self) -> Tensor:
        """Return the biases of the first layers of both branches."""
        return torch.cat([self.first.bias, self.density_first.bias]) if self.config.n_density else self.first.bias

    def roots(self, parts: Sequence[Tensor], n_plain: int) -> Tensor:
        """Return g(f), (n, n_features), of blocks of features (n, width); powers from column `n_plain` of each."""
        return roots_of(self.floor, parts, n_plain)

    def entry_layers(self) -> dict[str, nn.Linear]:
        """Return the layers that read standardised features, by the name of their branch."""
        return {"classes": self.first} | ({"density": self.density_first} if self.config.n_density else {})

    def branch_parameters(self) -> dict[str, list[nn.Parameter]]:
        """Return what is trained of each branch beside the weights that read the features."""
        density = (self.density_second, self.density_last) if self.config.n_density else ()
        return {
            "classes": [self.first.bias, *self.second.parameters(), *self.last.parameters()],
            "density": [self.density_first.bias, *(p for one in density for p in one.parameters())] if density else [],
        }

    def class_rows(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the last layer of the class branch reads, (n, n_hidden), and gives, z (n, n_phases)."""
        embedding = self._embed(self.first((features - self.mean) / self.scale))
        return embedding, self.last(embedding)

    def classes_of(self, entry: Tensor) -> Tensor:
        """Return z, (n, n_phases), of what the weights that read the features give, (n, n_hidden)."""
        return self.classes(entry + self.first.bias)

    def lower_logits(self, amount: Tensor) -> None:
        """Take an amount (n_phases,) off the class logits."""
        with torch.no_grad():
            self.last.bias.sub_(amount)

    def log_density_of(self, features: Tensor) -> Tensor:
        """Return logsumexp of the logits, (n,), of features."""
        if not self.config.n_density:
            return torch.logsumexp(self(features), 1)
        return self.log_density(self.density_first((features - self.mean) / self.scale))

    def _embed(self, hidden: Tensor) -> Tensor:
        return self.dropout(nn.functional.silu(self.second(self.dropout(nn.functional.silu(hidden)))))

    def finish(self, hidden: Tensor) -> Tensor:
        """Return logits of what the first layers give, (n, n_hidden + n_density)."""
        classes = self.classes(hidden[:, : self.config.n_hidden])
        if not self.config.n_density:
            return classes
        return nn.functional.log_softmax(classes, 1) + self.log_density(hidden[:, self.config.n_hidden :]).unsqueeze(1)

    def classes(self, hidden: Tensor) -> Tensor:
        """Return z, (n, n_phases), of what `first` gives."""
        return self.last(self._embed(hidden))

    def log_density(self, hidden: Tensor) -> Tensor:
        """Return E, (n,), of what `density_first` gives."""
        inner = nn.functional.silu(self.density_second(nn.functional.silu(hidden)))
        return self.density_last(inner).squeeze(1)

    def to_tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return the numbers of the head under the names of a model file, `head.*`."""
        return {
            f"head.{name}": value.detach().cpu().numpy().astype(np.float32) for name, value in self.state_dict().items()
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[Any]], card: Mapping[str, Any]) -> PhaseHead:
        """Build the head a model file describes; raises ModelFileError when it holds none or another shape."""
        entry = card.get("head")
        kind = entry.get("kind", "mlp") if isinstance(entry, Mapping) else "mlp"
        if kind != "mlp":
            raise ModelFileError(
                f"the model file has a {kind} head, which this version cannot use; take the shipped model, or train "
                "one with `ovito-mace-phase train`"
            )
        try:
            head = cls(HeadConfig(**{name: value for name, value in card["head"].items() if name not in _FORMER}))
            state = {name: torch.as_tensor(tensors[f"head.{name}"]) for name in head.state_dict() if name != "floor"}
            state["floor"] = torch.as_tensor(tensors.get("head.floor", np.zeros(head.config.n_features, np.float32)))
            head.load_state_dict(state)
        except (KeyError, TypeError, RuntimeError) as error:
            raise ModelFileError(
                f"the model file holds no usable phase head ({error}); it may be a bare network made by `convert`: "
                "train a head with `ovito-mace-phase train`"
            ) from error
        return head.eval().requires_grad_(False)


def with_density(head: PhaseHead, width: int) -> PhaseHead:
    """Return a copy of the head with a density branch of that width at least; the logits stay as they are.

    A new branch is E = 0. What is added to a narrower one is drawn at random and leads to nothing at first.
    """
    old = head.config.n_density
    wide = PhaseHead(dataclasses.replace(head.config, n_density=max(old, width), dropout=0.0))
    own, state = wide.state_dict(), head.state_dict()
    if 0 < old < width:
        own["density_second.weight"][:old, old:] = 0.0
        for name in [name for name in own if name.startswith("density_")]:
            given = state.pop(name)
            own[name][tuple(slice(n) for n in given.shape)] = given
    wide.load_state_dict(own | state)
    return wide


def with_class_row(
    tensors: Mapping[str, npt.NDArray[Any]], weight: npt.NDArray[np.floating], bias: float
) -> dict[str, npt.NDArray[Any]]:
    """Return the tensors of a model with one class more: weights (n_hidden,) of what the last layer reads, and bias."""
    return {
        **tensors,
        "head.last.weight": np.vstack([tensors["head.last.weight"], weight[None]]).astype(np.float32),
        "head.last.bias": np.append(tensors["head.last.bias"], bias).astype(np.float32),
    }


Entry = tuple[Tensor, Tensor, Tensor]
"""Mean, weight and bias of a first layer, `(g(f) - mean) weight + bias`."""


class Head(Protocol):
    """What the engine knows of a head; `parts` are blocks (n, width) of the features of some atoms.

    First those of each layer, then the means of the first over neighbours alike and over all, or over all in a frame of
    one species.
    """

    @property
    def floor(self) -> Tensor:
        """The floor of g, (n_features,)."""
        ...

    @property
    def n_plain(self) -> int:
        """Columns of a block that are not powers."""
        ...

    @property
    def folds(self) -> bool:
        """Whether the means of a frame of one species are read once by `entry(True)`, not twice."""
        ...

    def entry(self, one_species: bool) -> Entry:
        """Return mean, weight and bias of the layer that reads g(f), of all branches."""
        ...

    def branches(self, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return z and E of what the layer of `entry` gives; None where there is no density branch."""
        ...

    def density_entry(self, one_species: bool) -> Entry:
        """Return mean, weight and bias of the layer that reads g(f) for the density."""
        ...

    def density_of(self, hidden: Tensor) -> Tensor:
        """Return logsumexp of the logits, (n,), of what the layer of `density_entry` gives."""
        ...

    def finish(self, hidden: Tensor) -> Tensor:
        """Return logits of what the layer of `entry` gives."""
        ...

    def roots(self, parts: Sequence[Tensor]) -> Tensor:
        """Return g(f), (n, n_features or less)."""
        ...

    def logits(self, parts: Sequence[Tensor], one_species: bool, memory: Memory | None = None) -> Tensor:
        """Return logits (n, n_phases); without gradients in `memory`, where it is given."""
        ...

    def log_density(self, parts: Sequence[Tensor], one_species: bool) -> Tensor:
        """Return logsumexp of the logits, (n,)."""
        ...


def roots_of(floor: Tensor, parts: Sequence[Tensor], n_plain: int) -> Tensor:
    """Return g of blocks of features side by side; the last blocks may be missing."""
    floors = floor.unflatten(0, (-1, parts[0].shape[1]))[: len(parts), n_plain:]
    return torch.cat([amplitudes(part, n_plain, one) for part, one in zip(parts, floors, strict=True)], dim=1)


def amplitudes(features: Tensor, n_plain: int, floor: Tensor | None = None) -> Tensor:
    """Apply g: sqrt(f + floor) on all columns from `n_plain` on, the message powers, so that all scale like amplitudes.

    `floor` (n_columns - n_plain,) makes g smooth where a power vanishes, as many do in a perfect crystal. Without it
    the root has no slope there; it is taken as 0, since such a power is at its least.
    """
    return _Amplitudes.apply(features, n_plain, features.new_zeros(()) if floor is None else floor)


class _Amplitudes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, n_plain: int, floor: Tensor) -> Tensor:
        out = features.clone()
        out[:, n_plain:].clamp_(min=0.0).add_(floor).sqrt_()
        ctx.save_for_backward(out)
        ctx.n_plain = n_plain
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (out,) = ctx.saved_tensors
        root = out[:, ctx.n_plain :]
        slope = torch.where(root > _SMALLEST_ROOT, 0.5 / root.clamp_min(_SMALLEST_ROOT), 0.0)
        return torch.cat([gradient[:, : ctx.n_plain], gradient[:, ctx.n_plain :] * slope], dim=1), None, None
