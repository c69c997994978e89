"""Check the panel of the modifier in OVITO Pro (3.16 or newer), and take pictures of it.

Run it inside OVITO Pro, from the menu for running a Python script; without the window it only says so.

It puts a small crystal and the modifier into the scene, selects the modifier, looks for a widget with the caption of
every parameter and button, presses the buttons' handlers, and writes

    panel_check.txt, panel_check_<state>.png

into the current folder. Written from the documentation of `ovito.gui.MainWindow`; the developers have no OVITO Pro, so
it has not been run by them: please send the two kinds of files back with whatever it says.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ovito
from ovito.data import DataCollection, ParticleType, SimulationCell
from ovito.modifiers import PythonModifier
from ovito.pipeline import Pipeline, StaticSource

from ovito_mace_phase import MacePhaseModifier
from ovito_mace_phase.plugin.modifier import parameter_names

BUTTONS = ("reload_model", "show_model_card")
STATES: dict[str, dict[str, Any]] = {
    "default": {},
    "denoising": {"denoise_steps": 8, "distances": True},
    "error": {"denoise_steps": 0, "distances": False, "phases": "FFC"},
    "repaired": {"phases": "FCC,BCC", "compatibility": "PTM"},
}


def crystal() -> DataCollection:
    """Return 500 atoms of shaken fcc copper."""
    corners = np.array(list(np.ndindex(5, 5, 5)), dtype=float)
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    places = 3.62 * (corners[:, None] + basis).reshape(-1, 3)
    places += 0.05 * np.random.default_rng(0).standard_normal(places.shape)
    data = DataCollection()
    particles = data.create_particles(count=len(places))
    particles.create_property("Position", data=places)
    kinds = particles.create_property("Particle Type", data=np.ones(len(places), dtype=np.int32))
    kinds.types.append(ParticleType(id=1, name="Cu"))
    cell = SimulationCell(pbc=(True, True, True))
    cell[:, :3] = 5 * 3.62 * np.eye(3)
    data.objects.append(cell)
    return data


def captions(modifier: MacePhaseModifier) -> dict[str, str]:
    """Return name -> caption that the panel should show."""
    found = {name: modifier.trait(name).label for name in parameter_names()}
    return found | {name: modifier.trait(name).ovito_label for name in BUTTONS}


def texts_in(window: Any) -> set[str]:
    """Return what is written on labels, check boxes, buttons and group boxes of the window."""
    from PySide6.QtWidgets import QAbstractButton, QGroupBox, QLabel, QWidget

    found = set()
    root = window.widget
    for kind in (QLabel, QAbstractButton):
        found |= {one.text() for one in root.findChildren(kind)}
    found |= {one.title() for one in root.findChildren(QGroupBox)}
    named = [name for name in captions(MacePhaseModifier()) if root.findChild(QWidget, name) is not None]
    print(f"widgets whose object name is that of a parameter: {', '.join(named) or 'none'}")
    return {text.rstrip(":").replace("&", "").strip() for text in found}


def save_picture(window: Any, path: Path) -> None:
    """Save a picture of the command panel, whatever kind of image the call returns."""
    image = window.take_command_panel_screenshot()
    if image is None or not image.save(str(path)):
        raise RuntimeError(f"no picture was written to {path}")


def main() -> int:
    """Check, and return the number of failures."""
    gui = getattr(ovito, "gui", None)
    if not hasattr(gui, "MainWindow"):
        print("This OVITO has no ovito.gui.MainWindow: run the script inside OVITO Pro 3.16 or newer.")
        return 1
    window = gui.MainWindow.get_current()
    modifier = MacePhaseModifier()
    line = Pipeline(source=StaticSource(data=crystal()))
    line.modifiers.append(modifier)
    line.add_to_scene()
    report: list[str] = [f"OVITO {ovito.version_string}"]

    def check(name: str, action: Callable[[], object]) -> None:
        try:
            outcome = action()
            report.append(f"ok      {name}" + ("" if outcome is None else f": {outcome}"))
        except Exception:
            report.append(f"FAILED  {name}\n{traceback.format_exc()}")

    def select() -> None:
        held = line.modifiers[-1]
        try:
            window.select_pipeline_editor_object(held)
        except TypeError:
            window.select_pipeline_editor_object(held if isinstance(held, PythonModifier) else line.head)

    def look(state: str) -> str:
        shown, wanted = texts_in(window), captions(modifier)
        missing = [f"{name} ({caption})" for name, caption in wanted.items() if caption not in shown]
        if missing:
            raise LookupError(f"not found in state {state!r}: {', '.join(missing)}")
        return f"{len(wanted)} captions"

    for state, parameters in STATES.items():
        for name, value in parameters.items():
            setattr(modifier, name, value)
        try:
            line.compute()
        except Exception as error:
            report.append(f"message in state {state!r}: {error}")
        check(f"select the modifier ({state})", select)
        check(f"captions ({state})", lambda state=state: look(state))
        check(f"picture ({state})", lambda state=state: save_picture(window, Path(f"panel_check_{state}.png")))
    check("button: reload model", modifier.reload)
    check("button: show model card", modifier.show_card)
    check("counts", lambda: line.compute().attributes["MacePhase.counts.FCC"])
    text = "\n".join(report)
    Path("panel_check.txt").write_text(text + "\n", encoding="utf-8")
    print(text)
    return sum(entry.startswith("FAILED") for entry in report)


if __name__ == "__main__":
    failures = main()
    if not ovito.gui_mode:
        sys.exit(bool(failures))
