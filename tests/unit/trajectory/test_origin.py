"""Pictures and the report say what they were made from: program, model, settings, checksum of the input."""

from __future__ import annotations

import hashlib
import html
import json

import pytest
from command_line import dump, run
from fake_model import install
from PIL import Image

from ovito_mace_phase import classify_trajectory
from ovito_mace_phase.model.store import get_card
from ovito_mace_phase.runtime.version import VERSION
from ovito_mace_phase.trajectory import checksum
from ovito_mace_phase.trajectory.checksum import named_checksum

PICTURES = ("phases.png", "frame.png", "confidence.png", "order_parameters.png")


@pytest.fixture
def written(tmp_path, monkeypatch, no_rendering):
    install(monkeypatch)
    source = dump(tmp_path / "cu.dump", 2)
    options = ["--report", "--movie", "2", "--prior", "frame", "--select", "Position.Z < 90", "--frames", "0:2"]
    assert run("classify", source, "-o", tmp_path / "out", *options) == 0
    return source, tmp_path / "out"


def test_pictures(written):
    source, out = written
    for name in PICTURES:
        with Image.open(out / f"cu.{name}") as picture:
            picture.load()
            texts = picture.text
        assert texts["Program"] == f"ovito-mace-phase {VERSION}"
        assert texts["Model"] == f"{get_card(None)['name']}, sha256 {get_card(None)['sha256']}"
        assert texts["Input"] == f"cu.dump, sha256 {hashlib.sha256(source.read_bytes()).hexdigest()}"
        settings = json.loads(texts["Settings"])
        assert settings["prior"] == "frame"
        assert settings["select"] == "Position.Z < 90"
        assert settings["frames"] == "0:2"
        assert "color_by_type" not in settings


def test_animation(written):
    source, out = written
    with Image.open(out / "cu.movie.gif") as movie:
        comment = movie.info["comment"].decode()
        assert movie.n_frames == 2
    assert f"Program: ovito-mace-phase {VERSION}" in comment
    assert hashlib.sha256(source.read_bytes()).hexdigest() in comment
    assert '"prior": "frame"' in comment


def test_report(written):
    source, out = written
    page = html.unescape((out / "cu.report.html").read_text(encoding="utf-8"))
    assert f'<meta name="generator" content="ovito-mace-phase {VERSION}">' in page
    assert page.count(hashlib.sha256(source.read_bytes()).hexdigest()) >= 2  # for programs and for readers
    assert get_card(None)["sha256"] in page
    assert '<td class="left">Position.Z < 90</td>' in page


def test_report_from_python_lists_the_settings_too(tmp_path, monkeypatch):
    install(monkeypatch)
    result = classify_trajectory(dump(tmp_path / "cu.dump"), prior="uniform")
    assert result.origin.settings["prior"] == "uniform"
    result.write_report(tmp_path / "r.html")
    assert '<td class="left">uniform</td>' in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_checksum_of_large_files_and_of_several(tmp_path, monkeypatch, rng):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(rng.bytes(1000))
    second.write_bytes(rng.bytes(1000))
    assert named_checksum([first]) == f"sha256 {hashlib.sha256(first.read_bytes()).hexdigest()}"
    assert named_checksum([first, second]) == f"blake2b of samples {checksum.checksum([first, second])}"
    monkeypatch.setattr(checksum, "_WHOLE", 999)
    monkeypatch.setattr(checksum, "_BLOCK", 10)
    assert named_checksum([first]) == f"blake2b of samples {checksum.checksum([first])}"
