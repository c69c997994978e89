"""`ovito-mace-phase phases`: print the table of phases."""

from __future__ import annotations

from collections.abc import Sequence, Set

import click

from ovito_mace_phase.model.store import get_card, get_table
from ovito_mace_phase.phases import Phase

HEADER = ("id", "key", "name", "AFLOW label", "Strukturbericht", "space group", "atoms", "group", "model")


@click.command("phases")
@click.option("--grep", "text", metavar="TEXT", help="Only phases with this text in a name, label or designation.")
@click.option("--model", default="", metavar="NAME|FILE", help="What this model predicts, and its user-defined phases.")
def phases_command(text: str | None, model: str) -> None:
    """Print the table of phases: ids, keys, names, AFLOW labels, reference cells, and whether the model predicts them.

    The key names a phase in options, attributes and expressions. Phases of one group become indistinguishable by
    elastic strain.
    """
    table = get_table(model)
    phases = table.find(text) if text else list(table)
    if not phases:
        click.echo(f"no phase matches {text!r}")
        return
    card = get_card(model)
    predicted = set(card["phases"])
    for line in format_table([HEADER, *(_row(phase, predicted) for phase in phases)]):
        click.echo(line)
    n_predicted = sum(phase.key in predicted for phase in phases)
    click.echo(f"{len(phases)} of {len(table)} phases; {card['name']} predicts {n_predicted} of them")


def format_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows as lines with aligned columns, two blanks between them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(phase: Phase, predicted: Set[str]) -> tuple[str, ...]:
    n_atoms = "-" if phase.reference is None else str(phase.reference.n_atoms)
    space_group = "-" if phase.space_group is None else str(phase.space_group)
    return (
        str(phase.id),
        phase.key,
        phase.name,
        phase.aflow or "-",
        phase.strukturbericht or "-",
        space_group,
        n_atoms,
        phase.group,
        "yes" if phase.key in predicted else "no",
    )
