"""The scripts in docs/tools: timing of cheap changes, and the check of the panel for users of OVITO Pro."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import ovito
import pytest
from fake_model import install

ROOT = Path(__file__).parents[2]


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_timing_counts_two_evaluations(monkeypatch):
    install(monkeypatch).card["distances"] = {"FCC": [5.0, 0.1, 1.0]}
    timing = script("panel_timing")
    results, evaluations = timing.measure(500)
    assert evaluations == 2
    names = [name for name, _ in results]
    assert {name for name, _ in timing.CHANGES} <= set(names)
    assert len(set(names)) == len(names)
    assert all(0 < seconds < 60 for _, seconds in results)


@pytest.mark.slow
def test_cheap_changes_answer_at_once():
    """The better of two runs in one process, the first of which compiles, beside an evaluation in the same runs."""
    timing = script("panel_timing")
    runs = [timing.measure(100_000) for _ in range(2)]
    assert [evaluations for _, evaluations in runs] == [2, 2]
    best = {name: min(dict(results)[name] for results, _ in runs) for name, _ in runs[0][0]}
    evaluation = min(best.pop(name) for name in list(best) if "first evaluation" in name)
    others = {name: best.pop(name) for name in ("phases, three", "phases, all but a few")}  # templates are tried anew
    assert max(others.values()) < max(1.0, evaluation / 2), others  # 10 us an atom; the network takes 30
    assert max(best.values()) < max(0.2, evaluation / 15), best


def test_panel_check_says_where_it_runs(capsys):
    assert script("panel_check").main() == 1
    assert "inside OVITO Pro 3.16" in capsys.readouterr().out


def test_panel_check_with_a_stand_in_for_the_window(capsys, monkeypatch, tmp_path):
    """Its own logic; that OVITO's window behaves like this one is not known."""
    install(monkeypatch)
    check = script("panel_check")
    picture = SimpleNamespace(save=lambda path: Path(path).write_bytes(b"png") > 0)
    window = SimpleNamespace(
        select_pipeline_editor_object=lambda what: None, take_command_panel_screenshot=lambda: picture
    )
    main_window = SimpleNamespace(get_current=lambda: window)
    monkeypatch.setattr(ovito, "gui", SimpleNamespace(MainWindow=main_window), raising=False)
    monkeypatch.setattr(check, "texts_in", lambda window: set(check.captions(check.MacePhaseModifier()).values()))
    monkeypatch.chdir(tmp_path)
    try:
        assert check.main() == 0
    finally:
        for line in list(ovito.scene.pipelines):
            line.remove_from_scene()
    report = (tmp_path / "panel_check.txt").read_text()
    assert "FFC" in report
    assert len(list(tmp_path.glob("*.png"))) == 4
    assert "FAILED" not in report
    monkeypatch.setattr(check, "texts_in", lambda window: {"Species"})
    try:
        assert check.main() == 4
    finally:
        for line in list(ovito.scene.pipelines):
            line.remove_from_scene()
