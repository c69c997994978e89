"""Layers point one way, and importing the package is cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ovito_mace_phase

PACKAGE = Path(ovito_mace_phase.__file__).parent
HEAVY = ("torch", "numba", "ovito", "mace")
OVITO_FILES = {
    "modifier.py",
    "ovito_input.py",
    "ovito_output.py",
    "ovito_compatibility.py",
    "ovito_frames.py",
    "ovito_task.py",
    "ovito_trajectory.py",
    "evaluating/ovito_methods.py",
}
MACE_FILES = {"convert.py", "network/from_mace.py", "mace_backend.py"}


def imported_packages(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere, its own relative imports left out."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def files() -> list[str]:
    return sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def test_only_modifier_and_command_line_import_ovito():
    users = {name for name in files() if "ovito" in imported_packages(PACKAGE / name)}
    assert users <= OVITO_FILES | {name for name in users if name.startswith("cli/")}, users


def test_only_the_converter_imports_mace():
    users = {name for name in files() if {"mace", "e3nn"} & imported_packages(PACKAGE / name)}
    assert users <= MACE_FILES


def test_layers_below_do_not_import_the_modifier_or_the_command_line():
    above = (
        *(
            "modifier",
            "ovito_input",
            "ovito_output",
            "ovito_compatibility",
            "ovito_frames",
            "ovito_task",
            "ovito_trajectory",
        ),
        "cli",
    )
    for name in files():
        if name.startswith("cli/") or name in OVITO_FILES or name in {"__init__.py", "__main__.py"}:
            continue
        for node in ast.walk(ast.parse((PACKAGE / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                parts = node.module.removeprefix("ovito_mace_phase.").split(".")
                assert parts[0] not in above, f"{name} imports {node.module}"


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
