"""The command `ovito-mace-phase`: one group; a subcommand is imported when it is called, so that help is quick.

Exit status: 0 done, 1 a fault of the program or, of `doctor`, of the machine, 2 input that cannot be used, 130 stopped
by Ctrl-C.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from importlib import import_module

import click

from ovito_mace_phase.runtime.errors import MacePhaseError
from ovito_mace_phase.runtime.version import VERSION

EXIT_FAULT = 1
EXIT_INPUT = 2
EXIT_INTERRUPTED = 130

COMMANDS = {
    "classify": ("classify", "classify_command", "Classify the atoms of trajectory files."),
    "phases": ("phases", "phases_command", "Print the table of phases."),
    "train": ("train", "train_command", "Train a model in stages: head, end-to-end, classes, calibration."),
    "finetune": ("finetune", "finetune_command", "Deprecated: use `train --stages end-to-end,classes`."),
    "add-phase": ("add_phase", "add_phase_command", "Add your own phase to a model, from one structure file."),
    "evaluate": ("evaluate", "evaluate_command", "Measure a model: hot crystals, melts, defects, ices, ..."),
    "bench": ("bench", "bench_command", "Measure speed, memory and error; compare with mace-torch, PTM, CNA."),
    "doctor": ("doctor", "doctor_command", "Check this installation and this machine, and say what to do."),
    "convert": ("convert", "convert_command", "Convert a MACE model file to the format of this package."),
}
"""Name of the command: module, object, one line of help."""


class _LazyGroup(click.Group):
    """A group that knows the names of its commands and imports a command when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        return getattr(import_module(f".{module}", __name__), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="ovito-mace-phase")
@click.option("--traceback", "show_traceback", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def group(ctx: click.Context, show_traceback: bool) -> None:
    """Crystal phases of atoms in molecular dynamics, out of hundreds of AFLOW prototypes."""
    ctx.find_root().obj["traceback"] = show_traceback
    logger = logging.getLogger("ovito_mace_phase.model.engine")
    if not logger.handlers:
        logger.addHandler(_Messages())
        logger.setLevel(logging.INFO)


class _Messages(logging.Handler):
    """Messages of the engine, as lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(record.getMessage(), err=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with a status; errors become one message on stderr."""
    options: dict[str, bool] = {"traceback": False}
    _prepare_signals()
    try:
        status = group.main(
            args=None if arguments is None else list(arguments),
            prog_name="ovito-mace-phase",
            standalone_mode=False,
            obj=options,
        )
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("\nstopped", err=True)
        status = EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output left, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except MacePhaseError as error:
        status = _report(str(error), EXIT_INPUT, options["traceback"])
    except OSError as error:
        status = _report(describe_os_error(error), EXIT_INPUT, options["traceback"])
    except Exception as error:
        status = _report(*_describe_fault(error), options["traceback"])
    sys.exit(status if isinstance(status, int) else 0)


def _prepare_signals() -> None:
    """Let a request to end clean up as Ctrl-C does; keep Ctrl-C ignored where the shell ignores it.

    A background job of a script starts with SIGINT ignored, and OVITO crashes on SIGINT without a Python handler.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: None)
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def describe_os_error(error: OSError) -> str:
    """Return one sentence about a failed file operation."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"the disk is full{where}; unfinished files were removed"
    return f"{error.strerror or error}{where}"


def _describe_fault(error: Exception) -> tuple[str, int]:
    """Return message and status for an error that nobody raised on purpose."""
    if (
        isinstance(error, ModuleNotFoundError)
        and error.name
        and not error.name.startswith(__package__.partition(".")[0])
    ):
        name = error.name.partition(".")[0]
        return f"the Python package {name} is missing; install it with `python -m pip install {name}`", EXIT_INPUT
    text = f"unexpected {type(error).__name__}: {_first_line(error)}"
    return f"{text}\nrun `ovito-mace-phase --traceback ...` for the place in the program", EXIT_FAULT


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]


def _report(message: str, status: int, show_traceback: bool) -> int:
    if show_traceback:
        traceback.print_exc()
    click.echo(f"Error: {message}", err=True)
    return status
