"""Suite `coexistence`: solid copper in contact with its melt, the sample dump whose halves are known.

The known regions keep clear of the two interfaces (`sample_dumps/expected.json`): FCC in one, Other in the other.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ovito_mace_phase.lab.evaluation.labels import DEFAULT, Keys, columns, commonest_other, predict, share
from ovito_mace_phase.lab.evaluation.mistakes import Tally
from ovito_mace_phase.lab.evaluation.report import Report, SuiteSettings, Table, mean_and_std
from ovito_mace_phase.lab.ovito_methods import METALS, ovito_answers, read_dump
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.runtime.errors import InputError

_DUMP = "cu_solid_liquid.dump.gz"
_BESIDE = Path(__file__).parents[4] / "sample_dumps"
_SLICES = 28


def run(model: PhaseModel, settings: SuiteSettings) -> Report:
    """Label all frames of the dump."""
    path, regions = _find(settings.frames)
    methods = [*columns(settings.denoise_steps), *METALS]
    frames = read_dump(path)[: 1 if settings.quick else None]
    shares: dict[str, dict[str, list[float]]] = {key: {name: [] for name in methods} for key in regions}
    other: dict[str, list[Keys]] = {key: [] for key in regions}
    profile: dict[str, list[float]] = {}
    tally = Tally()
    for frame in frames:
        ours = predict(frame, model, denoise_steps=settings.denoise_steps)
        answers = {name: answer.keys for name, answer in ours.items()} | ovito_answers(frame, METALS)
        height = (frame.positions @ np.linalg.inv(frame.cell))[:, 2] % 1
        for key, (low, high) in regions.items():
            inside = (height > low) & (height < high)
            tally.add(key, ours, key, inside)
            other[key].append(answers[DEFAULT][inside])
            for name in methods:
                shares[key][name].append(share(answers[name], key, inside))
        bins = np.minimum((height * _SLICES).astype(int), _SLICES - 1)
        profile = {name: [share(answers[name], "FCC", bins == k) for k in range(_SLICES)] for name in methods}
    rows: list[dict[str, Any]] = [
        {
            "region": key,
            "right": {name: mean_and_std(values) for name, values in shares[key].items()},
            "other": commonest_other(np.concatenate(other[key]), key),
        }
        for key in regions
    ]
    return Report(
        title="Copper in contact with its melt",
        about="Atoms labelled right in the half that is crystal (FCC) and the half that is melt (OTHER), per cent, "
        f"mean ± spread over {len(frames)} frames of `{_DUMP}` at the melting temperature. The figure shows the "
        "FCC share along z in the last frame.",
        numbers={"rows": rows, "profile_fcc": profile, "n_frames": len(frames), "mistakes": tally.numbers()},
        tables=[
            Table(
                title="Halves",
                header=("region", *methods, "commonest other label (default)"),
                rows=[(row["region"], *row["right"].values(), row["other"]) for row in rows],
            ),
            tally.table(),
        ],
        draw=partial(_draw, profile),
    )


def _find(folders: tuple[Path, ...]) -> tuple[Path, dict[str, tuple[float, float]]]:
    """Return the dump, from a folder given or the checkout, and its regions."""
    for folder in (*folders, _BESIDE):
        if (folder / _DUMP).is_file() and (folder / "expected.json").is_file():
            entry: dict[str, Any] = json.loads((folder / "expected.json").read_text(encoding="utf-8"))[_DUMP]
            return folder / _DUMP, {region["phase"]: tuple(region["fractional"]) for region in entry["regions"]}
    raise InputError(
        f"the file {_DUMP} (and expected.json) was not found; pass the folder sample_dumps of the source with "
        "--frames, or make it with `python sample_dumps/make_dumps.py cu_solid_liquid`"
    )


def _draw(profile: dict[str, list[float]], path: Path) -> None:
    from ovito_mace_phase.lab.evaluation.figures import Panel, draw_panels

    middle = [float(x) for x in (np.arange(_SLICES) + 0.5) / _SLICES]
    curves = {name: (middle, values) for name, values in profile.items()}
    draw_panels(path, [Panel(title="Cu at melting", x_label="z / height", y_label="share FCC", curves=curves)])
