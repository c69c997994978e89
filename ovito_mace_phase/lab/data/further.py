"""Build ``further.npz``: ``python -m ovito_mace_phase.lab.data.further mp_labelled.npz -o further.npz``.

Cells of members whose geometry is not that of the reference cell (`lab.phase_table.further` finds them), of the
training part of the split alone.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click
import numpy as np

from ovito_mace_phase.lab.phase_table.further import further
from ovito_mace_phase.lab.phase_table.templates import write_arrays
from ovito_mace_phase.phases.record import ReferenceCell
from ovito_mace_phase.phases.table import phase_table
from ovito_mace_phase.phases.templates import pack_symmetry, template

from .structures import CrystalStructure, load_labelled, reference_structures, split

log = logging.getLogger(__name__)
_LOOKED_AT = 16  # members of a phase, drawn at random


def build(data: Path, seed: int) -> dict[str, np.ndarray]:
    """Return the arrays of the file; `seed` is that of the split of the model that is trained with the same data."""
    phases = list(phase_table())
    labelled = load_labelled(data, phases)
    parts = split(labelled, reference_structures(phases, labelled), len(phases), seed)
    members: dict[int, list[CrystalStructure]] = {}
    for structure in parts["train"]:
        members.setdefault(structure.phase, []).append(structure)
    rng = np.random.default_rng(seed)
    records: dict[str, dict[str, Any]] = {}
    cells, sources = [], []
    for column, phase in enumerate(phases):
        own, group = template(phase), members.get(column, [])
        if own is None or phase.reference is None or own.net or own.planar or not group:
            continue
        looked_at = [group[k] for k in rng.permutation(len(group))[:_LOOKED_AT]]
        for number, (k, cell, record) in enumerate(further([_cell(m) for m in looked_at], own, phase.reference)):
            log.info("%s: %s", phase.key, looked_at[k].source)
            records[f"{phase.key} {number}"] = record
            cells.append(cell)
            sources.append(looked_at[k].source)
    return pack_symmetry(records) | {
        "source": np.array(sources),
        "cell": np.array([one.cell for one in cells], dtype=np.float32),
        "fractional": np.concatenate([one.fractional for one in cells]).astype(np.float32),
        "species": np.concatenate([one.species for one in cells]).astype(np.int8),
    }


def _cell(member: CrystalStructure) -> ReferenceCell:
    return ReferenceCell(cell=member.cell, species=member.species, fractional=member.fractional)


@click.command()
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--seed", default=0, show_default=True, help="Seed of the split, as in the card of the model.")
def main(data: Path, output: Path, seed: int) -> None:
    """Find the phases whose members differ from their reference cell, and write cells of them."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    arrays = build(data, seed)
    write_arrays(output, arrays)
    click.echo(f"{len(arrays['key'])} cells, {output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
