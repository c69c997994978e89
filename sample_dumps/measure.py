"""Print what OVITO's classical modifiers say about the sample dumps, in per cent of the atoms."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
from ovito.data import DataCollection
from ovito.io import import_file
from ovito.modifiers import (
    CommonNeighborAnalysisModifier,
    DeleteSelectedModifier,
    IdentifyDiamondModifier,
    PolyhedralTemplateMatchingModifier,
    SelectTypeModifier,
)
from ovito.pipeline import Modifier

_HERE = Path(__file__).parent


def classical_modifiers() -> dict[str, Modifier]:
    """Return PTM with and without its cutoff, adaptive CNA and the diamond finder."""
    modifiers: dict[str, Modifier] = {}
    for name, cutoff in (("PTM 0.1", 0.1), ("PTM no cutoff", 0.0)):
        ptm = PolyhedralTemplateMatchingModifier(rmsd_cutoff=cutoff)
        for structure in ptm.structures:
            structure.enabled = True
        ptm.structures[PolyhedralTemplateMatchingModifier.Type.GRAPHENE].enabled = False
        modifiers[name] = ptm
    modifiers["CNA"] = CommonNeighborAnalysisModifier()
    modifiers["Diamond"] = IdentifyDiamondModifier()
    return modifiers


def shares(data: DataCollection, inside: np.ndarray) -> str:
    """Return the share of each structure type among the atoms `inside`."""
    types = data.particles["Structure Type"]
    values = np.asarray(types)[inside]
    found = {kind.name: np.mean(values == kind.id) for kind in types.types}
    return ", ".join(f"{name} {100 * share:.1f}" for name, share in found.items() if share > 0)


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True))
def main(files: tuple[Path, ...]) -> None:
    """Measure the FILEs, or every dump beside this script; water by its oxygen atoms."""
    known = json.loads((_HERE / "expected.json").read_text())
    for path in files or sorted(_HERE.glob("*.dump.gz")):
        entry = known.get(path.name, {"regions": []})
        for name, modifier in classical_modifiers().items():
            pipeline = import_file(path)
            if "H" in entry.get("elements", []):
                pipeline.modifiers.append(SelectTypeModifier(types={"H"}))
                pipeline.modifiers.append(DeleteSelectedModifier())
            pipeline.modifiers.append(modifier)
            for frame in sorted({0, pipeline.num_frames - 1}):
                data = pipeline.compute(frame)
                z = data.particles.positions[:, 2] / data.cell[2, 2] % 1
                print(f"{path.name} frame {frame} {name}: {shares(data, np.ones(len(z), dtype=bool))}")
                for region in entry["regions"]:
                    low, high = region["fractional"]
                    print(f"    {region['phase']} region: {shares(data, (z > low) & (z < high))}")


if __name__ == "__main__":
    main()
