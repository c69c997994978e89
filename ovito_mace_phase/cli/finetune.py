"""`ovito-mace-phase finetune`: former name of `train --stages end-to-end,classes`, kept for one version."""

from __future__ import annotations

from typing import Any

import click

from .train import train_command


@click.command(params=train_command.params, hidden=True)
@click.pass_context
def finetune_command(context: click.Context, **given: Any) -> None:
    """Do what `train --stages end-to-end,classes` does."""
    click.echo("Warning: finetune is deprecated; use `train --stages end-to-end,classes`", err=True)
    context.invoke(train_command, **{**given, "stages": given["stages"] or "end-to-end,classes"})
