"""Denoising in a pipeline: with verification off the positions are those of the gradient, whatever was on before."""

from __future__ import annotations

import numpy as np
from ovito.io.ase import ase_to_ovito
from ovito.pipeline import Pipeline, StaticSource

from ovito_mace_phase import MacePhaseModifier
from ovito_mace_phase.lab.crystals import repeated
from ovito_mace_phase.phases import phase_table


def test_switching_verification_denoises_anew(rng):
    """Kept results belong to the settings they were made with."""
    from ase import Atoms

    cell = phase_table().by_key("KFES2").reference
    sites = repeated(cell.cell, cell.fractional, cell.species, 14.0)
    noisy = sites.positions + rng.normal(0.0, 0.1, sites.positions.shape)
    atoms = Atoms(np.array(["K", "Fe", "S"])[sites.species], positions=noisy, cell=sites.cell, pbc=True)
    pipeline = Pipeline(source=StaticSource(data=ase_to_ovito(atoms)))
    modifier = MacePhaseModifier(denoise_steps=2)
    pipeline.modifiers.append(modifier)
    found = {}
    for verify in ("auto", "off", "auto"):
        modifier.verify = verify
        places = np.array(pipeline.compute().particles["Denoised Position"])
        assert verify not in found or np.array_equal(found[verify], places)
        found[verify] = places
    assert np.abs(found["auto"] - found["off"]).max() > 0.01
