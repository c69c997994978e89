"""`ovito-mace-phase evaluate`: the tables of docs/accuracy_tables.md.

Held-out samples come from the model card (written by `train`); labelled molecular dynamics snapshots are classified
here, with OVITO's polyhedral template matching and common neighbour analysis on the same frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from ovito_mace_phase.classification import ReadoutSettings, evaluate_scores, read_out
from ovito_mace_phase.model import PhaseModel
from ovito_mace_phase.training.snapshots import Snapshot, read_snapshots

_PTM_NAMES = {
    "FCC": "FCC",
    "HCP": "HCP",
    "BCC": "BCC",
    "SC": "SC",
    "CUBIC_DIAMOND": "CUBIC_DIAMOND",
    "HEX_DIAMOND": "HEX_DIAMOND",
    "GRAPHENE": "GRAPHENE",
    "ROCKSALT": "SC",
    "CSCL": "BCC",
    "L1_2": "FCC",
    "L1_0": "FCC",
    "ZINCBLENDE": "CUBIC_DIAMOND",
    "WURTZITE": "HEX_DIAMOND",
}
"""Lattice that template matching finds when it does not look at the species."""


@click.command()
@click.option("--model", type=click.Path(path_type=Path), default=None, help="Model; default the shipped one.")
@click.option(
    "--snapshots",
    "folders",
    type=click.Path(file_okay=False, path_type=Path),
    multiple=True,
    help="Folder of npz snapshots (positions, species, cell, pbc, phase); may be given several times.",
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Markdown file to write."
)
def evaluate_command(model: Path | None, folders: Sequence[Path], output: Path) -> None:
    """Write accuracy tables: held-out samples per phase, molecular dynamics beside PTM and CNA."""
    from tqdm import tqdm

    loaded = PhaseModel.load(model)
    snapshots = [snapshot for folder in folders for snapshot in read_snapshots(folder)]
    rows = [dynamics_row(loaded, snapshot) for snapshot in tqdm(snapshots, desc="snapshots")]
    text = "\n".join([*_held_out(loaded.card), "", *_dynamics(rows), "", *_per_phase(loaded.card)]) + "\n"
    temporary = output.with_suffix(".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(output)
    click.echo(f"wrote {output}")


def dynamics_row(model: PhaseModel, snapshot: Snapshot) -> dict[str, Any]:
    """Shares of atoms labelled right by each method; for melts the share that is Other or unsure."""
    scores = evaluate_scores(snapshot.frame, model)
    row: dict[str, Any] = {
        "name": snapshot.name,
        "phase": snapshot.phase or "melt or glass",
        "n_atoms": len(snapshot.frame),
    }
    for prior in ("uniform", "frame"):
        result = read_out(scores, model, ReadoutSettings(prior=prior))
        if snapshot.phase is None:
            row[prior] = float(np.mean((result.phase == 0) | (result.confidence < 0.5)))
        else:
            row[prior] = result.fractions().get(snapshot.phase, 0.0)
        if prior == "uniform":
            row["mostly"] = ", ".join(f"{key} {share:.0%}" for key, share in list(result.fractions().items())[:2])
    return row | _ovito_shares(snapshot)


def _ovito_shares(snapshot: Snapshot) -> dict[str, float | None]:
    """PTM with its default cutoff 0.1 and with none, adaptive CNA."""
    from ovito.data import DataCollection, Particles
    from ovito.modifiers import CommonNeighborAnalysisModifier, PolyhedralTemplateMatchingModifier

    frame = snapshot.frame
    target = _PTM_NAMES.get(snapshot.phase or "")
    out: dict[str, float | None] = {}
    for name in ("ptm", "ptm_open", "cna"):
        data = DataCollection()
        data.objects.append(Particles())
        data.particles_.create_property("Position", data=frame.positions)
        along_x, along_y, along_z = (bool(periodic) for periodic in frame.pbc)
        data.create_cell(np.column_stack([frame.cell.T, np.zeros(3)]), pbc=(along_x, along_y, along_z))
        if name == "cna":
            data.apply(CommonNeighborAnalysisModifier())
            counts = {
                key: data.attributes[f"CommonNeighborAnalysis.counts.{key}"] for key in ("OTHER", "FCC", "HCP", "BCC")
            }
        else:
            matching = PolyhedralTemplateMatchingModifier(rmsd_cutoff=0.1 if name == "ptm" else 0.0)
            for kind in matching.structures:
                kind.enabled = True
            data.apply(matching)
            prefix = "PolyhedralTemplateMatching.counts."
            counts = {key[len(prefix) :]: value for key, value in data.attributes.items() if key.startswith(prefix)}
        wanted = "OTHER" if snapshot.phase is None else target
        out[name] = counts[wanted] / len(frame) if wanted in counts else None
    return out


def _held_out(card: dict[str, Any]) -> list[str]:
    lines = [
        "## Held-out chemical systems",
        "",
        "| part | phases | atoms | by phase | by group | noise 0-0.05 | 0.05-0.10 | 0.10-0.15 | ECE | melts doubted |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for part, score in card.get("scores", {}).items():
        noise = " | ".join(f"{phase:.1%} / {group:.1%}" for phase, group in score["by_noise"].values())
        lines.append(
            f"| {part} | {score['n_phases']} | {score['n_atoms']} | {score['phase_accuracy']:.1%} "
            f"| {score['group_accuracy']:.1%} | {noise} | {score['ece']:.3f} "
            f"| {_percent(score['background']['other_or_unsure'])} |"
        )
    return lines


def _dynamics(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "## Molecular dynamics snapshots",
        "",
        "Share of the atoms labelled right; for melts and glasses the share that is Other or below 0.5 confidence "
        "(PTM, CNA: Other). A dash: the method has no such lattice.",
        "",
        "| snapshot | phase | atoms | ours | prior=frame | PTM 0.1 | PTM no cutoff | CNA | ours, commonest labels |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['name']} | {row['phase']} | {row['n_atoms']} | {_percent(row['uniform'])} | {_percent(row['frame'])} "
        f"| {_percent(row['ptm'])} | {_percent(row['ptm_open'])} | {_percent(row['cna'])} | {row['mostly']} |"
        for row in rows
    ]
    return lines


def _per_phase(card: dict[str, Any]) -> list[str]:
    lines = [
        "## Every phase",
        "",
        "| phase | part | atoms | by phase | by group | noise up to 0.10 | commonest confusion |",
        "|---|---|---|---|---|---|---|",
    ]
    for part in ("test", "noise"):
        for key, score in card.get("scores", {}).get(part, {}).get("per_phase", {}).items():
            confusion = f"{score['confused_with']} ({score['confused']:.0%})" if score["confused_with"] else ""
            lines.append(
                f"| {key} | {part} | {score['n_atoms']} | {_percent(score['phase'])} | {_percent(score['group'])} "
                f"| {_percent(score['low_noise'])} | {confusion} |"
            )
    return lines


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
