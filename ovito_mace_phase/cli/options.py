"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def device_option(help_text: str = "Where the network runs.") -> Callable[[Any], Any]:
    """Return the option `--device`."""
    choice = click.Choice(["auto", "cpu", "cuda"])
    return click.option("--device", type=choice, default="auto", show_default=True, help=help_text)
