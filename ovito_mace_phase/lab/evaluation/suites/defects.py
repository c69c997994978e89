"""Suite `defects`: atoms around defects, whose right label is known (`defect_frames`), with a little thermal noise."""

from __future__ import annotations

import numpy as np

from ovito_mace_phase.lab.crystals import SPACING
from ovito_mace_phase.lab.evaluation.frames.defects import DefectFrame, defect_frames
from ovito_mace_phase.lab.evaluation.labels import DEFAULT, Keys, columns, commonest_other, predict, share
from ovito_mace_phase.lab.evaluation.mistakes import Tally
from ovito_mace_phase.lab.evaluation.report import Report, SuiteSettings, Table
from ovito_mace_phase.lab.ovito_methods import METALS, ovito_answers
from ovito_mace_phase.model.phase_model import PhaseModel

NOISE = (0.05, 0.10)


def run(model: PhaseModel, settings: SuiteSettings) -> Report:
    """Build the defects, shake them and label them."""
    rng = np.random.default_rng(settings.seed)
    rows, tally = [], Tally()
    for defect in defect_frames(small=settings.quick):
        for sigma in NOISE[:1] if settings.quick else NOISE:
            rows += _rows(defect, sigma, rng, model, settings, tally)
    methods = [*columns(settings.denoise_steps), *METALS]
    return Report(
        title="Defects",
        about="Atoms labelled right, per cent. Around point defects, at surfaces and in the particle: atoms beyond two "
        "neighbour shells of the defect. In faults and twins: every atom, layers with hcp and with fcc surroundings "
        "apart. The last column tells what the atoms become for which nothing is claimed, or the commonest error. "
        f"White noise, A per component, at a neighbour distance of {SPACING} A.",
        numbers={"rows": rows, "mistakes": tally.numbers()},
        tables=[
            tally.table(),
            Table(
                title="Right labels",
                header=("defect", "noise", "truth", "where", "atoms", *methods, "other labels (default)"),
                rows=[
                    (
                        row["defect"],
                        f"{row['sigma']:.2f}",
                        row["truth"],
                        row["region"],
                        row["n_atoms"],
                        *row["right"].values(),
                        row["other"],
                    )
                    for row in rows
                ],
            ),
        ],
    )


def _rows(
    defect: DefectFrame,
    sigma: float,
    rng: np.random.Generator,
    model: PhaseModel,
    settings: SuiteSettings,
    tally: Tally,
) -> list[dict]:
    frame = defect.rattled(sigma, rng)
    ours = predict(frame, model, denoise_steps=settings.denoise_steps)
    answers: dict[str, Keys] = {name: answer.keys for name, answer in ours.items()} | ovito_answers(frame, METALS)
    rows = []
    for truth, region in sorted(set(zip(defect.truth.tolist(), defect.region.tolist(), strict=True))):
        if not truth:
            continue
        right = [truth, defect.also]
        inside = (defect.truth == truth) & (defect.region == region)
        tally.add(f"{region}, noise {sigma:.2f}", ours, right, inside)
        shown = answers[DEFAULT][inside] if (defect.truth != "").all() else answers[DEFAULT][defect.truth == ""]
        rows.append(
            {
                "defect": defect.name,
                "sigma": sigma,
                "truth": truth,
                "region": region,
                "n_atoms": int(inside.sum()),
                "right": {name: share(keys, right, inside) for name, keys in answers.items()},
                "other": commonest_other(shown, right),
            }
        )
    return rows
