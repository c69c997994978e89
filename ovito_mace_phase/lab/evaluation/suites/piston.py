"""Suite `piston`: a shock wave along z, and the shares of the phases in slices along its way, beside those of PTM.

    slice of an atom = floor(z / WIDTH),  z from the piston;   density of a slice = its atoms / (area WIDTH)

There is no truth atom by atom. The density tells where the front is: it rises there. Slices with fewer than FEWEST
atoms, as at the free end, are not shown.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ovito_mace_phase.lab.data.npz import Snapshot, snapshots_of
from ovito_mace_phase.lab.evaluation.labels import DEFAULT, Keys, predict, share
from ovito_mace_phase.lab.evaluation.report import Report, SuiteSettings, Table
from ovito_mace_phase.lab.ovito_methods import ovito_answers
from ovito_mace_phase.model.phase_model import PhaseModel

from .shock import SHOWN

WIDTH = 15.0
FEWEST = 50
_METHODS = ("PTM 0.1", "PTM", "CNA")
_TABLES = (DEFAULT, "PTM 0.1", "PTM")


def run(model: PhaseModel, settings: SuiteSettings) -> Report:
    """Label all snapshots of a piston in the folders, in the order of their names and times."""
    found = [_measure(snapshot, model, settings) for snapshot in snapshots_of(settings.frames, "piston")]
    found.sort(key=lambda one: (one["run"], one["time"]))
    return Report(
        title="A shock wave in titanium",
        about=f"Shares of the phases, per cent, in slices of {WIDTH:g} A along the way of the wave; z is counted from "
        "the piston. PTM and CNA know no omega.",
        numbers={"snapshots": found},
        tables=[
            Table(
                title=f"{one['name']}, {one['time']:.1f} ps, {method}",
                header=("z (A)", "atoms", "density (A^-3)", *SHOWN),
                rows=[
                    (f"{low:.0f}", n, f"{density:.4f}", *(shares[key] for key in SHOWN))
                    for low, n, density, shares in zip(
                        one["z"], one["atoms"], one["density"], one["shares"][method], strict=True
                    )
                ],
            )
            for one in found
            for method in _TABLES
        ],
        draw=partial(_draw, found),
    )


def slices(snapshot: Snapshot) -> tuple[np.ndarray, np.ndarray]:
    """Return the slice of each atom (n_atoms,) int64, and the slices that have atoms enough."""
    number = np.floor(np.maximum(snapshot.frame.positions[:, 2], 0.0) / WIDTH).astype(np.int64)
    return number, np.flatnonzero(np.bincount(number) >= FEWEST)


def _measure(snapshot: Snapshot, model: PhaseModel, settings: SuiteSettings) -> dict[str, Any]:
    ours = predict(snapshot.frame, model, denoise_steps=settings.denoise_steps)
    answers: dict[str, Keys] = {name: answer.keys for name, answer in ours.items()}
    answers |= ovito_answers(snapshot.frame, _METHODS)
    number, filled = slices(snapshot)
    area = np.linalg.norm(np.cross(*snapshot.frame.cell[:2]))
    atoms = [int((number == k).sum()) for k in filled]
    return {
        "name": snapshot.name,
        "run": snapshot.name.rpartition("_")[0],
        "time": float(snapshot.arrays["time"]),
        "piston": float(snapshot.arrays["piston"]),
        "z": [float(k * WIDTH) for k in filled],
        "atoms": atoms,
        "density": [n / (area * WIDTH) for n in atoms],
        "shares": {
            name: [{key: share(keys, key, number == k) for key in SHOWN} for k in filled]
            for name, keys in answers.items()
        },
    }


def _draw(found: list[dict[str, Any]], path: Path) -> None:
    from ovito_mace_phase.lab.evaluation.figures import Panel, draw_panels

    panels = [
        Panel(
            title=f"{one['time']:.1f} ps, {title}",
            x_label="z from the piston (A)",
            y_label="share",
            curves={key: (one["z"], [shares[key] for shares in one["shares"][method]]) for key in SHOWN},
        )
        for one in found
        for title, method in (("this package", DEFAULT), ("PTM 0.1", "PTM 0.1"))
    ]
    draw_panels(path, panels)
