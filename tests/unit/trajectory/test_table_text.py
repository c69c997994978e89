"""The table for the terminal: mean atoms said as such, rare phases in one line."""

from __future__ import annotations

import re

from ovito_mace_phase.trajectory.summary import FrameSummary, PhaseShare, reasons_text, table_text


def frame(number, **counts):
    shares = tuple(PhaseShare(key=key, color=(0, 0, 0), count=n, confidence=0.5) for key, n in counts.items())
    return FrameSummary(frame=number, timestep=None, n_atoms=sum(counts.values()), shares=shares)


def test_rare_phases_are_one_line():
    text = table_text([frame(0, FCC=9987, HCP=9, BCC=2, OTHER=1, SC=1)])
    lines = [re.split(r"  +", line.strip()) for line in text.splitlines()]
    assert lines[0] == ["phase", "atoms", "%", "confidence"]
    assert lines[1:] == [
        ["FCC", "9987", "99.87", "0.50"],
        ["OTHER", "1", "0.01", "0.50"],
        ["3 more, each below 0.1 %", "12", "0.12", "0.50"],
    ]


def test_one_rare_phase_has_its_own_line():
    assert "HCP" in table_text([frame(0, FCC=9999, HCP=1)])
    assert "more" not in table_text([frame(0, FCC=9999, HCP=1)])


def test_means_are_called_so():
    text = table_text([frame(0, FCC=4, OTHER=6), frame(1, FCC=1, OTHER=9)])
    assert "mean atoms" in text.splitlines()[0]
    assert re.search(r"FCC +2\.5 +25\.00", text)
    assert reasons_text({"defect": 5}, 2) == "Other (mean atoms): 2.5 defect"
    assert reasons_text({"defect": 5}, 1) == "Other: 5 defect"
