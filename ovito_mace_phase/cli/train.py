"""`ovito-mace-phase train`: from a converted network, or a model with a head, to a calibrated model."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ovito_mace_phase.lab.training.settings import PipelineSettings

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)
EPILOG = """\b
Stages, in this order:
  new          a network of another shape with its head, from random weights
  head         a new class head on features of the frozen network
  end-to-end   network and head together, with a density branch
  classes      the class head once more, on features of the trained network
Calibration always follows and writes the model.
"""


def _renamed(_: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Warn about an option of an earlier version."""
    if value is not None:
        click.echo(f"Warning: {parameter.opts[0]} is deprecated; {_FORMER[parameter.opts[0]]}", err=True)
    return value


_FORMER = {
    "--backbone": "use --start",
    "--model": "use --start",
    "--shards": "use --head-parts",
    "--epochs": "use --head-passes",
    "--refit-parts": "use --class-parts",
    "--per-phase": "it has no effect: samples are drawn at random, see docs/training.md",
    "--head": "there is one kind of head, mlp",
}


def _former(name: str, target: str, kind: Any) -> Any:
    return click.option(name, target, type=kind, default=None, hidden=True, callback=_renamed)


@click.command(epilog=EPILOG)
@click.option("--data", type=_FILE, required=True, help="Labelled structures (npz; see docs/training.md).")
@click.option(
    "--start",
    type=click.Path(path_type=Path),
    default=None,
    help="Model to start from: a converted MACE-MP-0 small (see `convert`), or a model with a head.  [required]",
)
@click.option("--melts", type=_FOLDER, default=None, help="Folder of melt snapshots (sample_dumps/make_melts.py).")
@click.option("--dynamics", type=_FOLDER, default=None, help="Folder of hot crystals (make_hot.py --training).")
@click.option(
    "-o", "--output", type=_FOLDER, required=True, help="Folder for the files of the stages, log and model; resumes."
)
@click.option(
    "--settings",
    "settings_file",
    type=_FILE,
    default=None,
    help="JSON file of settings, or a model card, whose run it repeats; in place of the options below but --phases, "
    "--minutes, --name.",
)
@click.option(
    "--stages",
    default=None,
    metavar="STAGE[,STAGE]...",
    help="Stages to go through.  [default: all but `new`; without `head` for a start that has one]",
)
@click.option("--phases", default="", metavar="KEY[,KEY]...", help="Learn these phases only.  [default: all]")
@click.option("--hidden", type=click.IntRange(8), default=512, show_default=True, help="Width of a new head.")
@click.option(
    "--dropout", type=click.FloatRange(0.0, 0.9), default=0.1, show_default=True, help="Dropout of a new head."
)
@click.option("--channels", type=click.IntRange(8), default=64, show_default=True, help="Channels of a new network.")
@click.option("--layers", type=click.IntRange(1), default=2, show_default=True, help="Layers of a new network.")
@click.option("--degree", type=click.IntRange(1, 3), default=2, show_default=True, help="l_max of a new network.")
@click.option(
    "--cutoff",
    type=click.FloatRange(3.0),
    default=6.0,
    show_default=True,
    help="Cutoff of a new network, A in network units.",
)
@click.option("--grow", "grown", is_flag=True, help="Begin stage new with --start, which may be of lower degree.")
@click.option("--new-steps", type=click.IntRange(1), default=20000, show_default=True, help="Steps of stage new.")
@click.option("--head-parts", type=click.IntRange(1), default=None, help="Files of rows for stage head.  [default: 16]")
@click.option("--head-passes", type=click.IntRange(1), default=None, help="Passes over these rows.  [default: 8]")
@click.option("--class-parts", type=click.IntRange(0), default=None, help="Files for stage classes.  [default: 16]")
@click.option("--part-samples", type=click.IntRange(1), default=None, help="Samples per file.  [default: 6000, 3000]")
@click.option("--steps", type=click.IntRange(1), default=2000, show_default=True, help="Steps of stage end-to-end.")
@click.option("--atoms", type=click.IntRange(100), default=2000, show_default=True, help="Atoms per step, roughly.")
@click.option(
    "--network-rate",
    type=click.FloatRange(0.0),
    default=2e-4,
    show_default=True,
    help="Learning rate of the network; 0 keeps it fixed.",
)
@click.option(
    "--score-weight", type=click.FloatRange(0.0), default=1.0, show_default=True, help="Weight of the score loss."
)
@click.option(
    "--label-weight", type=click.FloatRange(0.0), default=1.0, show_default=True, help="Weight of the label loss."
)
@click.option(
    "--minutes", type=click.FloatRange(0.0), default=math.inf, help="Stop after this many minutes.  [default: none]"
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all random draws.")
@click.option("--name", default="mace-phase", show_default=True, help="Name in the model card.")
@_former("--backbone", "former_start", click.Path(path_type=Path))
@_former("--model", "former_start_2", click.Path(path_type=Path))
@_former("--shards", "former_head_parts", click.IntRange(1))
@_former("--epochs", "former_head_passes", click.IntRange(1))
@_former("--refit-parts", "former_class_parts", click.IntRange(0))
@_former("--per-phase", "former_per_phase", int)
@_former("--head", "former_head", click.Choice(["mlp"]))
@click.pass_context
def train_command(
    context: click.Context,
    /,
    data: Path,
    start: Path | None,
    melts: Path | None,
    dynamics: Path | None,
    output: Path,
    minutes: float,
    settings_file: Path | None,
    **given: Any,
) -> None:
    """Train a model in stages; repeat the command to resume a run that was stopped."""
    settings = _settings(given) if settings_file is None else _settings_of(settings_file, given, context)
    start = start or given["former_start"] or given["former_start_2"]
    if start is None:
        raise click.UsageError("Missing option '--start'.")
    from tqdm import tqdm

    from ovito_mace_phase.lab.training.first_stage import Sources
    from ovito_mace_phase.lab.training.pipeline import train

    output.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=output / "train.log", level=logging.INFO, format="%(asctime)s %(message)s")
    phases = tuple(key.strip() for key in given["phases"].split(",") if key.strip())
    sources = Sources(data=data, start=start, melts=melts, dynamics=dynamics, phases=phases)
    with tqdm(total=1.0, bar_format="{desc:<34} {percentage:3.0f}%|{bar}| {elapsed}") as bar:

        def show(stage: str, done: float) -> None:
            bar.set_description(stage, refresh=False)
            bar.n = done
            bar.refresh()

        path = train(sources, output, settings, show, 60.0 * minutes)
    if path is None:
        click.echo(f"time is up; call the command again to go on from what is in {output}")
    else:
        click.echo(f"wrote {path}.safetensors and {path}.json")


def _settings(given: dict[str, Any]) -> PipelineSettings:
    """Return the settings that the options make."""
    from ovito_mace_phase.lab.training.settings import PipelineSettings

    default = PipelineSettings()
    chosen = given["stages"] or ("head" if given["former_start"] else "")  # with the old option it trained a head alone
    stages = tuple(name.strip() for name in chosen.split(",") if name.strip())
    shape = replace(
        default.new.shape,
        n_channels=given["channels"],
        n_layers=given["layers"],
        l_max=given["degree"],
        r_max=given["cutoff"],
    )
    head = replace(
        default.head,
        n_parts=_first(given["head_parts"], given["former_head_parts"], default.head.n_parts),
        passes=_first(given["head_passes"], given["former_head_passes"], default.head.passes),
        n_samples=_first(given["part_samples"], default.head.n_samples),
        seed=given["seed"],
    )
    return replace(
        default,
        stages=stages,  # type: ignore[arg-type]  # checked where they are gone through
        new=replace(default.new, shape=shape, n_steps=given["new_steps"], seed=given["seed"]),
        grown=given["grown"],
        n_hidden=given["hidden"],
        dropout=given["dropout"],
        head=head,
        classes=replace(
            default.classes,
            n_parts=_first(given["class_parts"], given["former_class_parts"], default.classes.n_parts),
            n_samples=_first(given["part_samples"], default.classes.n_samples),
            seed=given["seed"],
        ),
        training=replace(
            default.training,
            n_steps=given["steps"],
            n_atoms=given["atoms"],
            **{name: given[name] for name in ("network_rate", "score_weight", "label_weight", "seed")},
        ),
        seed=given["seed"],
        name=given["name"],
    )


def _settings_of(file: Path, given: dict[str, Any], context: click.Context) -> PipelineSettings:
    """Return the settings of a file; UsageError when options on the command line say some of the same."""
    from ovito_mace_phase.lab.training.settings import PipelineSettings
    from ovito_mace_phase.lab.training.settings_file import read_settings

    typed = {name for name in given if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE}
    spelt = {one.name: one.opts[0] for one in context.command.params}
    both = sorted(spelt[name] for name in typed - {"phases", "name", "former_start", "former_start_2"})
    if both:
        raise click.UsageError(f"--settings says what {', '.join(both)} would; leave one of them out.")
    found = read_settings(file, PipelineSettings())
    return replace(found, name=given["name"]) if "name" in typed else found


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)
