"""Suite `cna`: verified labels of metals with defects against common neighbour analysis (CNA).

    other  share of the atoms that CNA calls Other which are Other too
    kept   share of the atoms that CNA calls FCC, HCP or BCC which have that label

The truth is CNA of the minimised frame, at every temperature: heat takes atoms from CNA itself, as its
column shows.
"""

from __future__ import annotations

import numpy as np

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.classification.classify import classify_frame
from ovito_mace_phase.classification.settings import Settings
from ovito_mace_phase.lab.evaluation.labels import Keys, answer_of, share
from ovito_mace_phase.lab.evaluation.report import Report, SuiteSettings, Table
from ovito_mace_phase.lab.metal_defects import MetalFrame, metal_frames
from ovito_mace_phase.lab.metals import heated
from ovito_mace_phase.lab.ovito_methods import ovito_answer, ovito_answers
from ovito_mace_phase.model.phase_model import PhaseModel

OURS = "this package"
_PACKED = ("FCC", "HCP", "BCC")
_METHODS = ("CNA", "PTM 0.1", "PTM")
_WHAT = ("other", "kept")
_HEATS = ("at rest", "300 K", "0.6 Tm")


def run(model: PhaseModel, settings: SuiteSettings) -> Report:
    """Build the metals, heat them and hold the labels against CNA."""
    from tqdm import tqdm

    rng = np.random.default_rng(settings.seed)
    rows = []
    for metal in tqdm(metal_frames(rng, small=settings.quick), desc="cna", leave=False):
        truth = ovito_answer(metal.frame, "CNA")
        heats = _HEATS[:2] if settings.quick else _HEATS
        rows += [_row(metal, heat, _at(metal, heat, rng, settings.quick), truth, model) for heat in heats]
    methods = list(rows[0]["other"])
    header = ("frame", "metal", "atoms", "CNA's Other", *(f"{name}: {what}" for name in methods for what in _WHAT))
    return Report(
        title="Metals with defects, against common neighbour analysis",
        about="Per cent of the atoms that CNA calls Other in the frame at rest which are Other, and of those that it "
        "calls FCC, HCP or BCC which have that label. Default settings, verified labels. Heat is molecular dynamics.",
        numbers={"rows": rows},
        tables=[
            Table(title=heat, header=header, rows=[_line(row) for row in rows if row["heat"] == heat])
            for heat in dict.fromkeys(row["heat"] for row in rows)
        ]
        + [_means(rows, methods)],
    )


def _at(metal: MetalFrame, heat: str, rng: np.random.Generator, quick: bool) -> Frame:
    if heat == "at rest":
        return metal.frame
    temperature = 300.0 if heat == "300 K" else 0.6 * metal.metal.melting
    return heated(metal.metal, metal.frame, temperature, rng, steps=30 if quick else 250)


def _row(metal: MetalFrame, heat: str, frame: Frame, truth: Keys, model: PhaseModel) -> dict:
    answers = {OURS: answer_of(classify_frame(frame, model, Settings())).keys} | ovito_answers(frame, _METHODS)
    other = metal.counted & (truth == "OTHER")
    crystal = metal.counted & np.isin(truth, _PACKED)
    return {
        "frame": metal.kind,
        "metal": metal.symbol,
        "heat": heat,
        "n_atoms": int(metal.counted.sum()),
        "n_other": int(other.sum()),
        "n_kept": int(crystal.sum()),
        "other": {name: share(keys, "OTHER", other) for name, keys in answers.items()},
        "kept": {
            name: float((keys == truth)[crystal].mean()) if crystal.any() else float("nan")
            for name, keys in answers.items()
        },
    }


def _line(row: dict) -> tuple:
    values = [row[what][name] for name in row["other"] for what in _WHAT]
    return (row["frame"], row["metal"], row["n_atoms"], row["n_other"], *values)


def _means(rows: list[dict], methods: list[str]) -> Table:
    lines = []
    for heat in dict.fromkeys(row["heat"] for row in rows):
        mine = [row for row in rows if row["heat"] == heat]
        columns = [(name, what) for name in methods for what in _WHAT]
        lines.append((f"{heat}, by atom", *(_by_atom(mine, *column) for column in columns)))
        lines.append(
            (f"{heat}, by frame", *(float(np.nanmean([row[what][name] for row in mine])) for name, what in columns))
        )
    return Table(
        title="All frames", header=("", *(f"{name}: {what}" for name in methods for what in _WHAT)), rows=lines
    )


def _by_atom(rows: list[dict], name: str, what: str) -> float:
    counts = np.array([row[f"n_{what}"] for row in rows])
    return float(np.nansum([row[what][name] for row in rows] * counts) / counts.sum())
