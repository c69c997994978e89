"""`ovito-mace-phase train`: reproduce the shipped weights, or train a head on other data."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import click

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--data", type=_FILE, required=True, help="Labelled structures (npz; docs/training.md says what it holds)."
)
@click.option(
    "--backbone", type=click.Path(path_type=Path), required=True, help="Converted MACE-MP-0 small (see `convert`)."
)
@click.option("--melts", type=_FOLDER, default=None, help="Folder of melt snapshots (sample_dumps/make_melts.py).")
@click.option("--dynamics", type=_FOLDER, default=None, help="Folder of hot crystals (make_hot.py --training).")
@click.option(
    "-o",
    "--output",
    type=_FOLDER,
    required=True,
    help="Folder for shards, checkpoint, log and model; resumes what is there.",
)
@click.option("--head", type=click.Choice(["mlp", "metric"]), default="mlp", show_default=True)
@click.option("--hidden", type=click.IntRange(8), default=512, show_default=True, help="Width of the hidden layers.")
@click.option("--dropout", type=click.FloatRange(0.0, 0.9), default=0.1, show_default=True)
@click.option("--shards", type=click.IntRange(1), default=16, show_default=True, help="Sets of freshly drawn samples.")
@click.option(
    "--per-phase", type=click.IntRange(1), default=8, show_default=True, help="Samples of every phase in a shard."
)
@click.option("--epochs", type=click.IntRange(1), default=8, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--name", default="mace-phase", show_default=True, help="Name in the model card.")
def train_command(
    data: Path,
    backbone: Path,
    melts: Path | None,
    dynamics: Path | None,
    output: Path,
    head: str,
    hidden: int,
    dropout: float,
    shards: int,
    per_phase: int,
    epochs: int,
    seed: int,
    name: str,
) -> None:
    """Train the phase head on frozen features of the network; a stopped run goes on when called again."""
    from tqdm import tqdm

    from ovito_mace_phase.lab.training.first_stage import Sources, TrainSettings, train

    output.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=output / "train.log", level=logging.INFO, format="%(asctime)s %(message)s")
    default = TrainSettings()
    settings = dataclasses.replace(
        default,
        n_shards=shards,
        head="mlp" if head == "mlp" else "metric",
        n_hidden=hidden,
        dropout=dropout,
        seed=seed,
        name=name,
        law=dataclasses.replace(default.law, per_phase=per_phase),
        fit=dataclasses.replace(default.fit, epochs=epochs, seed=seed),
    )
    with tqdm(total=1.0, bar_format="{desc:<34} {percentage:3.0f}%|{bar}| {elapsed}") as bar:

        def show(stage: str, done: float) -> None:
            bar.set_description(stage, refresh=False)
            bar.n = done
            bar.refresh()

        sources = Sources(data=data, backbone=backbone, melts=melts, dynamics=dynamics)
        path = train(sources, output, settings, show)
    click.echo(f"wrote {path}.safetensors and {path}.json")
