"""`ovito-mace-phase doctor`: whether all is there that the program needs, and this machine computes rightly.

A check that fails itself, as where a package cannot be imported, is a finding too, and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from ovito_mace_phase.cli.options import device_option

if TYPE_CHECKING:
    from .checks.finding import Finding

CHECKS = {
    "packages": "check_packages",
    "model": "check_model",
    "computer": "check_computer",
    "ovito_module": "check_ovito",
    "answers": "check_answers",
    "kernels": "check_kernels",
}
"""Module in `checks` -> function, in the order of the output; the kernels come after a frame was classified."""


@click.command("doctor")
@device_option()
def doctor_command(device: str) -> int:
    """Check this installation and this machine: packages, model, threads, GPU, OVITO, answers, kernels.

    Two small frames are classified and compared with stored answers. The exit status is 1 when something is wrong;
    the remedy is printed with it. Include the output in a bug report.
    """
    start = time.perf_counter()
    wrong = notes = 0
    for module, function in CHECKS.items():
        for finding in _findings(module, function, (device,) if module == "answers" else ()):
            click.echo(finding.lines())
            wrong += finding.state == "wrong"
            notes += finding.state == "note"
    seconds = time.perf_counter() - start
    if wrong:
        verdict = f"{wrong} thing{'s are' if wrong > 1 else ' is'} wrong"
    else:
        verdict = "all is well" + (f", see the {notes} note{'s' if notes > 1 else ''}" if notes else "")
    click.echo(f"{verdict} ({seconds:.0f} s)")
    return 1 if wrong else 0


def _findings(module: str, function: str, arguments: tuple[Any, ...]) -> Iterator[Finding]:
    """Yield what a check finds, or that it could not be made."""
    from .checks.finding import Finding

    try:
        yield from getattr(import_module(f".checks.{module}", __package__), function)(*arguments)
    except Exception as error:  # whatever a broken installation raises
        message = (str(error).strip().splitlines() or ["no message"])[0]
        yield Finding(
            name=module.partition("_")[0],
            text=f"could not be looked at: {type(error).__name__}: {message}",
            state="wrong",
            remedy="see what is wrong above; else install the package that the message names again: "
            "python -m pip install --force-reinstall NAME",
        )
