"""Suite `heldout`: accuracy on held-out chemical systems, as `train` measured it and stored it in the model card."""

from __future__ import annotations

from typing import Any

from ovito_mace_phase.errors import InputError
from ovito_mace_phase.model import PhaseModel

from .report import Report, SuiteSettings, Table, percent


def run(model: PhaseModel, settings: SuiteSettings) -> Report:
    """Tell the scores of the model card; InputError if it has none."""
    scores = model.card.get("scores")
    if not scores:
        raise InputError("the card of this model holds no held-out scores; `ovito-mace-phase train` writes them")
    return Report(
        title="Held-out chemical systems",
        about="An atom is right when its label (uniform prior, no threshold) is the phase of its crystal; every phase "
        "counts alike. By phase / by equivalence group, in per cent.",
        numbers={"scores": scores},
        tables=[_parts(scores), _per_phase(scores)],
    )


def _parts(scores: dict[str, Any]) -> Table:
    bins = list(next(iter(scores.values()))["by_noise"])
    rows = [
        (
            part,
            score["n_phases"],
            score["n_atoms"],
            score["phase_accuracy"],
            score["group_accuracy"],
            *(f"{percent(phase)} / {percent(group)}" for phase, group in score["by_noise"].values()),
            f"{score['ece']:.3f}",
            score["background"]["other_or_unsure"],
        )
        for part, score in scores.items()
    ]
    header = ("part", "phases", "atoms", "by phase", "by group", *(f"noise {name}" for name in bins))
    return Table(title="Parts of the split", header=(*header, "ECE", "melts doubted"), rows=rows)


def _per_phase(scores: dict[str, Any]) -> Table:
    rows = [
        (
            key,
            part,
            score["n_atoms"],
            score["phase"],
            score["group"],
            score["low_noise"],
            f"{score['confused_with']} ({score['confused']:.0%})" if score["confused_with"] else "",
        )
        for part in ("test", "noise")
        for key, score in scores.get(part, {}).get("per_phase", {}).items()
    ]
    header = ("phase", "part", "atoms", "by phase", "by group", "noise up to 0.10", "commonest confusion")
    return Table(title="Every phase", header=header, rows=rows)
