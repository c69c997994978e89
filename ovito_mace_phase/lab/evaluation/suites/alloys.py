"""Suite `alloys`: random solid solutions of equal atoms on fcc, bcc and hcp sites; right is the parent lattice."""

from __future__ import annotations

import numpy as np

from ovito_mace_phase.atoms.frame import Frame, make_frame
from ovito_mace_phase.lab.crystals import SPACING, close_packed, cubic, dealt_out
from ovito_mace_phase.lab.evaluation.labels import DEFAULT, columns, commonest_other, predict, share
from ovito_mace_phase.lab.evaluation.mistakes import Tally
from ovito_mace_phase.lab.evaluation.report import Report, SuiteSettings, Table, mean_and_std
from ovito_mace_phase.lab.ovito_methods import METALS, ovito_answers, target
from ovito_mace_phase.model.phase_model import PhaseModel

NOISE = (0.05, 0.10)
COMPOSITIONS = {
    "A75B25": (0.75, 0.25),
    "A50B50": (0.5, 0.5),
    "five of 20 %": (0.2, 0.2, 0.2, 0.2, 0.2),
}
_DRAWS = 3


def run(model: PhaseModel, settings: SuiteSettings) -> Report:
    """Build the alloys, shake them and label them."""
    rng = np.random.default_rng(settings.seed)
    n_draws, noise = (1, NOISE[:1]) if settings.quick else (_DRAWS, NOISE)
    rows, tally = [], Tally()
    for phase in ("FCC", "BCC", "HCP"):
        for name, fractions in COMPOSITIONS.items():
            for sigma in noise:
                frames = [random_alloy(phase, fractions, sigma, rng, small=settings.quick) for _ in range(n_draws)]
                rows.append(_row(phase, name, sigma, frames, model, settings, tally))
    methods = list(rows[0]["right"])
    return Report(
        title="Random alloys",
        about=f"Atoms labelled with the parent lattice, per cent, mean ± spread over {n_draws} draws. `merged`: with "
        '`species="ignore"`, as one should call it for a solid solution. White noise, A per component, at a neighbour '
        f"distance of {SPACING} A.",
        numbers={"rows": rows, "mistakes": tally.numbers()},
        tables=[
            tally.table(),
            Table(
                title="Parent lattice found",
                header=("lattice", "composition", "noise", "atoms", *methods, "commonest other label (default)"),
                rows=[
                    (
                        *(row["phase"], row["composition"], f"{row['sigma']:.2f}", row["n_atoms"]),
                        *(row["right"][name] for name in methods),
                        row["other"],
                    )
                    for row in rows
                ],
            ),
        ],
    )


def random_alloy(
    phase: str, fractions: tuple[float, ...], sigma: float, rng: np.random.Generator, *, small: bool = False
) -> Frame:
    """Return a block of FCC, BCC or HCP with species dealt out at random, in these fractions, and white noise."""
    if phase == "HCP":
        positions, cell, _ = close_packed([1.0, 2.0] * (3 if small else 4), (4, 2) if small else (6, 4))
    else:
        positions, cell = cubic(phase, {"FCC": 3, "BCC": 4}[phase] + (0 if small else 1))
    positions = positions + rng.normal(0.0, sigma, positions.shape)
    return make_frame(positions, dealt_out(len(positions), fractions, rng), cell, True)


def _row(
    phase: str, name: str, sigma: float, frames: list[Frame], model: PhaseModel, settings: SuiteSettings, tally: Tally
) -> dict:
    shares: dict[str, list[float]] = {}
    labels = []
    for frame in frames:
        ours = predict(frame, model, denoise_steps=settings.denoise_steps)
        merged = predict(frame, model, species="ignore")[DEFAULT]
        tally.add(f"{phase}, noise {sigma:.2f}", ours, phase)
        labels.append(ours[DEFAULT].keys)
        found = {column: ours[column].keys for column in columns(settings.denoise_steps)}
        for column, keys in (found | {"merged": merged.keys} | ovito_answers(frame, METALS)).items():
            wanted = target(column, phase) if column in METALS else phase
            shares.setdefault(column, []).append(share(keys, wanted or phase))
    return {
        "phase": phase,
        "composition": name,
        "sigma": sigma,
        "n_atoms": sum(len(frame) for frame in frames),
        "right": {column: mean_and_std(values) for column, values in shares.items()},
        "other": commonest_other(np.concatenate(labels), phase),
    }
