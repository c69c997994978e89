"""Shared fixtures: random numbers drawn afresh, their seed printed with a failing test; no renderer."""

from __future__ import annotations

import os

import numpy as np
import pytest


@pytest.fixture
def rng(request):
    """Generator with a fresh seed; `TEST_SEED=... pytest` repeats a run."""
    seed = int(os.environ.get("TEST_SEED", np.random.SeedSequence().entropy % 2**32))
    print(f"TEST_SEED={seed}")
    return np.random.default_rng(seed)


@pytest.fixture
def no_rendering(monkeypatch):
    """Pictures drawn flat, which takes no renderer."""
    from ovito_mace_phase.trajectory import picture

    monkeypatch.setattr(picture, "render_folder", lambda *args: "switched off")
