"""The line about denoising: units, and whether that is as it should be."""

from __future__ import annotations

import re

import pytest

from ovito_mace_phase.trajectory.denoised_text import denoised_text


def attributes(**values):
    found = {"steps": 8, "rms_displacement": 0.3, "length": 2.3, "last_step": 0.01, "converged": 0} | values
    return {f"MacePhase.denoising.{name}": value for name, value in found.items()}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "in 8 steps: atoms moved by 0.3 rms in the unit of the file, 0.13 times the cube root"),
        ({}, "nearly at rest, 3 % of that in the last step"),
        ({"converged": 1, "steps": 1}, "in 1 step: .*; at rest$"),
        ({"last_step": 0.04}, "not at rest yet, 13 % of that in the last step: as in a melt"),
        ({"rms_displacement": 0.6}, "more than the thermal motion of a crystal"),
        ({"rms_displacement": 0.0, "last_step": 0.0, "converged": 1, "steps": 0}, "moved by 0 rms"),
    ],
)
def test_words(values, words):
    assert re.search(words, denoised_text(attributes(**values)))


def test_nothing_without_denoising():
    assert denoised_text({}) == ""
