"""`ovito-mace-phase classify`: trajectory files in; a table, labelled trajectories, CSV and pictures out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ovito_mace_phase.classification.settings import (
    DEFECTS,
    MOST_STEPS,
    PARAMETERS,
    PRIORS,
    SAMPLING,
    VERIFY,
    Settings,
    from_parameters,
)
from ovito_mace_phase.cli.options import device_option
from ovito_mace_phase.runtime.errors import InputError, MacePhaseError

from .renamed import command_with

if TYPE_CHECKING:
    from ovito_mace_phase.trajectory.outputs import Options, Written

EPILOG = """\b
Examples:
  ovito-mace-phase classify dump.lammpstrj.gz
  ovito-mace-phase classify run.xyz -o labelled --frames 0::10 --prior frame
  ovito-mace-phase classify hot.dump --denoise-steps 8 --apply-to-positions
  ovito-mace-phase classify grains.dump --output-orientation --output-site
  ovito-mace-phase classify ice.dump --select 'ParticleType=="O"'
  ovito-mace-phase classify long.dump --jobs 8 --report --movie 50
  ovito-mace-phase classify alloy.dump --species "1,2" --phases FCC,HCP,BCC --order-parameters FCC,HCP
"""


_OLD_NAMES = {
    "--threshold": "--confidence-threshold",
    "--denoise": "--denoise-steps",
    "--denoised-positions": "--apply-to-positions",
    "--ops": "--order-parameters",
}
_HANDED_ON = ("file_format", "restart", "force", "parquet", "picture", "movie", "report", "session")


@click.command(
    "classify",
    cls=command_with(_OLD_NAMES),
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("classified"),
    show_default=True,
    metavar="OUTDIR",
    help="Folder for the results; created if needed.",
)
@click.option(
    "--species",
    default="auto",
    show_default=True,
    metavar="TEXT",
    help="Types that count as one species: auto merges those at random on one set of sites or that only mark regions; "
    '"by name" merges none, "1,2 3" 1 and 2, "ignore" all.',
)
@click.option(
    "--atom-style", default="", metavar="STYLE", help="Atom style of a LAMMPS data file that does not name it."
)
@click.option(
    "--columns",
    default="",
    metavar="NAMES",
    help='Columns of a plain XYZ file or a dump: "Particle Type,Position.X,Position.Y,Position.Z,-"; - skips one.',
)
@click.option(
    "--select",
    default="",
    metavar="EXPR",
    help="Classify only these atoms, as if the others did not exist; an OVITO expression such as 'ParticleType==1'.",
)
@click.option(
    "--frames",
    default=":",
    metavar="A:B:C",
    help="Frames as a Python slice, or one number; -1 is the last.  [default: all]",
)
@click.option(
    "--phases",
    default="",
    metavar="KEYS",
    help="Phases to choose from, besides Other: keys, separated by commas.  [default: all]",
)
@click.option(
    "--order-parameters",
    default="auto",
    show_default=True,
    metavar="KEYS",
    help="Phases whose logits to write: keys, none, or auto (those of at least 1 % of the atoms in the first frame).",
)
@click.option(
    "--prior",
    type=click.Choice(PRIORS),
    default="local",
    show_default=True,
    help="How similar phases are told apart. local: favour the phases of neighbouring atoms; frame: favour phases "
    "common in the frame; uniform: logits alone.",
)
@click.option(
    "--denoise-steps",
    type=click.IntRange(0, MOST_STEPS),
    default=0,
    metavar="STEPS",
    help="Remove the thermal noise first, in at most this many steps (8 is a good number).  [default: 0, off]",
)
@click.option(
    "--apply-to-positions", is_flag=True, help="With --denoise-steps: write the denoised positions as the positions."
)
@click.option(
    "--distances", is_flag=True, help="Write the distance from the ideal crystal of the phase for each order parameter."
)
@click.option(
    "--length-scale",
    default="auto",
    show_default=True,
    metavar="auto|NUMBER",
    help="Cube root of the volume per atom; auto takes it from the local density.",
)
@click.option(
    "--confidence-threshold",
    type=click.FloatRange(0.0, 1.0),
    default=0.0,
    show_default=True,
    metavar="0...1",
    help="Atoms with less confidence become Other.",
)
@click.option(
    "--verify",
    type=click.Choice(VERIFY),
    default="auto",
    show_default=True,
    help="Hold the labels against the templates of the phases; off: the network alone.",
)
@click.option(
    "--rmsd-cutoff",
    type=click.FloatRange(0.0, 1.0),
    default=0.0,
    metavar="0...1",
    help="Largest deviation from a template, as in PTM.  [default: 0, follows the thermal level of the crystal]",
)
@click.option(
    "--defects",
    type=click.Choice(DEFECTS),
    default="other",
    show_default=True,
    help="What atoms at surfaces, boundaries and vacancies are: Other, or of the phase around them.",
)
@click.option(
    "--sampling",
    type=click.Choice(SAMPLING),
    default="auto",
    show_default=True,
    help="With --order-parameters none: let the network look at a sample of a large frame of well-known lattices, and "
    "at what does not fit, three times as fast; off: at every atom.",
)
@click.option(
    "--output-rmsd/--no-output-rmsd", default=True, show_default=True, help="Write the deviation from the template."
)
@click.option("--output-orientation", is_flag=True, help="Write the orientation of the crystal, a quaternion.")
@click.option("--output-deformation-gradient", is_flag=True, help="Write the elastic deformation gradient.")
@click.option("--output-interatomic-distance", is_flag=True, help="Write the distance of neighbours in the template.")
@click.option("--output-site", is_flag=True, help="Write the Wyckoff site of the phase that the atom is on.")
@device_option()
@click.option(
    "--threads", type=click.IntRange(0), default=0, metavar="N", help="Threads of the network.  [default: all cores]"
)
@click.option(
    "--memory",
    default=None,
    metavar="SIZE",
    help="Memory for the features of a frame, such as 500M or 2G.  "
    "[default: a quarter of the free memory, at most 512M]",
)
@click.option(
    "--model",
    default="",
    metavar="NAME|FILE",
    help="Name of a model, or path of a model file.  [default: the shipped one]",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["xyz", "dump"]),
    default="xyz",
    show_default=True,
    help="Labelled trajectory: extended XYZ (phases as names) or LAMMPS dump (phases as numbers).",
)
@click.option("--session", is_flag=True, help="Also write an OVITO session with the labelled, coloured atoms.")
@click.option("--picture/--no-picture", default=True, show_default=True, help="Draw the atoms of telling frames.")
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Worker processes that classify frames in parallel and share the threads.",
)
@click.option(
    "--scheduler",
    default="",
    metavar="ADDRESS",
    help="Use the workers of this Dask scheduler: an address such as tcp://node:8786, or its scheduler file.",
)
@click.option("--restart", is_flag=True, help="Discard the finished frames of an interrupted run.")
@click.option("--force", is_flag=True, help="Replace the results of another run in OUTDIR, instead of an error.")
@click.option("--parquet", is_flag=True, help="Also write the table of frames as Parquet.")
@click.option("--plots", is_flag=True, help="Write the distributions of confidence and order parameters.")
@click.option(
    "--movie",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Write an animation with at most N frames, evenly spaced.  [default: 0, none]",
)
@click.option(
    "--report", is_flag=True, help="Write a report in HTML, plots, pictures and tables on one page; implies --plots."
)
def classify_command(files: tuple[Path, ...], output: Path, frames: str, select: str, **given: Any) -> int:
    """Assign a crystal phase to every atom of FILE..., in any format that OVITO reads.

    Prints the phases of each file and writes to OUTDIR, named after the file: NAME.xyz, the labelled trajectory;
    NAME.phases.csv, counts and fractions of every frame; NAME.phases.png, bars for one frame, lines over several; and
    NAME.frame.png, the atoms in the colours of their phases, in the most mixed frame, and the first and last if they
    differ.
    """
    from ovito_mace_phase.runtime.files import check_input, input_stems, output_folder, parse_frames
    from ovito_mace_phase.runtime.memory import set_memory
    from ovito_mace_phase.runtime.threads import set_threads
    from ovito_mace_phase.trajectory.summary import parquet_writer

    for file in files:
        check_input(file)
    parse_frames(frames, 10**9)
    if given["apply_to_positions"] and not given["denoise_steps"]:
        raise InputError("--apply-to-positions needs --denoise-steps STEPS, for example --denoise-steps 8")
    settings = _settings(given)
    set_threads(given["threads"])
    set_memory(given["memory"])
    if given["parquet"]:
        parquet_writer()
    folder = output_folder(output)
    from ovito_mace_phase.trajectory.api import reader_keywords
    from ovito_mace_phase.trajectory.outputs import OF_THE_MACHINE, Options
    from ovito_mace_phase.trajectory.workers import Workers

    options = Options(
        settings=settings,
        select=select,
        frames=frames,
        folder=folder,
        workers=Workers(**{name: given[name] for name in ("jobs", "scheduler", "threads", "memory")}),
        plots=given["plots"] or given["report"],
        reader=reader_keywords(given["atom_style"], _columns(given["columns"])),
        **{name: given[name] for name in _HANDED_ON},
    )
    done: dict[str, Written] = {}
    told: set[str] = set()
    for file, stem in zip(files, input_stems(files), strict=True):
        try:
            done[stem] = _one_file(file, stem, options, told)
            told.update(note for note in done[stem].notes if OF_THE_MACHINE in note)
        except MacePhaseError as error:
            if len(files) == 1:
                raise
            click.echo(f"Error: {file}: {error}", err=True)
    if len(files) > 1 and done:
        _report_all(done, options)
    failures = len(files) - sum(not one.result.fault for one in done.values())
    if failures and len(files) > 1:
        click.echo(f"{failures} of {len(files)} files could not be classified completely", err=True)
    return 2 if failures else 0


def _report_all(done: dict[str, Written], options: Options) -> None:
    """Summarise, after several files, what was found and where everything is."""
    from ovito_mace_phase.trajectory.summary import overview_text

    click.echo("\n" + overview_text([(stem, one.result.frames) for stem, one in done.items()]))
    for stem, one in done.items():
        for note in one.result.notes:
            click.echo(f"note: {stem}: {note}")
    suffix = next(iter(done.values())).files[0].suffix
    pictures = ", *.frame.png (the atoms)" if options.picture else ""
    reports = ", *.report.html (all of it on one page)" if options.report else ""
    click.echo(
        f"\nall results are in the folder {options.folder}: *{suffix} (labelled atoms, open them in OVITO), "
        f"*.phases.csv (counts), *.phases.png (plots){pictures}{reports}"
    )


def _one_file(file: Path, stem: str, options: Options, told: set[str]) -> Written:
    """Classify one file, print its table and write its results."""
    from ovito_mace_phase.trajectory.outputs import classify_file, report_text

    try:
        written = classify_file(file, stem, options)
    except BaseException as error:
        for note in getattr(error, "__notes__", ()):
            click.echo(f"note: {note}", err=True)
        raise
    click.echo(report_text(file, written, told))
    frames, fault = written.result.frames, written.result.fault
    if fault:
        before = "the frame before it was" if len(frames) == 1 else f"the {len(frames)} frames before it were"
        click.echo(f"Error: {fault}; {before} written", err=True)
    return written


def _columns(text: str) -> list[str | None]:
    """Return the properties that --columns names, None for those to leave out."""
    words = [word.strip() for word in text.split(",")] if text.strip() else []
    return [None if word in ("", "-") else word for word in words]


def _settings(given: dict[str, Any]) -> Settings:
    """Return the settings that the options describe; a misspelled phase is found before OVITO is started."""
    from ovito_mace_phase.model.store import get_table

    parameters = {name: given[name] for name in PARAMETERS if name in given}
    scale = str(given["length_scale"]).strip().lower()
    try:
        parameters["length_scale"] = None if scale == "auto" else float(scale)
    except ValueError:
        raise InputError(f"--length-scale must be auto or a number, not {given['length_scale']!r}") from None
    return from_parameters(parameters, get_table(given["model"]))
