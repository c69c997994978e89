"""Crystals to test with that were not trained on: the part `test` of the split, or the reference cells without data."""

from __future__ import annotations

from ovito_mace_phase.lab.data.structures import (
    CrystalStructure,
    load_labelled,
    reference_structures,
    split,
    split_seed,
)
from ovito_mace_phase.lab.evaluation.report import SuiteSettings
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.runtime.errors import InputError


def held_out(model: PhaseModel, settings: SuiteSettings) -> tuple[dict[int, list[CrystalStructure]], str]:
    """Return the structures by column of the model, and in words where they come from."""
    references = reference_structures(model.phases, [])
    origin = "reference cells of the table (known geometry, fresh noise)"
    if settings.data is not None:
        labelled = load_labelled(settings.data, model.phases)
        seed = split_seed(model.card)
        parts = split(labelled, reference_structures(model.phases, labelled), len(model.phases), seed)
        references, origin = parts["test"], "held-out chemical systems"
    out: dict[int, list[CrystalStructure]] = {}
    for structure in references:
        out.setdefault(structure.phase, []).append(structure)
    if not out:
        raise InputError("no held-out structures: the data file is too small")
    return out, origin
