"""Whatever the package, tests, documentation and scripts import is declared in pyproject.toml."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from import_graph import NAME, foreign_imports, modules

ROOT = Path(__file__).parents[2]
FOLDERS = (NAME, "tests", "docs", "examples", "sample_dumps")
BROUGHT = {"PySide6": ("ovito", "pyside6")}
"""Left to another package: OVITO works with one version of Qt only, and OVITO Pro has it built in."""
LEFT_OUT = {"lint", "dumps", "gpu-test"}
NOT_THERE = {"triton"}
"""Comes with torch for CUDA: imported by modules that only a GPU needs, and by tests that skip without it."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def plain(name):
    """Name of a distribution as registries compare them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names_of(requirements):
    return {plain(re.match(r"[\w.-]+", text)[0]) for text in requirements}


CORE = names_of(PROJECT["dependencies"])
EXTRAS = {name: names_of(texts) for name, texts in PROJECT["optional-dependencies"].items()}
DISTRIBUTIONS = packages_distributions()


def undeclared(imported, declared):
    """Those of the imported top-level names that none of the declared distributions holds."""
    foreign = imported - set(sys.stdlib_module_names) - {NAME, "*"} - set(BROUGHT) - NOT_THERE
    return {name for name in foreign if not {plain(dist) for dist in DISTRIBUTIONS.get(name, [name])} & declared}


def test_distributions_are_found_by_what_they_are_imported_as():
    assert undeclared({"os", "numpy", "PIL", "mace", "psutil", NAME}, {"pillow", "mace-torch"}) == {"numpy", "psutil"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_import_is_declared(folder):
    everywhere = CORE.union(*EXTRAS.values())
    beside = {path.stem for name in FOLDERS[1:] for path in (ROOT / name).rglob("*.py")}
    found = foreign_imports(ROOT / folder)
    missing = {name: undeclared(imported - beside, everywhere) for name, imported in found.items()}
    assert not {name: gone for name, gone in missing.items() if gone}


def test_what_is_imported_at_once_comes_with_a_plain_installation():
    for name, path in modules(ROOT / NAME).items():
        top = ast.parse(
            path.read_text(encoding="utf-8")
        ).body  # what stands in a function or under an `if` is for later
        found = {alias.name.partition(".")[0] for node in top if isinstance(node, ast.Import) for alias in node.names}
        found |= {
            (node.module or "").partition(".")[0] for node in top if isinstance(node, ast.ImportFrom) and not node.level
        }
        assert not undeclared(found, CORE), name


def test_the_tests_have_all_they_import_with_the_extra_test():
    held = re.search(
        r"\[(.*)\]", next(text for text in PROJECT["optional-dependencies"]["test"] if plain(NAME) in text)
    )
    installed = CORE.union(EXTRAS["test"], *(EXTRAS[name] for name in held[1].split(",")))
    beside = {path.stem for name in FOLDERS[1:] for path in (ROOT / name).rglob("*.py")}
    imported = set().union(*foreign_imports(ROOT / "tests").values())
    assert not undeclared(imported - beside, installed)


@pytest.mark.parametrize("name", BROUGHT)
def test_what_is_left_to_another_package_comes_with_it(name):
    package, wanted = BROUGHT[name]
    assert any(plain(text).startswith(wanted) for text in requires(package))


def test_the_oldest_versions_are_the_lower_bounds():
    """`make test-oldest` runs with what pyproject.toml promises, `lint` and the programs of the sample dumps apart."""
    extras = [
        text for name, texts in PROJECT["optional-dependencies"].items() for text in texts if name not in LEFT_OUT
    ]
    bounds = [
        re.fullmatch(r"([\w.-]+)(?:\[.*\])?>=([\d.]+)(?:,<[\d.]+)?", text)
        for text in PROJECT["dependencies"] + extras
        if ">=" in text
    ]
    lines = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == sorted({f"{b[1]}=={b[2]}" for b in bounds})


def test_the_versions_of_the_tests_are_pinned():
    pinned = names_of((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:])
    extras = set().union(*(names for name, names in EXTRAS.items() if name not in ("dumps", "gpu-test")))
    assert (CORE | extras) - {plain(NAME)} <= pinned
