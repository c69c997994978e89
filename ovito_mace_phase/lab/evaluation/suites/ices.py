"""Suite `ices`: ice polymorphs and clathrate hydrates, molecule by molecule.

The label of a molecule is that of its oxygen. Proton orders are those of the test part of training (`lab.data.ices`);
polymorphs that differ by proton order alone are one phase of the table, and equivalent phases count as one.
"""

from __future__ import annotations

import numpy as np

from ovito_mace_phase.lab.data.ices import SEEDS
from ovito_mace_phase.lab.data.npz import oxygens
from ovito_mace_phase.lab.evaluation.frames.water import ice_frame, rattled_molecules
from ovito_mace_phase.lab.evaluation.labels import (
    DEFAULT,
    columns,
    commonest_other,
    group_of,
    predict,
    share,
)
from ovito_mace_phase.lab.evaluation.mistakes import Tally
from ovito_mace_phase.lab.evaluation.report import Report, SuiteSettings, Table, mean_and_std
from ovito_mace_phase.lab.ovito_methods import ovito_answer, subset, target
from ovito_mace_phase.lab.phase_table.ices import ICES, Ice
from ovito_mace_phase.model.phase_model import PhaseModel

NOISE = 0.10
_METHODS = ("CHILL+", "Diamond", "PTM")


def run(model: PhaseModel, settings: SuiteSettings) -> Report:
    """Build every ice that the model knows and label its molecules."""
    from tqdm import tqdm

    rng = np.random.default_rng(settings.seed)
    known = {phase.key for phase in model.phases}
    chosen = [ice for ice in ICES if ice.key in known][: 2 if settings.quick else None]
    seeds = list(SEEDS["test"])[: 1 if settings.quick else None]
    tally = Tally()
    rows = [_row(ice, seeds, rng, model, settings, tally) for ice in tqdm(chosen, desc="ices", leave=False)]
    methods = [*columns(settings.denoise_steps), *_METHODS]
    return Report(
        title="Ices",
        about=f"Molecules labelled right, per cent, mean ± spread over {len(seeds)} proton orders not trained on. "
        f"Every molecule is moved as a rigid body, {NOISE} A per component. CHILL+, Diamond and PTM see the "
        "oxygens only; Diamond and PTM are right when they find the net. A dash: the method has no such ice.",
        numbers={"rows": rows, "mistakes": tally.numbers(), "sigma": NOISE, "proton_seeds": seeds},
        tables=[
            Table(
                title="Polymorphs",
                header=("phase", "name", "molecules", *methods, "commonest other label (default)"),
                rows=[
                    (row["phase"], row["name"], row["n_molecules"], *(row["right"][m] for m in methods), row["other"])
                    for row in rows
                ],
            ),
            tally.table(),
        ],
    )


def _row(
    ice: Ice, seeds: list[int], rng: np.random.Generator, model: PhaseModel, settings: SuiteSettings, tally: Tally
) -> dict:
    group = group_of(ice.key)
    shares: dict[str, list[float]] = {}
    labels = []
    for seed in seeds:
        frame = rattled_molecules(ice_frame(ice, seed, 9.0), NOISE, rng)
        oxygen = oxygens(frame)
        ours = predict(frame, model, denoise_steps=settings.denoise_steps)
        tally.add(ice.key, ours, group, oxygen)
        labels.append(ours[DEFAULT].keys[oxygen])
        for name, answer in ours.items():
            shares.setdefault(name, []).append(share(answer.keys, group, oxygen))
        for method in _METHODS:
            wanted = target(method, ice.key)
            if wanted is not None:
                shares.setdefault(method, []).append(share(ovito_answer(subset(frame, oxygen), method), wanted))
    names = [*columns(settings.denoise_steps), *_METHODS]
    return {
        "phase": ice.key,
        "name": ice.name,
        "n_molecules": sum(map(len, labels)),
        "right": {name: mean_and_std(shares[name]) if name in shares else None for name in names},
        "other": commonest_other(np.concatenate(labels), group),
    }
