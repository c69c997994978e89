"""Suite `heldout`: accuracy on held-out chemical systems.

As `train` measured it under a uniform prior and stored it in the model card; with `--data` also measured anew on fresh
samples of the same structures, by the whole way of a frame and with every prior:

    right of a phase = mean over its samples of the share of atoms with its label (or one of its group)
    ECE over all atoms of all samples
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from ovito_mace_phase.lab.calibration.accuracy import NOISE_BINS, expected_calibration_error
from ovito_mace_phase.lab.evaluation.frames.held_out import held_out
from ovito_mace_phase.lab.evaluation.labels import PRIORS, Answer, group_of, predict_all_priors
from ovito_mace_phase.lab.evaluation.report import Report, SuiteSettings, Table, percent
from ovito_mace_phase.lab.samples.sampler import SampleSettings, draw
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.runtime.errors import InputError

_SAMPLES = 2  # of every phase


def run(model: PhaseModel, settings: SuiteSettings) -> Report:
    """Tell the scores of the model card, and measure anew if there are data; InputError if the card has none."""
    scores = model.card.get("scores")
    if not scores:
        raise InputError("the card of this model holds no held-out scores; `ovito-mace-phase train` writes them")
    fresh = _fresh(model, settings) if settings.data is not None else {}
    return Report(
        title="Held-out chemical systems",
        about="An atom is right when its label (no threshold) is the phase of its crystal; means over phases. "
        "By phase / by equivalence group, in per cent. The parts of the split and every phase: uniform prior.",
        numbers={"scores": scores, "fresh": fresh},
        tables=[*([_fresh_table(fresh)] if fresh else []), _parts(scores), _per_phase(scores)],
    )


def _fresh(model: PhaseModel, settings: SuiteSettings) -> dict[str, Any]:
    """Label fresh samples with each prior."""
    from tqdm import tqdm

    rng = np.random.default_rng(settings.seed)
    structures, _ = held_out(model, settings)
    sample_settings = SampleSettings.held_out(NOISE_BINS[0], NOISE_BINS[-1])
    right: dict[str, list[tuple[float, float]]] = defaultdict(list)
    atoms: dict[str, list[tuple[Answer, str]]] = defaultdict(list)
    for column in tqdm(sorted(structures)[: 3 if settings.quick else None], desc="held out", leave=False):
        key, samples = model.phases[column].key, defaultdict(list)
        for _ in range(_SAMPLES):
            structure = structures[column][int(rng.integers(len(structures[column])))]
            frame = draw(structure, sample_settings, model.evaluator.n_slots, rng).frame
            for prior, answer in predict_all_priors(frame, model).items():
                samples[prior].append((np.mean(answer.keys == key), np.isin(answer.keys, group_of(key)).mean()))
                atoms[prior].append((answer, key))
        for prior, found in samples.items():
            by_phase, by_group = np.mean(found, axis=0)
            right[prior].append((float(by_phase), float(by_group)))
    out: dict[str, Any] = {}
    for prior in right:
        confidence = np.concatenate([answer.confidence for answer, _ in atoms[prior]])
        hit = np.concatenate([answer.keys == key for answer, key in atoms[prior]])
        by_phase, by_group = np.mean(right[prior], axis=0)
        out[prior] = {
            "n_phases": len(right[prior]),
            "n_atoms": len(hit),
            "phase": float(by_phase),
            "group": float(by_group),
            "ece": expected_calibration_error(confidence, hit),
        }
    return out


def _fresh_table(fresh: dict[str, Any]) -> Table:
    shown = ("n_phases", "n_atoms", "phase", "group")
    rows = [(prior, *(fresh[prior][name] for name in shown), f"{fresh[prior]['ece']:.3f}") for prior in PRIORS]
    header = ("prior", "phases", "atoms", "by phase", "by group", "ECE")
    return Table(title=f"{_SAMPLES} fresh samples of every phase, part `test`", header=header, rows=rows)


def _parts(scores: dict[str, Any]) -> Table:
    bins = list(next(iter(scores.values()))["by_noise"])
    rows = [
        (
            part,
            score["n_phases"],
            score["n_atoms"],
            score["phase_accuracy"],
            score["group_accuracy"],
            *(f"{percent(phase)} / {percent(group)}" for phase, group in score["by_noise"].values()),
            f"{score['ece']:.3f}",
            score["background"]["other_or_unsure"],
        )
        for part, score in scores.items()
    ]
    header = ("part", "phases", "atoms", "by phase", "by group", *(f"noise {name}" for name in bins))
    return Table(title="Parts of the split", header=(*header, "ECE", "melts doubted"), rows=rows)


def _per_phase(scores: dict[str, Any]) -> Table:
    rows = [
        (
            key,
            part,
            score["n_atoms"],
            score["phase"],
            score["group"],
            score["low_noise"],
            f"{score['confused_with']} ({score['confused']:.0%})" if score["confused_with"] else "",
        )
        for part in ("test", "noise")
        for key, score in scores.get(part, {}).get("per_phase", {}).items()
    ]
    header = ("phase", "part", "atoms", "by phase", "by group", "noise up to 0.10", "commonest confusion")
    return Table(title="Every phase", header=header, rows=rows)
