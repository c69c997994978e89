"""`ovito-mace-phase convert`: a MACE .model file -> safetensors and JSON card."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("convert")
@click.argument("model", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="NAME.safetensors + NAME.json",
)
@click.option(
    "--allow-other", is_flag=True, help="Accept a file other than MACE-MP-0 small. It can run code: use one you trust."
)
def convert_command(model: Path | None, output: Path, allow_other: bool) -> None:
    """Convert MODEL, a MACE .model file, to weights that can be read without mace-torch.

    Without MODEL, MACE-MP-0 small is taken from $MACE_MP_0_SMALL or from the download cache of mace.
    """
    from ovito_mace_phase.model.network.model_file import model_paths
    from ovito_mace_phase.model.reference.mace.convert import convert, find_original

    card = convert(model or find_original(), output, allow_other=allow_other)
    network = card["network"]
    numbers_path, card_path = model_paths(output)
    click.echo(
        f"{numbers_path} and {card_path.name}: {network['n_layers']} layers, {network['n_channels']} channels, "
        f"cutoff {network['r_max']:g} A, {len(network['elements'])} elements"
    )
