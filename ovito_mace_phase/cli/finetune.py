"""`ovito-mace-phase finetune`: train network and head end to end, from a model that has a head."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import click

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--data", type=_FILE, required=True, help="Labelled structures (npz; docs/training.md).")
@click.option("--model", type=click.Path(path_type=Path), required=True, help="Model to start from (see `train`).")
@click.option("--melts", type=_FOLDER, default=None, help="Folder of melt snapshots (sample_dumps/make_melts.py).")
@click.option("--dynamics", type=_FOLDER, default=None, help="Folder of hot crystals (make_hot.py --training).")
@click.option(
    "-o", "--output", type=_FOLDER, required=True, help="Folder for checkpoint, log and model; resumes what is there."
)
@click.option("--steps", type=click.IntRange(1), default=2000, show_default=True)
@click.option("--atoms", type=click.IntRange(100), default=2000, show_default=True, help="Atoms of a step, about.")
@click.option("--network-rate", type=click.FloatRange(0.0), default=2e-4, show_default=True, help="0 freezes it.")
@click.option("--score-weight", type=click.FloatRange(0.0), default=1.0, show_default=True)
@click.option("--label-weight", type=click.FloatRange(0.0), default=1.0, show_default=True)
@click.option("--refit-parts", type=click.IntRange(0), default=16, show_default=True, help="Of 500 MB; 0: no refit.")
@click.option("--minutes", type=click.FloatRange(0.0), default=math.inf, help="Stop after this time.  [default: none]")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--name", default="mace-phase", show_default=True, help="Name in the model card.")
def finetune_command(
    data: Path,
    model: Path,
    melts: Path | None,
    dynamics: Path | None,
    output: Path,
    steps: int,
    atoms: int,
    network_rate: float,
    score_weight: float,
    label_weight: float,
    refit_parts: int,
    minutes: float,
    seed: int,
    name: str,
) -> int:
    """Train network and head end to end: score matching and cross-entropy; a stopped run goes on when called again."""
    from tqdm import tqdm

    from ovito_mace_phase.lab.training.class_head import RefitSettings
    from ovito_mace_phase.lab.training.end_to_end import EndToEndSettings
    from ovito_mace_phase.lab.training.first_stage import Sources
    from ovito_mace_phase.lab.training.pipeline import WholeSettings, train_whole

    output.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=output / "train.log", level=logging.INFO, format="%(asctime)s %(message)s")
    settings = WholeSettings(
        training=EndToEndSettings(
            n_steps=steps,
            n_atoms=atoms,
            network_rate=network_rate,
            score_weight=score_weight,
            label_weight=label_weight,
            seed=seed,
        ),
        refit=RefitSettings(n_parts=refit_parts, seed=seed),
        name=name,
    )
    sources = Sources(data=data, backbone=model, melts=melts, dynamics=dynamics)
    with tqdm(total=1.0, bar_format="{desc:<34} {percentage:3.0f}%|{bar}| {elapsed}") as bar:

        def show(stage: str, done: float) -> None:
            bar.set_description(stage, refresh=False)
            bar.n = done
            bar.refresh()

        path = train_whole(sources, output, settings, show, 60.0 * minutes)
    if path is None:
        click.echo(f"time is up; call the command again to go on from {output / 'end_to_end.checkpoint'}")
    else:
        click.echo(f"wrote {path}.safetensors and {path}.json")
    return 0
