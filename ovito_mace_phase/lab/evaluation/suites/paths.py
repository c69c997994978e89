"""Suite `paths`: order parameters of both ends along transformation paths (`frames.paths`), without noise.

OP_c(lambda) = mean over atoms of the logit of phase c
crossings    = sign changes of OP_end - OP_start;   one is right
roughness    = largest |OP(k+1) - 2 OP(k) + OP(k-1)| / (max OP - min OP);   a step from one point to the next has 1
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.classification.settings import Settings
from ovito_mace_phase.classification.stages import logits_of
from ovito_mace_phase.lab.evaluation.frames.paths import PATHS, PhasePath
from ovito_mace_phase.lab.evaluation.labels import DEFAULT, predict
from ovito_mace_phase.lab.evaluation.report import Report, SuiteSettings, Table
from ovito_mace_phase.model.phase_model import PhaseModel

N_POINTS = 25


def run(model: PhaseModel, settings: SuiteSettings) -> Report:
    """Follow every path."""
    lambdas = np.linspace(0.0, 1.0, 7 if settings.quick else N_POINTS)
    rows = [_follow(path, lambdas, model) for path in PATHS]
    return Report(
        title="Paths between phases",
        about=f"{len(lambdas)} points along each path. Crossings: sign changes of the difference of the two order "
        "parameters. Roughness: largest second difference relative to the range (0 straight, 1 a jump between "
        f"two points; a smooth step over the whole path has about {_smooth_step(len(lambdas)):.2f}). Labels: "
        "default, of most atoms, in the order they come.",
        numbers={"rows": rows},
        tables=[
            Table(
                title="Order parameters along the paths",
                header=(
                    "path",
                    "ends",
                    "crossings",
                    "where",
                    "roughness, start",
                    "roughness, end",
                    "labels on the way",
                ),
                rows=[
                    (
                        *(row["path"], f"{row['start']} - {row['end']}", len(row["crossings"])),
                        ", ".join(f"{place:.2f}" for place in row["crossings"]),
                        *(f"{row['roughness'][end]:.3f}" for end in ("start", "end")),
                        " - ".join(_runs(row["label"])),
                    )
                    for row in rows
                ],
            )
        ],
        draw=partial(_draw, rows),
    )


def roughness(values: npt.NDArray[np.float64]) -> float:
    """Return the largest second difference relative to the range."""
    return float(np.abs(np.diff(values, 2)).max() / max(np.ptp(values), 1e-12))


def crossings(difference: npt.NDArray[np.float64], lambdas: npt.NDArray[np.float64]) -> list[float]:
    """Return where a curve changes sign, between points by straight lines."""
    places = np.flatnonzero(np.signbit(difference[1:]) != np.signbit(difference[:-1]))
    step = difference[places] / (difference[places] - difference[places + 1])
    return [float(place) for place in lambdas[places] + step * (lambdas[places + 1] - lambdas[places])]


def _follow(path: PhasePath, lambdas: npt.NDArray[np.float64], model: PhaseModel) -> dict[str, Any]:
    frames = [path.frame(float(progress)) for progress in lambdas]
    values = np.array([_order_parameters(frame, model, (path.start, path.end)) for frame in frames])
    return {
        "path": path.name,
        "start": path.start,
        "end": path.end,
        "lambda": lambdas,
        "op_start": values[:, 0],
        "op_end": values[:, 1],
        "label": [_majority(frame, model) for frame in frames],
        "crossings": crossings(values[:, 1] - values[:, 0], lambdas),
        "roughness": {"start": roughness(values[:, 0]), "end": roughness(values[:, 1])},
    }


def _order_parameters(frame: Frame, model: PhaseModel, keys: tuple[str, str]) -> list[float]:
    kept = logits_of(model.network_frame(frame), model, Settings(keep_logits=True))
    return [float(kept.column(key).mean(dtype=np.float64)) for key in keys]


def _majority(frame: Frame, model: PhaseModel) -> str:
    return Counter(predict(frame, model)[DEFAULT].keys.tolist()).most_common(1)[0][0]


def _runs(labels: list[str]) -> list[str]:
    return [label for k, label in enumerate(labels) if k == 0 or label != labels[k - 1]]


def _smooth_step(n_points: int) -> float:
    """Roughness of (1 - cos pi lambda) / 2."""
    return roughness((1.0 - np.cos(np.pi * np.linspace(0.0, 1.0, n_points))) / 2)


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    from ovito_mace_phase.lab.evaluation.figures import Panel, draw_panels

    draw_panels(
        path,
        [
            Panel(
                title=row["path"],
                x_label="lambda",
                y_label="order parameter (logit)",
                curves={row["start"]: (row["lambda"], row["op_start"]), row["end"]: (row["lambda"], row["op_end"])},
            )
            for row in rows
        ],
    )
