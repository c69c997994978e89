"""`ovito-mace-phase doctor`: whether all is there that the program needs, and this machine computes rightly."""

from __future__ import annotations

import time

import click


@click.command("doctor")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the network runs.",
)
def doctor_command(device: str) -> int:
    """Check this installation and this machine: packages, model, threads, GPU, OVITO, answers, kernels.

    Two small frames are classified and compared with stored answers. The exit status is 1 when something is wrong;
    the remedy is printed with it. Copy the output into a report of a fault.
    """
    from .checks.answers import check_answers
    from .checks.computer import check_computer
    from .checks.kernels import check_kernels
    from .checks.model import check_model
    from .checks.ovito_module import check_ovito
    from .checks.packages import check_packages

    start = time.perf_counter()
    wrong = notes = 0
    for check in (
        check_packages,
        check_model,
        check_computer,
        check_ovito,
        lambda: check_answers(device),
        check_kernels,
    ):
        for finding in check():
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
