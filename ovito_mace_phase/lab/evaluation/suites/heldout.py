"""Suite `heldout`: accuracy on held-out chemical systems.

As `train` measured it, the network alone with a uniform prior, and stored it in the model card; with `--data` also
measured anew on fresh samples of the same structures, by the whole way of a frame:

    right of a phase = mean over its samples of the share of atoms with its label (or one of its group)
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np

from ovito_mace_phase.lab.calibration.accuracy import NOISE_BINS
from ovito_mace_phase.lab.evaluation.frames.held_out import held_out
from ovito_mace_phase.lab.evaluation.labels import DEFAULT, NETWORK, commonest_other, group_of, predict, share
from ovito_mace_phase.lab.evaluation.mistakes import Tally
from ovito_mace_phase.lab.evaluation.report import Report, SuiteSettings, Table, percent
from ovito_mace_phase.lab.samples.sampler import SampleSettings, draw
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.runtime.errors import InputError

_SAMPLES = 2  # of every phase
_BY = ("phase", "group")
_WELL = 0.9


def run(model: PhaseModel, settings: SuiteSettings) -> Report:
    """Tell the scores of the model card, and measure anew if there are data; InputError if the card has none."""
    scores = model.card.get("scores")
    if not scores:
        raise InputError("the card of this model holds no held-out scores; `ovito-mace-phase train` writes them")
    fresh = None if settings.data is None else measure(model, settings)
    return Report(
        title="Held-out chemical systems",
        about="An atom is right when its label (no threshold) is the phase of its crystal; means over phases. "
        "By phase / by equivalence group, in per cent. The parts of the split and every phase: uniform prior.",
        numbers={
            "scores": scores,
            "fresh": {} if fresh is None else {"rows": fresh.rows, "mistakes": fresh.tally.numbers()},
        },
        tables=[*(fresh.tables() if fresh else ()), _parts(scores), _per_phase(scores)],
    )


class Fresh(NamedTuple):
    """Fresh samples: a row for every phase, with the share right by phase and by group of each kind of label."""

    rows: list[dict[str, Any]]
    tally: Tally

    def tables(self) -> list[Table]:
        """Return means over phases, atoms by noise, and the phases of which default labels get less than most right."""
        lines = [
            (name, len(self.rows), *(float(np.mean([row[what][name] for row in self.rows])) for what in _BY))
            for name in self.rows[0]["phase"]
        ]
        least = sorted(self.rows, key=lambda row: row["phase"][DEFAULT])
        worst = [
            (row["key"], row["phase"][DEFAULT], row["phase"][NETWORK], row["other"])
            for row in least
            if row["phase"][DEFAULT] < _WELL or row["phase"][NETWORK] < _WELL
        ]
        header = ("phase", DEFAULT, f"network alone, {NETWORK}", "commonest other label (default)")
        return [
            Table(title=f"{_SAMPLES} fresh samples of every phase", header=("labels", "phases", *_BY), rows=lines),
            self.tally.table("The same, every atom counted once"),
            Table(title=f"Phases with less than {_WELL:.0%} right", header=header, rows=worst),
        ]


def measure(model: PhaseModel, settings: SuiteSettings) -> Fresh:
    """Label fresh samples of held-out structures in every way."""
    from tqdm import tqdm

    rng = np.random.default_rng(settings.seed)
    structures, _ = held_out(model, settings)
    sample_settings = SampleSettings.held_out(NOISE_BINS[0], NOISE_BINS[-1])
    found = Fresh([], Tally())
    for column in tqdm(sorted(structures)[: 3 if settings.quick else None], desc="held out", leave=False):
        key, shares = model.phases[column].key, defaultdict(list)
        for _ in range(_SAMPLES):
            structure = structures[column][int(rng.integers(len(structures[column])))]
            frame = draw(structure, sample_settings, model.evaluator.n_slots, rng).frame
            ours = predict(frame, model)
            found.tally.add("all", ours, key)
            for name, answer in ours.items():
                shares[name].append([share(answer.keys, keys) for keys in (key, group_of(key))])
        means = {name: np.mean(values, axis=0) for name, values in shares.items()}
        by = {what: {name: float(mean[k]) for name, mean in means.items()} for k, what in enumerate(_BY)}
        found.rows.append({"key": key, **by, "other": commonest_other(ours[DEFAULT].keys, key)})
    return found


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
