"""What results were made from: program, model, settings and input, for the pictures and the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from ovito_mace_phase.classification.settings import Settings, to_parameters
from ovito_mace_phase.model.store import get_card
from ovito_mace_phase.runtime.errors import ModelFileError

from .checksum import input_files, named_checksum
from .task import FrameTask

_OF_OVITO = ("only_selected", "color_by_type", "structure_settings", "compatibility", "further_phases")
"""Parameters of the modifier that change nothing here, or that `select` tells."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What results were made from.

    Attributes
    ----------
    program, model, input : str
        Name with version or checksum: "ovito-mace-phase 0.2.0", "mace-phase-6, sha256 ...", "cu.dump, sha256 ...".
    settings : mapping of str to str
        Parameter -> value, those without a value left out.
    """

    program: str
    model: str
    input: str
    settings: Mapping[str, str]

    def texts(self) -> dict[str, str]:
        """Return all of it as texts by name, the settings as JSON: what the pictures carry."""
        settings = json.dumps(dict(self.settings), ensure_ascii=False)
        return {"Program": self.program, "Model": self.model, "Input": self.input, "Settings": settings}


def origin_of(task: FrameTask, frames: str) -> Origin:
    """Return what the results of a task were made from; the input is read for its checksum."""
    return Origin(
        program=f"ovito-mace-phase {task.version}",
        model=_model(task.settings.model),
        input=f"{task.file.name}, {named_checksum(input_files(task.file))}",
        settings=_listed(task.settings, frames, task.select),
    )


def _model(model: str | None) -> str:
    """Name of a model and checksum of its numbers; the path alone where only the workers of a cluster can read it."""
    try:
        card = get_card(model)
    except ModelFileError:
        return str(model)
    return f"{card.get('name')}, sha256 {card.get('sha256')}"


def _listed(settings: Settings, frames: str, select: str) -> dict[str, str]:
    given = {"frames": frames, "select": select, **to_parameters(settings)}
    return {name: str(value) for name, value in given.items() if value not in ("", None) and name not in _OF_OVITO}
