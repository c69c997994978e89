"""A frame of 2.2 million atoms: a small one repeated, so that every atom has an answer that is known."""

from __future__ import annotations

import numpy as np
import pytest

from ovito_mace_phase import classify
from ovito_mace_phase.lab.benchmark.cut_network import SMALLEST, cut_model
from ovito_mace_phase.lab.benchmark.measure import peak_memory
from ovito_mace_phase.lab.crystals import repeat
from ovito_mace_phase.model.network.model_file import load_model
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.model.registry import model_path
from ovito_mace_phase.phases import phase_table


@pytest.mark.slow
def test_two_million_atoms_say_what_the_small_frame_says(rng):
    shipped, network = PhaseModel.load(device="cpu"), load_model(model_path(None))[0]
    reference = phase_table().by_key("ROCKSALT").reference
    cell, fractional, species = repeat(reference.cell, reference.fractional, reference.species, np.array([4, 4, 4]))
    positions = fractional @ cell + rng.normal(0.0, 0.1, fractional.shape)
    for _ in range(10):  # the head is random: take one that tells two phases apart
        model = cut_model(shipped, network, SMALLEST)
        small = classify(positions, species, cell, True, model=model, verify="off")
        if np.median(small.margin) > 1e-2:
            break
    times = np.array([26, 26, 26])
    many = repeat(cell, positions @ np.linalg.inv(cell), species, times)
    count = times.prod()
    assert len(many[1]) == len(positions) * count > 2_200_000
    found = []
    peak = peak_memory(
        lambda: found.append(classify(many[1] @ many[0], many[2], many[0], True, model=model, verify="off"))
    )
    large = found[0]
    np.testing.assert_allclose(
        large.kept.log_density.reshape(count, -1), np.tile(small.kept.log_density, (count, 1)), atol=1e-3
    )
    np.testing.assert_allclose(large.kept.best[:, 0], np.tile(small.kept.best[:, 0], count), atol=1e-3)
    clear = np.tile(small.margin > 1e-2, count)
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(
        large.kept.best_columns[clear, 0], np.tile(small.kept.best_columns[:, 0], count)[clear]
    )
    assert peak is None or peak < 2.2e6 * 1000
