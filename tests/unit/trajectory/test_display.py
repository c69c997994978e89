"""How far a run is: the files of frames under way, the line on a terminal, the lines in a file."""

from __future__ import annotations

import io
import time

from ovito_mace_phase.runtime.hearing import heard_by, tell
from ovito_mace_phase.trajectory.display import Display
from ovito_mace_phase.trajectory.under_way import shown_in, under_way


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_listeners_hear_what_is_told_meanwhile():
    heard = []
    with heard_by(heard.append):
        tell("begin")
        tell(0.5)
    tell("nobody")
    assert heard == ["begin", 0.5]


def test_frames_under_way_leave_nothing(tmp_path):
    assert under_way(tmp_path) == {}
    with shown_in(tmp_path, 7):
        tell("Classifying atoms, 5")
        tell(0.5)
        assert under_way(tmp_path) == {7: "Classifying atoms, 5"}
        tell("Classifying atoms, 3 of 5")  # too soon
        assert under_way(tmp_path) == {7: "Classifying atoms, 5"}
        tell("Writing")
        assert under_way(tmp_path) == {7: "Writing"}
    assert list(tmp_path.iterdir()) == []
    assert under_way(tmp_path / "nowhere") == {}


def test_a_terminal_has_one_line(tmp_path):
    stream = Terminal()
    with Display("cu", tmp_path, stream) as display:
        display.frames(2)
        with shown_in(tmp_path, 0):
            tell("Classifying atoms, 3 of 5")
            time.sleep(1.2)
        display.frame_done()
        display.frame_done()
        display.stage("drawing the atoms")
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    lines = [line.strip() for line in text.split("\r")]
    assert any(line.startswith("cu: 0/2 frames, frame 0: Classifying atoms, 3 of 5, 0:0") for line in lines)
    assert lines[-1].startswith("cu: 2/2 frames, 0:0")


def test_elsewhere_few_lines(tmp_path):
    stream = io.StringIO()
    with Display("cu", tmp_path, stream, seconds=0.4) as display:
        display.frames(3)
        for _ in range(3):
            time.sleep(0.35)
            display.frame_done()
    lines = stream.getvalue().splitlines()
    assert 3 <= len(lines) <= 5
    assert lines[0].startswith("cu: 0/3 frames, 0:00")
    assert lines[-1].startswith("cu: 3/3 frames, 0:01")
    assert "\r" not in stream.getvalue()


def test_a_stream_that_is_closed_stops_nothing(tmp_path):
    stream = io.StringIO()
    with Display("cu", tmp_path, stream, seconds=0.05) as display:
        stream.close()
        time.sleep(0.2)
        display.frames(1)
