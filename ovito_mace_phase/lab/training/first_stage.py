"""What training starts from: data files and a network; and the record of a run for the model card."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.lab.data.ices import ice_structures
from ovito_mace_phase.lab.data.npz import Snapshot, melts_by_system, read_snapshots
from ovito_mace_phase.lab.data.prototypes import prototypes_beside
from ovito_mace_phase.lab.data.structures import (
    CrystalStructure,
    Part,
    load_labelled,
    load_unlisted,
    part_of,
    reference_structures,
    split,
)
from ovito_mace_phase.lab.samples.kinds.registry import KindSource
from ovito_mace_phase.lab.samples.kinds.stock import Stock
from ovito_mace_phase.lab.samples.source import SampleSource
from ovito_mace_phase.model.network.head import PhaseHead
from ovito_mace_phase.model.network.model_file import NetworkConfig, load_model
from ovito_mace_phase.model.reference.mace.convert import select_elements
from ovito_mace_phase.phases import Phase, phase_table
from ovito_mace_phase.phases.own import table_with
from ovito_mace_phase.runtime.errors import InputError

SLOT_ELEMENTS = (8, 14, 29, 12, 22, 17)
"""Rows of MACE-MP-0 that serve as anonymous species: O, Si, Cu, Mg, Ti, Cl."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where training reads from.

    Attributes
    ----------
    data : Path
        Labelled structures, npz.
    start : Path
        Model to start from: a converted MACE network (`ovito-mace-phase convert`), or a model with a head.
    melts, dynamics : Path or None
        Folders of snapshots: what is no crystal, and hot crystals of known phase.
    phases : tuple of str
        Keys of the phases to learn; empty: all of the table.
    """

    data: Path
    start: Path
    melts: Path | None = None
    dynamics: Path | None = None
    phases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StartModel:
    """Network to start from, with the head that it has, float32."""

    tensors: dict[str, Any]
    config: NetworkConfig
    head: PhaseHead | None
    card: dict[str, Any]

    @property
    def n_species(self) -> int:
        """Anonymous species that the network can tell apart."""
        return len(self.config.elements)


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Structures, background and crystals of prototypes that are no class of each part of the split; the classes.

    `prototypes` is a file of further crystals that are no class (`lab.data.prototypes`).
    """

    phases: tuple[Phase, ...]
    structures: dict[Part, list[CrystalStructure]]
    melts: dict[Part, list[list[Frame]]]
    dynamics: list[Snapshot]
    unlisted: dict[Part, list[list[CrystalStructure]]]
    seed: int
    prototypes: Path | None = None

    def source(self, n_slots: int, part: Part = "train") -> SampleSource:
        """Return where the samples of a part come from; hot crystals belong to the training part."""
        stock = Stock(
            self.phases,
            self.structures[part],
            part,
            seed=self.seed,
            most_species=n_slots,
            prototypes=self.prototypes,
        )
        return SampleSource(
            self.phases,
            self.structures[part],
            self.melts[part],
            n_slots,
            self.dynamics if part == "train" else (),
            self.unlisted[part],
            KindSource(stock),
        )

    def untested(self) -> list[CrystalStructure]:
        """Return the training structures of the phases that the test part has no structure of."""
        tested = {structure.phase for structure in self.structures["test"]}
        return [structure for structure in self.structures["train"] if structure.phase not in tested]


def load_start(path: Path) -> StartModel:
    """Read the model to start from; of a converted network the rows of the anonymous species are kept."""
    tensors, card = load_model(path)
    config = NetworkConfig.from_card(card)
    head = PhaseHead.from_tensors(tensors, card) if "head" in card else None
    network = {name: array for name, array in tensors.items() if not name.startswith("head.")}
    if head is None:
        network, config = select_elements(network, config, SLOT_ELEMENTS)
    network = {name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in network.items()}
    return StartModel(tensors=network, config=config, head=head, card=card)


def chosen_phases(keys: Sequence[str], start: StartModel | None = None) -> tuple[Phase, ...]:
    """Return the classes, Other first: those of the start model's head, or `keys`, or all of the table with a cell.

    Raises
    ------
    InputError
        For a key that does not exist or has no reference cell, and for keys other than those of the start model.
    """
    table = phase_table() if start is None else table_with(start.card)
    if start is not None and start.head is not None:
        known = tuple(table.by_key(key) for key in start.card["phases"])
        if keys and {table.by_key(key).key for key in keys} | {"OTHER"} != {phase.key for phase in known}:
            raise InputError(
                "the start model has a head for other phases; leave the phases out, or start from a converted network"
            )
        return known
    wanted = [table.by_key(key) for key in keys] or [phase for phase in table if phase.reference is not None]
    without = [phase.key for phase in wanted if phase.reference is None and phase.key != "OTHER"]
    if without:
        raise InputError(f"{', '.join(without)} cannot be trained: there is no reference cell")
    found = {phase.id: phase for phase in (table.by_key("OTHER"), *wanted)}
    return tuple(found[number] for number in sorted(found))


def load_data(sources: Sources, phases: tuple[Phase, ...], seed: int) -> TrainingData:
    """Read everything there is to train on and split it by chemical system; `seed` is that of the split.

    Raises
    ------
    InputError
        When a file is missing or damaged, or a part of the split would be empty.
    """
    labelled = load_labelled(sources.data, phases)
    parts = split(labelled, reference_structures(phases, labelled), len(phases), seed)
    for part, structures in ice_structures(phases).items():
        parts[part].extend(structures)
    for part in ("train", "validation"):
        if not parts[part]:
            raise InputError(
                f"no structures in the part {part!r} of the split; {sources.data} holds too few of the phases"
            )
    melts: dict[Part, list[list[Frame]]] = {"train": [], "validation": [], "test": []}
    for system, frames in melts_by_system(sources.melts).items():
        melts[part_of(f"melt {system.split('_')[1]}", seed)].append(frames)
    return TrainingData(
        phases=phases,
        structures=parts,
        melts=melts,
        dynamics=[] if sources.dynamics is None else read_snapshots(sources.dynamics),
        unlisted=load_unlisted(sources.data, phases, seed),
        seed=seed,
        prototypes=prototypes_beside(sources.data),
    )


def record(given: TrainingData, settings: Any, data: Path, started: float) -> dict[str, Any]:
    """Return the training record for the model card; `settings` is a dataclass."""
    import torch

    return {
        "settings": dataclasses.asdict(settings),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "seconds_of_last_call": round(time.time() - started),
        "data": {
            "file": data.name,
            "sha256": hashlib.sha256(data.read_bytes()).hexdigest(),
            "structures": {part: len(items) for part, items in given.structures.items()},
            "melts": {part: len(items) for part, items in given.melts.items()},
            "dynamics": sorted({snapshot.name.rsplit("_", 1)[0] for snapshot in given.dynamics}),
        },
        "machine": {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.cuda.is_available()},
        "split": "by chemical system (hash), see docs/training.md",
        "split_seed": given.seed,
    }
