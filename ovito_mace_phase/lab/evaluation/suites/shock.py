"""Suite `shock`: titanium compressed step by step; which phases there are at which pressure.

There is no truth atom by atom: the table tells the shares of the phases beside those of PTM and CNA, which know no
omega. Compressed along one axis the lattice is far from any ideal phase before it gives way: expect strained relatives.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ovito_mace_phase.lab.data.npz import snapshots_of
from ovito_mace_phase.lab.evaluation.labels import DEFAULT, Keys, predict, share
from ovito_mace_phase.lab.evaluation.report import Report, SuiteSettings, Table
from ovito_mace_phase.lab.ovito_methods import ovito_answers
from ovito_mace_phase.model.phase_model import PhaseModel

SHOWN = ("HCP", "OMEGA", "BCC", "FCC", "OTHER")
_METHODS = ("PTM 0.1", "PTM", "CNA")


def run(model: PhaseModel, settings: SuiteSettings) -> Report:
    """Label all compression snapshots of the folders, in the order of their pressure."""
    last = f"denoised, {DEFAULT}" if settings.denoise_steps > 0 else DEFAULT
    rows: list[dict[str, Any]] = []
    for snapshot in sorted(snapshots_of(settings.frames, "shock"), key=lambda one: float(one.arrays["pressure"])):
        ours = predict(snapshot.frame, model, denoise_steps=settings.denoise_steps)
        answers: dict[str, Keys] = {name: answer.keys for name, answer in ours.items()}
        answers |= ovito_answers(snapshot.frame, _METHODS)
        rows.append(
            {
                "name": snapshot.name,
                "pressure": float(snapshot.arrays["pressure"]),
                "shares": {name: {key: share(keys, key) for key in SHOWN} for name, keys in answers.items()},
                "confidence": float(np.mean(ours[DEFAULT].confidence)),
                "commonest": _commonest(ours[DEFAULT].keys),
            }
        )
    return Report(
        title="Titanium under compression",
        about="Shares of the phases, per cent, against the stress along the axis of compression (GPa). PTM and CNA "
        "know no omega.",
        numbers={"rows": rows},
        tables=[
            Table(
                title="Commonest labels of this model, default",
                header=("pressure", "labels", "mean confidence"),
                rows=[(f"{row['pressure']:.1f}", row["commonest"], row["confidence"]) for row in rows],
            ),
            *(
                Table(
                    title=method,
                    header=("pressure", *SHOWN),
                    rows=[(f"{row['pressure']:.1f}", *row["shares"][method].values()) for row in rows],
                )
                for method in rows[0]["shares"]
            ),
        ],
        draw=partial(_draw, rows, last),
    )


def _commonest(keys: Keys) -> str:
    """Return the three commonest labels with their shares."""
    return ", ".join(f"{key} {count / len(keys):.0%}" for key, count in Counter(keys.tolist()).most_common(3))


def _draw(rows: list[dict[str, Any]], ours: str, path: Path) -> None:
    from ovito_mace_phase.lab.evaluation.figures import Panel, draw_panels

    pressure = [row["pressure"] for row in rows]
    panels = [
        Panel(
            title=title,
            x_label="pressure (GPa)",
            y_label="share",
            curves={key: (pressure, [row["shares"][method][key] for row in rows]) for key in SHOWN},
        )
        for title, method in (("this package", ours), ("PTM 0.1", "PTM 0.1"), ("CNA", "CNA"))
    ]
    draw_panels(path, panels)
