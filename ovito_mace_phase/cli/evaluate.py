"""`ovito-mace-phase evaluate`: run suites that measure a model; see `ovito_mace_phase.lab.evaluation`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from ovito_mace_phase.lab.evaluation.methods import method_of
from ovito_mace_phase.lab.evaluation.registry import COMPARING, SUITES, check_names, load
from ovito_mace_phase.lab.evaluation.report import SuiteSettings, write
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.runtime.files import output_folder

from .renamed import command_with


def _list_suites(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        width = max(map(len, SUITES))
        for name, text in SUITES.items():
            click.echo(f"{name:<{width}}  {text}")
        ctx.exit()


@click.command("evaluate", cls=command_with({"--denoise": "--denoise-steps"}))
@click.argument("suites", nargs=-1, required=True, metavar="SUITE [SUITE]...")
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_suites,
    help="List the suites and exit.",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    default=None,
    metavar="NAME|FILE",
    help="Name of a model, or path of a model file.  [default: the shipped one]",
)
@click.option(
    "--frames",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Folder of npz snapshots of molecular dynamics, for the suites that need some; may be given several times.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of all random draws.")
@click.option(
    "--denoise-steps",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Label the frames again after this many denoising steps.",
)
@click.option(
    "--data",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Labelled structures (docs/training.md): the suite `denoise` then uses the held-out chemical systems.",
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME|MODULE:FUNCTION",
    help="Score another method on the same frames (suite `field`): PTM, CNA, ..., or your function, see "
    "docs/benchmark.md; may be given several times.",
)
@click.option("--quick", is_flag=True, help="Fewer, smaller frames: a check that all runs, no measurement.")
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the results."
)
def evaluate_command(
    suites: Sequence[str],
    model: Path | None,
    frames: Sequence[Path],
    seed: int,
    denoise_steps: int,
    data: Path | None,
    methods: Sequence[str],
    quick: bool,
    output: Path,
) -> None:
    """Measure a model with suites: each writes SUITE.json, SUITE.md and, where there is a figure, SUITE.png.

    `--list` names the suites; docs/evaluation.md says what each measures and which frames it needs.
    """
    check_names(suites)
    if methods and not set(suites) <= set(COMPARING):
        raise InputError(f"--method is for the suite {', '.join(COMPARING)} alone")
    for method in methods:
        method_of(method)  # a wrong name is said before anything is measured
    loaded = PhaseModel.load(model)
    output = output_folder(output)
    settings = SuiteSettings(
        frames=tuple(frames),
        seed=seed,
        denoise_steps=denoise_steps,
        data=data,
        quick=quick,
        methods=tuple(dict.fromkeys(methods)),
    )
    origin = {"model": loaded.name, "seed": seed, "denoise_steps": denoise_steps, "quick": quick}
    click.echo(f"model {loaded.name}, seed {seed}")
    for name in dict.fromkeys(suites):
        started = time.perf_counter()
        files = write(load(name)(loaded, settings), output, name, {"suite": name, **origin})
        seconds = time.perf_counter() - started
        click.echo(f"{name}: {seconds:.0f} s, wrote {', '.join(str(path) for path in files)}")
