"""Suite `titanium`: alpha, omega and beta side by side under pressure, each atom's phase known from how it was built.

The truth is that of `sample_dumps/make_titanium.py`: the phase of the slab; atoms near another slab, and those that
left the sites of their lattice, have none and do not count. PTM and CNA know no omega: a dash.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from ovito_mace_phase.lab.data.npz import Snapshot, snapshots_of
from ovito_mace_phase.lab.evaluation.labels import DEFAULT, Keys, columns, commonest_other, predict, share
from ovito_mace_phase.lab.evaluation.mistakes import Tally
from ovito_mace_phase.lab.evaluation.report import Report, SuiteSettings, Table
from ovito_mace_phase.lab.ovito_methods import METALS, ovito_answers, target
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.runtime.errors import InputError

_Found = tuple[Keys, dict[str, float | None]]  # default labels, and the share that each method has right
_METHODS = tuple(method for method in METALS if method != "Ackland-Jones")


def run(model: PhaseModel, settings: SuiteSettings) -> Report:
    """Label all built snapshots of the folders; atoms of one phase, pressure, temperature and neighbour are a row."""
    methods = [*columns(settings.denoise_steps), *_METHODS]
    tally = Tally()
    kept: dict[tuple[Any, ...], list[_Found]] = defaultdict(list)
    for snapshot in sorted(snapshots_of(settings.frames, "built"), key=_conditions):
        truth = truth_of(snapshot)
        pressure, temperature = _conditions(snapshot)
        phases = [str(key) for key in np.unique(truth[truth != ""])]
        ours = predict(snapshot.frame, model, denoise_steps=settings.denoise_steps)
        answers = {name: answer.keys for name, answer in ours.items()} | ovito_answers(snapshot.frame, _METHODS)
        for phase in phases:
            inside = truth == phase
            beside = ", ".join(key for key in phases if key != phase) or "-"
            tally.add(f"{phase} beside {beside}, {pressure:g} GPa, {temperature:g} K", ours, phase, inside)
            right = {name: _right(name, keys, phase, inside) for name, keys in answers.items()}
            kept[phase, pressure, temperature, beside].append((answers[DEFAULT][inside], right))
    rows = [_row(conditions, found, methods) for conditions, found in sorted(kept.items())]
    header = ("phase", "GPa", "K", "beside", "atoms", *methods, "commonest other label (default)")
    return Report(
        title="Titanium: phases side by side under pressure",
        about="Share of the atoms of a phase with the label of that phase, per cent. Truth by construction; atoms at "
        "the interfaces, and those that left their lattice during the run, do not count. PTM and CNA know no omega.",
        numbers={"rows": rows, "mistakes": tally.numbers()},
        tables=[
            Table(
                title="Right",
                header=header,
                rows=[
                    (
                        *(row["phase"], f"{row['pressure']:g}", f"{row['temperature']:g}", row["beside"]),
                        *(row["atoms"], *row["right"].values(), row["other"]),
                    )
                    for row in rows
                ],
            ),
            tally.table(),
        ],
    )


def truth_of(snapshot: Snapshot) -> Keys:
    """Return the phase of each atom (n_atoms,), empty where none counts.

    Raises
    ------
    InputError
        If `truth` has another length, or a phase that is not in the table.
    """
    truth: Keys = snapshot.arrays["truth"].astype(np.str_)
    if truth.shape != (len(snapshot.frame),):
        raise InputError(f"{snapshot.name}: `truth` must have one value per atom, {len(snapshot.frame)}")
    known = {phase.key for phase in phase_table()} | {"", "OTHER"}
    unknown = sorted(set(truth.tolist()) - known)
    if unknown:
        raise InputError(f"{snapshot.name}: `truth` has {', '.join(unknown)}, which is no phase of the table")
    return truth


def _conditions(snapshot: Snapshot) -> tuple[float, float]:
    return float(snapshot.arrays["pressure"]), float(snapshot.arrays["temperature"])


def _right(name: str, keys: Keys, phase: str, inside: np.ndarray) -> float | None:
    """Return the share of right atoms; None for a method of OVITO that has no such lattice."""
    wanted = target(name, phase) if name in _METHODS else phase
    return None if wanted is None else share(keys, wanted, inside)


def _row(conditions: tuple[Any, ...], found: list[_Found], methods: list[str]) -> dict[str, Any]:
    phase, pressure, temperature, beside = conditions
    labels = np.concatenate([keys for keys, _ in found])
    sizes = [len(keys) for keys, _ in found]
    return {
        **{"phase": phase, "pressure": pressure, "temperature": temperature, "beside": beside, "atoms": len(labels)},
        "right": {name: _average([one[name] for _, one in found], sizes) for name in methods},
        "other": commonest_other(labels, phase),
    }


def _average(shares: list[float | None], sizes: list[int]) -> float | None:
    known = [share for share in shares if share is not None]
    return float(np.average(known, weights=sizes)) if len(known) == len(shares) else None
