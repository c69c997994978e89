"""The house: arrows go one way by folder, there is no circle, and importing the package is cheap."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from import_graph import circles, folder_of, foreign_imports, import_graph

import ovito_mace_phase

PACKAGE = Path(ovito_mace_phase.__file__).parent
HEAVY = ("torch", "numba", "ovito", "mace")
CORE = {"classification", "classification.geometry", "classification.readout", "model", "atoms", "phases", "runtime"}
NETWORK = {"model.engine", "model.network", "model.reference"}
ARROWS: dict[str, set[str]] = {
    "": set(),  # beside what it hands on lazily
    "cli": {"trajectory", "lab.add_phase", "lab.evaluation", "lab.training", "lab.benchmark", *CORE, *NETWORK},
    "trajectory": {"plugin", "classification", "model", "model.network", "phases", "runtime"},
    "plugin": {*CORE, "model.network"},
    "lab.benchmark": {"lab", *CORE, *NETWORK},
    "lab.evaluation": {"lab.calibration", "lab.samples", "lab.data", "lab.phase_table", "lab", *CORE, *NETWORK},
    "lab.add_phase": {"lab.samples", "lab.data", "lab.features", "lab", *CORE, *NETWORK},
    "lab.training": {"lab.calibration", "lab.features", "lab.samples", "lab.data", "lab", *CORE, *NETWORK},
    "lab.calibration": {"lab.features", "lab.samples", "lab.data", "lab", *CORE, *NETWORK},
    "lab.features": {"lab.samples", "lab", "atoms", "phases", "runtime", *NETWORK},
    "lab.samples": {"lab.data", "lab", "atoms", "phases", "runtime"},
    "lab.data": {"lab.phase_table", "lab", "atoms", "phases", "runtime"},
    "lab.phase_table": {"classification.geometry", "lab", "atoms", "phases", "runtime"},
    "lab": {"atoms", "phases", "runtime"},
    "classification": {"classification.geometry", "classification.readout", "model", "atoms", "phases", "runtime"},
    "classification.geometry": {"atoms", "phases", "runtime"},
    "classification.readout": {"model", "atoms", "phases", "runtime"},
    "model": {*NETWORK, "model.engine.device", "atoms", "phases", "runtime"},
    "model.engine": {"model.network", "atoms", "runtime"},
    "model.engine.device": {"model.engine", "model.network", "atoms", "runtime"},
    "model.reference": {"model.network", "atoms", "runtime"},
    "model.network": {"runtime"},
    "atoms": {"runtime"},
    "phases": {"runtime"},
    "runtime": set(),
}
"""Folder -> the folders it may import, besides itself."""
OVITO_FOLDERS = {"plugin", "trajectory", "cli"}
OVITO_FILES = {"lab.ovito_methods"}
MACE_FOLDER = "model.reference.mace"
RUN_TIME = {"trajectory", "plugin", "classification", "model", "atoms", "phases", "runtime"}
MOST_ENTRIES = 12


@pytest.fixture(scope="module")
def graph():
    return import_graph(PACKAGE)


def test_arrows_go_one_way(graph):
    found = set()
    for name, targets in graph.items():
        if name in ("", "__main__"):
            continue
        folder = folder_of(name, ARROWS)
        found |= {
            f"{name} -> {target}"
            for target in targets
            if (other := folder_of(target, ARROWS)) != folder and other not in ARROWS[folder]
        }
    assert found == set()


def test_public_names_come_from_the_run_time():
    homes = set(ovito_mace_phase._HOMES.values())
    assert homes
    assert {home.partition(".")[0] for home in homes} <= RUN_TIME


def test_no_circle(graph):
    assert circles(graph) == []


def test_the_table_itself_has_no_circle():
    order: list[str] = []
    while len(order) < len(ARROWS):
        free = [name for name, below in ARROWS.items() if name not in order and below & set(ARROWS) <= {*order, name}]
        assert free, f"circle among {set(ARROWS) - set(order)}"
        order += free


def test_run_time_imports_nothing_that_makes_models(graph):
    users = {
        name for name in graph if name.partition(".")[0] in RUN_TIME and any(t.startswith("lab") for t in graph[name])
    }
    assert users == set()


def test_few_entries_at_the_top():
    entries = {path.name for path in PACKAGE.iterdir()} - {"__pycache__"}
    assert len(entries) <= MOST_ENTRIES, sorted(entries)


def test_who_imports_ovito_and_mace():
    found = foreign_imports(PACKAGE)
    ovito = {name for name, used in found.items() if "ovito" in used}
    assert {name for name in ovito if name.partition(".")[0] not in OVITO_FOLDERS} == OVITO_FILES
    mace = {name for name, used in found.items() if used & {"mace", "e3nn"}}
    assert mace
    assert all(name.startswith(MACE_FOLDER) for name in mace), mace


def test_every_form_of_import_is_seen(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("b/__init__", "b/x", "b/y", "c", "d"):
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "__init__.py").write_text("")
    lines = {
        "from . import c": {"c"},
        "from .b import x, y": {"b.x", "b.y"},
        "from .b.x import z": {"b.x"},
        "import ovito_mace_phase.d": {"d"},
        "def f():\n    from ovito_mace_phase.b import something": {"b"},
        "import_module('ovito_mace_phase.b.y')": {"b.y"},
        "importlib.import_module(f'.b.{name}', __package__)": {"b.x", "b.y"},
        "import numpy": set(),
    }
    for line, expected in lines.items():
        (tmp_path / "a.py").write_text(line + "\n")
        assert import_graph(tmp_path)["a"] == expected, line
    (tmp_path / "c.py").write_text("from . import a\n")
    (tmp_path / "a.py").write_text("if TYPE_CHECKING:\n    from .c import z\n")
    assert circles(import_graph(tmp_path)) == [["a", "c"]]


def test_triton_is_imported_late(graph):
    """By files that nothing imports at once but each other, so that a CPU never needs it."""
    users = {name for name, used in foreign_imports(PACKAGE).items() if "triton" in used}
    assert users
    code = f"""
import sys, ovito_mace_phase.model.phase_model as m
m.PhaseModel.load(device="cpu")
import ovito_mace_phase.classification.classify
users = {users!r}
print([name for name in sys.modules if name == "triton" or name.removeprefix("ovito_mace_phase.") in users])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "statement", ["import ovito_mace_phase", "import ovito_mace_phase.phases", "import ovito_mace_phase.cli"]
)
def test_import_is_light(statement):
    code = f"import sys; {statement}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_modifier_imports_no_network_before_the_first_evaluation():
    code = (
        "import sys; from ovito_mace_phase import MacePhaseModifier; MacePhaseModifier(); "
        "print([m for m in ('torch', 'numba', 'mace') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_lazy_names_are_what_they_should_be_in_any_order():
    code = """
import ovito_mace_phase.classification.classify as c
from ovito_mace_phase import classify
print(classify is c.classify)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "True", done.stderr


def test_lazy_names_exist():
    for name in ovito_mace_phase.__all__:
        assert getattr(ovito_mace_phase, name).__name__ == name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = ovito_mace_phase.no_such_name
