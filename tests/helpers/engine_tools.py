"""Evaluators of shipped weights and small frames, for the tests of the engine.

The weights are those of mace-phase-6: its logits are small enough for narrow tolerances, and its head folds (see
`FoldedHead`). `test_default_model` holds those of the default against the same reference.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import numpy as np
import torch

from ovito_mace_phase.atoms.cell_grid import make_grid
from ovito_mace_phase.lab.samples.disorder import push_apart
from ovito_mace_phase.model.engine.evaluator import make_evaluator
from ovito_mace_phase.model.engine.forward import forward
from ovito_mace_phase.model.network.head import PhaseHead
from ovito_mace_phase.model.network.model_file import NetworkConfig, load_model
from ovito_mace_phase.model.network.operations.torch_operations import TorchOperations
from ovito_mace_phase.model.reference.logits import reference_scores
from ovito_mace_phase.model.registry import MODELS

LOGITS_FLOAT32 = 1e-3  # logits run from -50 to 35
LOGITS_FLOAT64 = 1e-4  # what the splines leave
SCORE = 1e-4  # of the largest component
R_MAX = 6.0


@lru_cache
def shipped():
    tensors, card = load_model(MODELS["mace-phase-6"])
    return tensors, NetworkConfig.from_card(card), PhaseHead.from_tensors(tensors, card)


@lru_cache
def evaluator(dtype=torch.float32, plain_torch=False, block_size=None):
    made = make_evaluator(*shipped(), dtype=dtype, ops=TorchOperations() if plain_torch else None)
    return made if block_size is None else dataclasses.replace(made, block_size=block_size)


@dataclasses.dataclass(frozen=True)
class Small:
    """A frame in network units."""

    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    slots: np.ndarray

    def sorted(self):
        """Atoms sorted into cells, and their species slots in that order: what the engine takes."""
        grid = make_grid(self.positions, self.cell, self.pbc, R_MAX)
        return grid, self.slots[grid.order]

    def reference(self):
        return reference_scores(*shipped(), self.positions, self.cell, self.pbc, self.slots)


def random_frame(rng, n_species=2, pbc=(True, True, True)):
    """A few atoms in a triclinic cell, none too close: disorder that looks like nothing in particular."""
    cell = np.diag(rng.uniform(6, 9, 3)) + rng.uniform(-1.5, 1.5, (3, 3))
    n_atoms = int(rng.integers(12, 32))
    positions = push_apart(rng.uniform(0, 1, (n_atoms, 3)) @ cell, cell, 1.8)
    slots = rng.permutation(6)[np.arange(n_atoms) % n_species]
    return Small(positions, cell, np.array(pbc), slots)


def crystal(rng, repeat, n_species=1, sigma=0.1):
    """Rattled fcc at 13 A^3 per atom."""
    from ase.build import bulk

    atoms = bulk("Cu", a=(4 * 13.0) ** (1 / 3), cubic=True) * repeat
    positions = atoms.positions + rng.normal(0, sigma, atoms.positions.shape)
    slots = rng.integers(0, n_species, len(positions))
    return Small(positions, np.array(atoms.cell), np.ones(3, bool), slots)


def logits_of(frame, used=None, n_phases=None, **settings):
    """Logits in the order of the frame."""
    used = evaluator() if used is None else used
    grid, slots = frame.sorted()
    out = np.full(
        (len(frame.positions), shipped()[2].config.n_phases if n_phases is None else n_phases), np.nan, dtype=np.float32
    )

    def keep(first, last, logits, _count):
        out[grid.order[first:last]] = logits

    forward(grid, slots, used, keep, **settings)
    return out
