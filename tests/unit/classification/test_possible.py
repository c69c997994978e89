"""No phase with more species than the frame: other answers stay exactly what they are."""

from __future__ import annotations

import numpy as np
import pytest

from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.atoms.network_frame import network_frame
from ovito_mace_phase.classification.readout.kept_logits import LogitKeeper
from ovito_mace_phase.classification.readout.labels import OTHER_ID, label_atoms
from ovito_mace_phase.classification.stages import possible_phases
from ovito_mace_phase.lab.crystals import cubic
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.phases import phase_table

PHASES = tuple(phase_table())
CALIBRATION = Calibration(temperature=1.3)
N_SPECIES = np.array([phase.n_species for phase in PHASES])


def kept_logits(logits, *, full, n_species=1):
    positions, cell = cubic("FCC", (len(logits) // 16, 2, 2))
    frame = network_frame(make_frame(positions, np.arange(len(logits)) % n_species, cell, True), r_max=6.0, n_slots=6)
    keeper = LogitKeeper(frame, PHASES, CALIBRATION.temperature, full=full)
    keeper.add(np.arange(len(logits)), logits)
    return keeper.result()


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("prior", ["local", "uniform", "frame", {"FCC": 2.0}])
def test_impossible_phases_give_way_and_others_stay(prior, full, rng):
    logits = rng.normal(0, 2, (64, len(PHASES))).astype(np.float32)
    logits[:, PHASES.index(next(p for p in PHASES if p.key == "FCC"))] += np.where(np.arange(64) < 40, 20, 6)
    logits[50:60, np.flatnonzero(N_SPECIES == 3)[:3]] += 12
    kept = kept_logits(logits, full=full)
    possible = possible_phases(kept.frame, kept.phases)
    assert np.array_equal(possible, (N_SPECIES <= 1) | (np.arange(len(PHASES)) == 0))
    before, after = (label_atoms(kept, CALIBRATION, prior=prior, possible=can) for can in (None, possible))
    stays = possible[before.column]
    assert stays[:40].all()
    assert (~stays[50:60]).any()
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one[stays], other[stays])
    assert possible[after.column].all()
    assert (after.confidence[~stays] <= 1 - before.confidence[~stays] + 1e-6).all()


def test_exact_where_all_logits_are_kept(rng):
    logits = rng.normal(0, 1, (32, len(PHASES))).astype(np.float32)
    logits[:, N_SPECIES > 1] += 15  # all of the best are impossible
    kept = kept_logits(logits, full=True)
    possible = possible_phases(kept.frame, kept.phases)
    found = label_atoms(kept, CALIBRATION, prior="uniform", possible=possible)
    wanted = np.where(possible, logits, -np.inf).argmax(axis=1)
    np.testing.assert_array_equal(found.column, wanted)
    lost = label_atoms(kept_logits(logits, full=False), CALIBRATION, prior="uniform", possible=possible)
    assert (np.array([phase.id for phase in PHASES])[lost.column] == OTHER_ID).all()
    assert (lost.confidence == 0).all()


def test_a_frame_of_as_many_species_has_all(rng):
    logits = rng.normal(0, 1, (32, len(PHASES))).astype(np.float32)
    kept = kept_logits(logits, full=True, n_species=2)
    assert np.array_equal(possible_phases(kept.frame, kept.phases), N_SPECIES <= 2)
