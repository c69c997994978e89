"""Whether the packages are there that the installation asks for, in versions that it can use.

Requirements are those that pip stored with the package; parts that were not asked for (`[train]`, ...) are left out.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from ovito_mace_phase.runtime.version import VERSION

from .finding import Finding

NAME = "ovito-mace-phase"
SHOWN = ("ovito", "torch", "numpy", "numba", "mace-torch", "vesin")
"""Named with their versions; of the others only what is wrong is told."""


def check_packages() -> Iterator[Finding]:
    """Yield what is installed, and every package that is missing or does not fit."""
    yield Finding(name="program", text=f"{NAME} {VERSION} in {Path(__file__).parents[2]}")
    yield Finding(
        name="Python",
        text=f"{platform.python_version()}, {platform.system()} {platform.release()}, {platform.machine()}",
    )
    try:
        texts = metadata.requires(NAME) or []
    except metadata.PackageNotFoundError:
        yield Finding(
            name="packages",
            text="the program runs from a folder and is not installed, so what it needs was not compared",
            state="note",
            remedy="install it with `python -m pip install .` in that folder",
        )
        return
    needed = [one for one in map(Requirement, texts) if one.marker is None or one.marker.evaluate({"extra": ""})]
    found = {one.name: _installed(one.name) for one in needed}
    for one in needed:
        version = found[one.name]
        if version is None or not one.specifier.contains(version, prereleases=True):
            wanted = f"{one.name}{one.specifier}"
            yield Finding(
                name="packages",
                text=f"{one.name} is missing" if version is None else f"{one.name} is {version}, needed is {wanted}",
                state="wrong",
                remedy=f'python -m pip install "{wanted}"   (in OVITO Pro: ovitos -m pip install --user "{wanted}")',
            )
    shown = ", ".join(f"{name} {found[name]}" for name in SHOWN if found.get(name))
    yield Finding(name="packages", text=f"{shown}; {len(needed)} were looked at")


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
