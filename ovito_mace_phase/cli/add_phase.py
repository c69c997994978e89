"""`ovito-mace-phase add-phase`: extend a model by a phase of your own, from one structure file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ovito_mace_phase.runtime.errors import InputError

if TYPE_CHECKING:
    from ovito_mace_phase.lab.add_phase.add_phase import ExtendedModel

EPILOG = """\b
Example:
  ovito-mace-phase add-phase ti3sic2.cif --key MAX_312 --name "Ti3SiC2" -o with_max_312
  ovito-mace-phase classify run.dump.gz --model with_max_312
"""
_SHOWN = 4


@click.command("add-phase", epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("structure", type=click.Path(path_type=Path), metavar="STRUCTURE")
@click.option("--key", required=True, metavar="KEY", help="Key of the phase: letters, digits and _.")
@click.option("--name", default=None, metavar="TEXT", help="Name to show.  [default: the key]")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=None,
    metavar="NAME",
    help="Model to write: NAME.safetensors and NAME.json.  [default: the key in lower case]",
)
@click.option("--model", "base", default=None, metavar="BASE", help="Model to extend.  [default: the shipped model]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Random seed of the samples.")
@click.option("--threads", type=click.IntRange(0), default=0, metavar="N", help="Threads.  [default: all cores]")
@click.option("--force", is_flag=True, help="Write the model even if the phase is confused with an old one.")
def add_phase_command(
    structure: Path,
    key: str,
    name: str | None,
    output: Path | None,
    base: str | None,
    seed: int,
    threads: int,
    force: bool,
) -> None:
    """Extend a model by the phase of STRUCTURE, one ordered crystal in any format that ase reads.

    Takes minutes on a CPU and needs no network and no data. Labels of the old phases stay as they are, except
    where the new phase fits better; both are measured on fresh samples and printed. Nothing is written if the new phase
    cannot be told from an old one.
    """
    from tqdm import tqdm

    from ovito_mace_phase.lab.add_phase.add_phase import AddSettings, add_phase, check_output
    from ovito_mace_phase.runtime.files import output_folder
    from ovito_mace_phase.runtime.threads import set_threads

    target = Path(key.lower()) if output is None else output
    if not target.name:
        raise InputError(f"{target} is no name of a model; give one with -o, my_model for example")
    check_output(target, base)
    output_folder(target.parent)
    set_threads(threads)
    with tqdm(total=1.0, bar_format="{desc:<36} {percentage:3.0f}%|{bar}| {elapsed}") as bar:

        def show(stage: str, done: float) -> None:
            bar.set_description(stage, refresh=False)
            bar.n = done
            bar.refresh()

        extended = add_phase(structure, key, name=name, base=base, settings=AddSettings(seed=seed), progress=show)
    click.echo(report_text(extended))
    path = extended.save(target, force=force)
    if extended.report.faults:
        click.echo(f"written because of --force: {'; '.join(extended.report.faults)}")
    click.echo(f"wrote {path}.safetensors and {path}.json; use them with --model {path}")


def report_text(extended: ExtendedModel) -> str:
    """Return what was measured, for the terminal."""
    phase, report = extended.phase, extended.report
    about = [f"id {phase.id}", f"{0 if phase.reference is None else phase.reference.n_atoms} atoms in the cell"]
    about += [f"{phase.n_species} species"] + (
        [f"{phase.pearson}, space group {phase.space_group}"] if phase.pearson else []
    )
    lines = [f"{phase.key}  {phase.name}  ({', '.join(about)})"]
    lines.append(f"  before, the model took its atoms for      {_shares(report.labelled_before_as)}")
    lines.append("  fresh samples, noise (Å)                  " + "   ".join(report.by_noise))
    lines.append(
        "  atoms recognised                          " + "   ".join(f"{v:9.1%}" for v in report.by_noise.values())
    )
    if report.confused:
        lines.append(f"  the others, up to 0.15 Å, are taken for   {_shares(report.confused)}")
    lines.append(
        f"  accuracy of the old phases                {report.old_before:.2%} before, {report.old_after:.2%} after"
    )
    lines.append(f"  old phases that lose atoms to it          {_shares(report.lost) if report.lost else 'none'}")
    lines.append(f"  packings and debris taken for it          {report.background_lost:.1%}")
    lines.append(f"  {report.n_samples} samples, {report.seconds:.0f} s")
    return "\n".join(lines)


def _shares(shares: dict[str, float]) -> str:
    shown = [f"{key} {share:.1%}" for key, share in list(shares.items())[:_SHOWN]]
    rest = len(shares) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")
