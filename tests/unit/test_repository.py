"""The files around the package agree: one version everywhere, one list of requirements, nothing astray at the top."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from ovito_mace_phase.runtime.version import VERSION

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOW = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
TOP = {
    *("pyproject.toml", "ovito_mace_phase", "tests", "docs", "examples", "sample_dumps", "README.md"),
    *("LICENSE", "CITATION.cff", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "conda-recipe"),
    *("Makefile", "constraints.txt", "constraints-oldest.txt", ".ci", ".github", ".gitignore"),
}
ON_CONDA = {
    "torch": "pytorch",
    "mace-torch": "pymace",
    "vesin": "python-vesin",
    "matplotlib": "matplotlib-base",
}
"""Name on PyPI -> name of the conda package."""
MOST_BYTES = 20_000_000


def load(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def tracked():
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("no git repository")
    return [name for name in done.stdout.split("\0") if name]


def test_one_version():
    assert PROJECT["version"] == VERSION
    assert load("CITATION.cff")["version"] == VERSION
    assert load("conda-recipe/recipe.yaml")["context"]["version"] == VERSION
    changes = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert changes[0] == VERSION
    assert changes[-1] == "0.1.0"


def test_top_of_the_repository():
    assert {name.partition("/")[0] for name in tracked()} <= TOP


def test_conda_recipe_needs_what_the_package_needs():
    parts = [re.fullmatch(r"([\w.-]+)(\S*)", text).groups() for text in PROJECT["dependencies"]]
    wanted = {f"{ON_CONDA.get(name, name)} {bounds}" for name, bounds in parts}
    assert set(load("conda-recipe/recipe.yaml")["requirements"]["run"]) == {
        *wanted,
        f"python {PROJECT['requires-python']}",
    }


def test_workflow_tries_the_pythons_that_are_promised():
    jobs = yaml.safe_load(WORKFLOW)["jobs"]
    promised = [one.rpartition(" ")[2] for one in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", one)]
    assert jobs["newest"]["strategy"]["matrix"]["python"] == promised
    assert {one.partition("-")[0] for one in jobs["newest"]["strategy"]["matrix"]["os"]} == {
        "ubuntu",
        "macos",
        "windows",
    }
    assert [name for name, job in jobs.items() if job.get("continue-on-error")] == ["ovito-pre"]
    assert jobs["oldest"]["steps"][-1]["run"].startswith("make test-oldest")


def test_citation_has_what_the_format_asks_for():
    citation = load("CITATION.cff")
    assert {"cff-version", "message", "title", "authors", "version"} <= set(citation)
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= set(reference)


def test_license_of_all_files_is_one():
    assert {PROJECT["license"], load("CITATION.cff")["license"]} == {"MIT"}
    assert load("conda-recipe/recipe.yaml")["about"]["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")


def test_every_address_of_the_project_is_named_in_the_documentation():
    """No address is made up: those of articles are cited in the README."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, address in PROJECT["urls"].items():
        assert address.startswith("https://")
        if "arxiv.org" in address:
            assert f"arXiv:{address.rpartition('/')[2]}" in readme, name


def test_files_of_the_wheel_are_small_enough():
    """Not compressed, so that the wheel is below."""
    files = [ROOT / name for name in tracked() if name.startswith("ovito_mace_phase/")]
    assert sum(path.stat().st_size for path in files if path.exists()) < 1.3 * MOST_BYTES
