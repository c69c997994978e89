"""Extend a model by a phase, from one structure file: one more logit, the others unchanged.

structure file -> record -> noisy samples of it, of all old phases, of background -> one row of the head (`new_row`)
-> fresh samples: accuracy of the new phase, and what the old ones lose to it -> model file

Rivals, the old phases that the model takes the new one for, are drawn more often; a rival with the share p of the new
atoms weighs p times as much as the new phase, so that a copy of an old phase cannot win by taking it over.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ovito_mace_phase.confidence import Calibration, label
from ovito_mace_phase.errors import InputError
from ovito_mace_phase.head import PhaseHead
from ovito_mace_phase.model import SHIPPED, Device, PhaseModel
from ovito_mace_phase.network.weights import load_model, model_paths, save_model
from ovito_mace_phase.phases import Phase
from ovito_mace_phase.phases.own import ENTRY, FIRST_OWN_ID, checked_key, next_id, own_phases, table_with, to_card

from .new_row import Embedded, fit_row
from .own_phase import read_phase
from .rehearsal import BACKGROUND, Rehearsal, Rows
from .sampler import SampleLaw

NOISE_BINS = ((0.0, 0.05), (0.05, 0.10), (0.10, 0.15), (0.15, 0.20))
LEAST_ACCURACY, MOST_LOST, MOST_LOST_BY_ONE = 0.80, 0.005, 0.15
_JUDGED = 0.15  # noise up to which the new phase has to be recognised
_RIVAL, _MOST_RIVALS = 0.02, 8
_LOOK_AGAIN = 0.05  # of an old phase that seems to lose more, more samples are drawn
_BACKGROUND_WEIGHT = 20.0  # of a phase
Progress = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class AddSettings:
    """How a phase is added; the numbers are samples of 32 to 160 atoms.

    Attributes
    ----------
    per_phase, background, new, per_rival : int
        Samples to fit on: of every old phase and of background (twice), of the new phase, further ones of each rival.
    test_per_phase, test_new, test_per_rival : int
        Fresh samples to measure on: of every old phase, of the new one in each range of noise, of each rival.
    keep : int
        Atoms kept of each sample.
    old_share : float
        Weight of all old phases together, against 1 of the new one: more keeps more of the old phases.
    decay : float
        See `new_row.fit_row`.
    """

    per_phase: int = 2
    background: int = 100
    new: int = 400
    per_rival: int = 40
    test_per_phase: int = 2
    test_new: int = 40
    test_per_rival: int = 20
    keep: int = 16
    old_share: float = 3.0
    decay: float = 1e-3
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class AddReport:
    """What was measured, on fresh samples.

    Attributes
    ----------
    known_as : dict of str to float
        What the model took atoms of the new phase for before, up to 0.15 A of noise: key -> share.
    accuracy : float
        Share of the atoms of the new phase recognised, up to 0.15 A of noise.
    by_noise : dict of str to float
        The same by range of noise (A per component at 13 A^3 per atom).
    confused : dict of str to float
        What the others are taken for.
    old_before, old_after : float
        Accuracy of the old phases, every phase alike.
    lost : dict of str to float
        Share of its atoms that an old phase loses, most first.
    background_lost : float
        Share of packings and shattered crystals that are now taken for the new phase.
    n_samples : int
        Samples drawn, to fit and to measure.
    seconds : float
    """

    known_as: dict[str, float]
    accuracy: float
    by_noise: dict[str, float]
    confused: dict[str, float]
    old_before: float
    old_after: float
    lost: dict[str, float]
    background_lost: float
    n_samples: int
    seconds: float

    @property
    def faults(self) -> tuple[str, ...]:
        """Reasons not to use the extended model."""
        faults = []
        if self.accuracy < LEAST_ACCURACY:
            before, share = next(iter(self.known_as.items()))
            text = (
                f"only {self.accuracy:.0%} of the atoms of fresh samples are recognised (needed: {LEAST_ACCURACY:.0%})"
            )
            faults.append(f"{text}; before, the model took {share:.0%} of them for {before}")
        if self.old_before - self.old_after > MOST_LOST:
            faults.append(
                f"the accuracy of the old phases falls from {self.old_before:.1%} to {self.old_after:.1%}, by more "
                f"than {100 * MOST_LOST:.1f} points"
            )
        faults += [
            f"{key} loses {share:.0%} of its atoms to the new phase"
            for key, share in self.lost.items()
            if share > MOST_LOST_BY_ONE
        ]
        return tuple(faults)


@dataclass(frozen=True, kw_only=True)
class ExtendedModel:
    """A model with one more phase, not written yet."""

    phase: Phase
    report: AddReport
    tensors: dict[str, npt.NDArray[Any]]
    card: dict[str, Any]

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write NAME.safetensors and NAME.json; returns the path without suffix.

        Raises
        ------
        InputError
            When the report has faults and `force` is not set.
        """
        if self.report.faults and not force:
            raise InputError(
                f"{self.phase.key} was not added: {'; '.join(self.report.faults)}. If it is a variant of a phase that "
                "the model knows, use that one; --force writes the model all the same"
            )
        stem = model_paths(path)[0].with_suffix("")
        save_model(stem, self.tensors, {**self.card, "name": stem.name})
        return stem


def check_output(path: str | Path, base: str | Path | None) -> None:
    """Raise InputError where a new model would overwrite the one it is made from, or the shipped one."""
    target = model_paths(path)[0].resolve()
    for other in (SHIPPED, SHIPPED if base is None else base):
        if target == model_paths(other)[0].resolve():
            raise InputError(
                f"{path} would overwrite the model that the phase is added to; choose another name with -o"
            )


def add_phase(
    structure: str | Path,
    key: str,
    *,
    name: str | None = None,
    base: str | Path | None = None,
    settings: AddSettings | None = None,
    device: Device = "auto",
    progress: Progress | None = None,
) -> ExtendedModel:
    """Extend a model by the phase of one structure file; nothing is written yet.

    Parameters
    ----------
    structure : path
        One ordered crystal in any format that ase reads.
    key : str
        Letters, digits and _; upper and lower case are alike.
    name : str, optional
        Name to show; default the key.
    base : path, optional
        Model to extend; default the shipped one.
    settings : AddSettings, optional
    device : 'auto', 'cpu' or 'cuda'
    progress : callable, optional
        Called with the stage and the fraction of it that is done.

    Raises
    ------
    InputError
        When key, structure or kind of model cannot be used, with the remedy.
    ModelFileError
        When the base cannot be read.

    Examples
    --------
    >>> from ovito_mace_phase.training.add_phase import add_phase
    >>> extended = add_phase("t_carbon.cif", "T_CARBON")  # doctest: +SKIP
    >>> extended.report.accuracy, extended.save("with_t_carbon")  # doctest: +SKIP
    """
    started = time.time()
    settings, report_progress = settings or AddSettings(), progress or (lambda stage, done: None)
    key = checked_key(key)
    model = PhaseModel.load(base, device=device)
    tensors, card = load_model(SHIPPED if base is None else base)
    head = PhaseHead.from_tensors(tensors, card)
    if head.config.kind != "mlp":
        raise InputError(
            f"the model {model.name!r} has a {head.config.kind} head; phases can be added to models with an mlp head, "
            "such as the shipped one"
        )
    own = own_phases(card)
    taken = next((phase for phase in table_with(card) if phase.key == key), None)
    if taken is not None:
        where = "model" if taken.id >= FIRST_OWN_ID else "phase table"
        raise InputError(f"the {where} has a phase {key} already ({taken.name}); choose another key")
    phase = read_phase(
        Path(structure),
        key=key,
        name=_checked_name(name, key),
        number=next_id(own),
        n_carriers=model.evaluator.n_carriers,
    )
    rehearsal = Rehearsal(model.evaluator, head.to(model.evaluator.device), model.phases, settings.keep)
    row = _fit(rehearsal, phase, model, settings, report_progress)
    report = _measure(rehearsal, phase, model, row, settings, report_progress)
    report = dataclasses.replace(report, seconds=round(time.time() - started, 1))
    extended = {
        **tensors,
        "head.last.weight": np.vstack([tensors["head.last.weight"], row.weight[None]]).astype(np.float32),
        "head.last.bias": np.append(tensors["head.last.bias"], row.bias).astype(np.float32),
    }
    new_card = _card(card, phase, own, report, settings)
    return ExtendedModel(phase=phase, report=report, tensors=extended, card=new_card)


@dataclass(frozen=True, kw_only=True)
class _Row:
    """The new row of the last layer, and the old phases (columns) that it was told to keep apart from."""

    weight: npt.NDArray[np.float32]
    bias: float
    rivals: tuple[int, ...]
    n_samples: int

    def logits(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Return old and new logits, (n_atoms, n_phases + 1) float32."""
        return _with_row(rows, self.weight, self.bias)


def _with_row(rows: Rows, weight: npt.NDArray[np.float32], bias: float) -> npt.NDArray[np.float32]:
    new = rows.embedding.numpy() @ weight + np.float32(bias)
    return np.concatenate([rows.logits.numpy(), new[:, None]], axis=1)


def _fit(rehearsal: Rehearsal, phase: Phase, model: PhaseModel, settings: AddSettings, progress: Progress) -> _Row:
    """Fit twice: the old phases that lose atoms of fresh samples to the first row become rivals of the second."""
    law, n_phases = SampleLaw(), len(model.phases)
    rng = np.random.default_rng([settings.seed, 0])
    new = rehearsal.new(phase, settings.new, law, rng, partial(progress, f"samples of {phase.key}"))
    share = np.bincount(new.logits.argmax(1).numpy(), minlength=n_phases) / len(new.label)
    rivals = [int(c) for c in np.argsort(-share)[:_MOST_RIVALS] if share[c] >= _RIVAL and c != BACKGROUND]

    def fit(old: Rows) -> tuple[npt.NDArray[np.float32], float]:
        wanted = np.full(n_phases, settings.old_share / n_phases)
        wanted[BACKGROUND] *= _BACKGROUND_WEIGHT
        wanted[rivals] += share[rivals]
        weight = (wanted / np.maximum(np.bincount(old.label, minlength=n_phases), 1))[old.label]
        row, bias = fit_row(
            _embedded(old, torch.from_numpy(weight).float(), _calibration(model)),
            _embedded(new, torch.full((len(new.label),), 1.0 / len(new.label)), _calibration(model)),
            decay=settings.decay,
        )
        return row.numpy(), bias

    def draw_old(number: int) -> Rows:
        stage = f"samples of the old phases, {number} of 2"
        return rehearsal.old(settings.per_phase, settings.background, law, rng, partial(progress, stage))

    old = draw_old(1).joined(
        rehearsal.some(rivals, settings.per_rival, law, rng, partial(progress, "samples of its rivals"))
    )
    progress("first fit", 0.0)
    weight, bias = fit(old)
    fresh = draw_old(2)
    column = _columns(_with_row(fresh, weight, bias), _calibration(model))
    hurt = np.bincount(fresh.label[column == n_phases], minlength=n_phases) * np.arange(n_phases).astype(bool)
    victims = [int(c) for c in np.argsort(-hurt)[: 2 * _MOST_RIVALS] if hurt[c] and c not in rivals]
    more = rehearsal.some(victims, settings.per_rival, law, rng, partial(progress, "samples of those that lose"))
    old = old.joined(fresh).joined(more)
    progress("second fit", 0.0)
    weight, bias = fit(old)
    progress("second fit", 1.0)
    n_atoms = len(old.label) + len(new.label)
    return _Row(weight=weight, bias=bias, rivals=(*rivals, *victims), n_samples=n_atoms // settings.keep)


def _measure(
    rehearsal: Rehearsal,
    phase: Phase,
    model: PhaseModel,
    row: _Row,
    settings: AddSettings,
    progress: Progress,
) -> AddReport:
    """Draw fresh samples and label them without and with the new phase."""
    rng = np.random.default_rng([settings.seed, 1])
    keys = [*(old.key for old in model.phases), phase.key]
    quiet = dataclasses.replace(SampleLaw(), hot_share=0.0)
    by_noise, judged_before, judged = {}, [], []
    for number, (low, high) in enumerate(NOISE_BINS):
        law = dataclasses.replace(quiet, sigma=(low, high))
        stage = f"fresh samples of {phase.key}, {number + 1} of {len(NOISE_BINS)}"
        rows = rehearsal.new(phase, settings.test_new, law, rng, partial(progress, stage))
        column = _columns(row.logits(rows), _calibration(model))
        by_noise[f"{low:.2f}-{high:.2f}"] = round(float((column == rehearsal.n_phases).mean()), 4)
        if high <= _JUDGED:
            judged.append(column)
            judged_before.append(_columns(rows.logits.numpy(), _calibration(model)))
    old = rehearsal.old(
        settings.test_per_phase,
        settings.background,
        quiet,
        rng,
        partial(progress, "fresh samples of the old phases"),
    )
    extra = partial(rehearsal.some, count=settings.test_per_rival, law=quiet, rng=rng)
    old = old.joined(extra(row.rivals, progress=partial(progress, "fresh samples of its rivals")))
    before, after, losses = _compare(old, row, _calibration(model))
    again = [c for c, loss in losses.items() if loss > _LOOK_AGAIN and c not in row.rivals]
    if again:
        more = extra(again, progress=partial(progress, "more of those that lose"))
        old = old.joined(more)
        before, after, losses = _compare(old, row, _calibration(model))
    right_before, right_after = (_rights(columns, old.label) for columns in (before, after))
    crystals = [c for c in right_before if c != BACKGROUND]
    lost = {keys[c]: round(loss, 4) for c, loss in losses.items() if loss > 0}
    packed = old.label == BACKGROUND
    final = np.concatenate(judged)
    return AddReport(
        known_as=_named(np.concatenate(judged_before), keys),
        accuracy=round(float((final == rehearsal.n_phases).mean()), 4),
        by_noise=by_noise,
        confused=_named(final[final != rehearsal.n_phases], keys, len(final)),
        old_before=round(float(np.mean([right_before[c] for c in crystals])), 5),
        old_after=round(float(np.mean([right_after[c] for c in crystals])), 5),
        lost=dict(sorted(lost.items(), key=lambda item: -item[1])),
        background_lost=round(float((after[packed] == rehearsal.n_phases).mean()), 4) if packed.any() else 0.0,
        n_samples=row.n_samples + len(old.label) // settings.keep + settings.test_new * len(NOISE_BINS),
        seconds=0.0,
    )


def _compare(
    old: Rows, row: _Row, calibration: Calibration
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], dict[int, float]]:
    """Return columns of old atoms without and with the new row, and the share that each old phase loses."""
    before, after = _columns(old.logits.numpy(), calibration), _columns(row.logits(old), calibration)
    first, last = _rights(before, old.label), _rights(after, old.label)
    return before, after, {c: first[c] - last[c] for c in first if c != BACKGROUND}


def _calibration(model: PhaseModel) -> Calibration:
    """Return the calibration of class logits: in a head with a density branch they are no density, so no threshold."""
    if not model.card["head"].get("n_density"):
        return model.calibration
    return dataclasses.replace(model.calibration, log_density=-np.inf)


def _embedded(rows: Rows, weight: torch.Tensor, calibration: Calibration) -> Embedded:
    rival = torch.logaddexp(rows.logits.logsumexp(1), torch.tensor(calibration.log_density, dtype=torch.float32))
    return Embedded(embedding=rows.embedding, rival=rival, weight=weight)


def _columns(logits: npt.NDArray[np.float32], calibration: Calibration) -> npt.NDArray[np.int64]:
    return label(logits, calibration, None, 0.0, BACKGROUND)[0]


def _rights(column: npt.NDArray[np.int64], truth: npt.NDArray[np.int64]) -> dict[int, float]:
    """Share of the atoms of each class that are labelled right."""
    return {int(c): float((column[truth == c] == c).mean()) for c in np.unique(truth)}


def _named(column: npt.NDArray[np.int64], keys: Sequence[str], total: int | None = None) -> dict[str, float]:
    """Shares of the classes by key, most first."""
    numbers, counts = np.unique(column, return_counts=True)
    order = np.argsort(-counts)
    return {keys[numbers[k]]: round(float(counts[k]) / (total or len(column)), 4) for k in order}


def _checked_name(name: str | None, key: str) -> str:
    text = key if name is None else name.strip()
    if not text or len(text) > 200 or not text.isprintable():
        raise InputError(f"the name {name!r} cannot be used; give a line of text of at most 200 characters")
    return text


def _card(
    card: Mapping[str, Any], phase: Phase, own: Sequence[Phase], report: AddReport, settings: AddSettings
) -> dict[str, Any]:
    record = {
        "key": phase.key,
        "base": {"name": card.get("name"), "sha256": card.get("sha256")},
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "settings": dataclasses.asdict(settings),
        "report": dataclasses.asdict(report),
        "faults": list(report.faults),
    }
    return {
        **card,
        "head": {**card["head"], "n_phases": card["head"]["n_phases"] + 1},
        "phases": [*card["phases"], phase.key],
        ENTRY: to_card([*own, phase]),
        "additions": [*card.get("additions", []), record],
    }
