"""Extend a model by a phase, from one structure file: one more row of the head, the other rows unchanged.

At the density of the surroundings as it was, the new phase takes its share p and the old logits move by log(1 - p).

structure file -> record -> noisy samples of it, of all old phases, of background -> one row of the head (`confusable`)
-> fresh samples: accuracy of the new phase, and what the old ones lose to it (`report`) -> model file
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ovito_mace_phase.model.network.head import PhaseHead, with_class_row
from ovito_mace_phase.model.network.model_file import load_model, model_paths, save_model
from ovito_mace_phase.model.phase_model import Device, PhaseModel
from ovito_mace_phase.model.registry import SHIPPED, model_path
from ovito_mace_phase.phases import Phase
from ovito_mace_phase.phases.own import ENTRY, FIRST_OWN_ID, checked_key, next_id, own_phases, table_with, to_card
from ovito_mace_phase.runtime.errors import InputError

from .confusable import AddSettings, Progress, fit_added
from .rehearsal import Rehearsal
from .report import AddReport, measure_added
from .structure_file import read_phase


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
    for other in (SHIPPED, model_path(base)):
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
        Letters, digits and _; case does not matter.
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
        When key or structure cannot be used, with the remedy.
    ModelFileError
        When the base cannot be read.

    Examples
    --------
    >>> from ovito_mace_phase.lab.add_phase.add_phase import add_phase
    >>> extended = add_phase("t_carbon.cif", "T_CARBON")  # doctest: +SKIP
    >>> extended.report.accuracy, extended.save("with_t_carbon")  # doctest: +SKIP
    """
    started = time.time()
    settings, report_progress = settings or AddSettings(), progress or (lambda stage, done: None)
    key = checked_key(key)
    model = PhaseModel.load(base, device=device)
    tensors, card = load_model(model_path(base))
    head = PhaseHead.from_tensors(tensors, card)
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
        n_slots=model.evaluator.n_slots,
    )
    rehearsal = Rehearsal(model.evaluator, head.to(model.evaluator.device), model.phases, phase, settings.keep)
    row = fit_added(rehearsal, phase, model, settings, report_progress)
    report = measure_added(rehearsal, phase, model, row, settings, report_progress)
    report = dataclasses.replace(report, seconds=round(time.time() - started, 1))
    extended = with_class_row(tensors, row.weight, row.bias)
    new_card = _card(card, phase, own, report, settings)
    return ExtendedModel(phase=phase, report=report, tensors=extended, card=new_card)


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
