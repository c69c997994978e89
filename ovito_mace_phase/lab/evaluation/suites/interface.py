"""Suite `interface`: ice Ih in contact with water, molecule by molecule.

Truth is which half was held frozen while the other melted; near the front it is not certain, so that molecules nearer
than 6 A to one of the other kind are left out. An ice label is any of the ice phases, hydrates not among them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.lab.data.npz import Snapshot, oxygens, snapshots_of
from ovito_mace_phase.lab.evaluation.labels import DEFAULT, Keys, columns, commonest_other, predict, share
from ovito_mace_phase.lab.evaluation.report import Report, SuiteSettings, Table, mean_and_std
from ovito_mace_phase.lab.ovito_methods import ovito_answers, subset
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.runtime.errors import InputError

FRONT = 6.0
_METHODS = ("CHILL+", "Diamond", "PTM 0.1", "PTM")
_NETS = ("ICE_IH", "ICE_IC", "ICE_INTERFACE", "CUBIC_DIAMOND", "HEX_DIAMOND")


def run(model: PhaseModel, settings: SuiteSettings) -> Report:
    """Label all interface snapshots of the folders."""
    found = [_measure(snapshot, model, settings) for snapshot in snapshots_of(settings.frames, "interface")]
    methods = [*columns(settings.denoise_steps), *_METHODS]
    quantities = ("agreement", "ice found", "water found", "Ih in the ice")
    right = {
        name: {quantity: mean_and_std([one["right"][name][quantity] for one in found]) for quantity in quantities}
        for name in methods
    }
    n_ice, n_water = (sum(one[key] for one in found) for key in ("n_ice", "n_water"))
    return Report(
        title="Ice in contact with water",
        about=f"Molecules at least {FRONT:g} A from the front, per cent, mean ± spread over {len(found)} snapshots "
        f"({n_ice} in the ice, {n_water} in the water). Agreement: ice called ice and water called anything "
        "else, together; ice is any ice phase (of Diamond and PTM: a diamond net).",
        numbers={"methods": right, "snapshots": found, "n_ice": n_ice, "n_water": n_water},
        tables=[
            Table(
                title="Agreement",
                header=("method", *quantities),
                rows=[(name, *(right[name][quantity] for quantity in quantities)) for name in methods],
            ),
            Table(
                title="Commonest other labels (default)",
                header=("snapshot", "in the ice, but ICE_IH", "in the water, but OTHER"),
                rows=[(one["name"], one["other_ice"], one["other_water"]) for one in found],
            ),
        ],
    )


def far_from_front(oxygen: Frame, frozen: npt.NDArray[np.bool_], least: float = FRONT) -> npt.NDArray[np.bool_]:
    """Return which molecules have none of the other kind nearer than `least`, by their oxygens."""
    edges = neighbour_list(oxygen.positions, oxygen.cell, oxygen.pbc, least)
    unlike = frozen[edges.centre] != frozen[edges.neighbour]
    return np.bincount(edges.centre, weights=unlike, minlength=len(frozen)) == 0


def is_ice(keys: Keys) -> npt.NDArray[np.bool_]:
    """Return which labels mean ice."""
    return np.isin(keys, _NETS) | np.char.startswith(keys, "ICE_")


def _measure(snapshot: Snapshot, model: PhaseModel, settings: SuiteSettings) -> dict:
    chosen = oxygens(snapshot.frame)
    frozen = snapshot.arrays["frozen"].astype(bool)
    if frozen.shape != (chosen.sum(),):
        raise InputError(
            f"{snapshot.name}: `frozen` must have one value per molecule, {chosen.sum()}, not {frozen.shape}"
        )
    oxygen = subset(snapshot.frame, chosen)
    far = far_from_front(oxygen, frozen)
    if not ((far & frozen).any() and (far & ~frozen).any()):
        raise InputError(f"{snapshot.name}: ice or water is too thin, no molecule is {FRONT:g} A from the front")
    ours = predict(snapshot.frame, model, denoise_steps=settings.denoise_steps)
    answers = {name: answer.keys[chosen] for name, answer in ours.items()} | ovito_answers(oxygen, _METHODS)
    ice, water = far & frozen, far & ~frozen
    right = {}
    for name, keys in answers.items():
        found = is_ice(keys)
        right[name] = {
            "agreement": float((found == frozen)[far].mean()),
            "ice found": float(found[ice].mean()),
            "water found": float((~found)[water].mean()),
            "Ih in the ice": share(keys, ("ICE_IH", "HEX_DIAMOND"), ice),
        }
    return {
        "name": snapshot.name,
        "n_ice": int(ice.sum()),
        "n_water": int(water.sum()),
        "right": right,
        "other_ice": commonest_other(answers[DEFAULT][ice], "ICE_IH"),
        "other_water": commonest_other(answers[DEFAULT][water], "OTHER"),
    }
