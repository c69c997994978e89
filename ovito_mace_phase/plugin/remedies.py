"""Notes that end in a remedy which can be pasted: the selection that leaves atoms out, the groups of species.

    out       atoms that lie on another, and those too close to others (`atoms.close_atoms`)
    types     a type is left out where at least WHOLE of its atoms are out and some atom stays
    one by one    up to FEW further atoms that lie on another: by Particle Identifier where all differ, else by index

Atoms too close to others are real atoms: of a type of which most stay they are not left out.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from ovito.data import DataCollection, Particles

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.atoms.sites import Sites
from ovito_mace_phase.classification.result import PhaseResult

from .read_atoms import AtomsIn

WHOLE = 0.9
FEW = 6


def notes_of(data: DataCollection, atoms: AtomsIn, result: PhaseResult) -> tuple[tuple[str, ...], str]:
    """Return the notes on a frame and the selection that leaves out atoms which lie on others, "" for none.

    Parameters
    ----------
    data : DataCollection
    atoms : AtomsIn
        As read from `data`.
    result : PhaseResult
        Of these atoms.
    """
    sites = result.frame.sites
    if sites is None:
        return (*atoms.notes, *result.notes), ""
    notes = list(atoms.notes)
    expression = leave_out(data.particles, atoms.chosen, sites) if sites.close else ""
    if expression:
        notes.append(
            f"{sites.close}. To leave them out: {as_option(expression)} (in a pipeline: this expression in an "
            "Expression selection, and only_selected)"
        )
    elif sites.close:
        notes.append(f"{sites.close}: molecules, collisions, or atoms doubled by mistake, which are to be deleted")
    if sites.crammed:
        start = shlex.quote(spelt(data.particles, sites.given, sites.frame))
        notes.append(f"{sites.crammed}. To choose yourself, start from --species {start}")
    return tuple(notes), expression


def as_option(expression: str) -> str:
    """Return an OVITO expression as option of the command line."""
    return f"--select {shlex.quote(expression)}"


def spelt(particles: Particles, given: Frame, merged: Frame) -> str:
    """Return the groups of several types as the parameter `species` takes them, "1,2 3,4"; by number where it must."""
    words = {kind.name: kind.name if _plain(kind.name) else str(kind.id) for kind in particles.particle_types.types}
    text = [name for name in merged.species_names if name not in given.species_names]
    for name in sorted(words, key=len, reverse=True):
        if name and words[name] != name:
            text = [group.replace(name, words[name]) for group in text]
    return " ".join(text)


def type_expression(particles: Particles, names: Sequence[str], *, leave: bool) -> str:
    """Return the OVITO expression of the atoms of types, or with `leave` of all others; "" where one is no type."""
    numbers: dict[str, list[int]] = {}
    for kind in particles.particle_types.types:
        numbers.setdefault(kind.name or str(kind.id), []).append(kind.id)
    for number in np.unique(particles.particle_types).tolist():
        if all(number not in known for known in numbers.values()):
            numbers.setdefault(str(number), []).append(number)
    if not all(name in numbers for name in names):
        return ""
    sign, joint = ("!=", " && ") if leave else ("==", " || ")
    return joint.join(
        f'ParticleType {sign} "{name}"'
        if _plain(name) and not name.isdigit() and len(numbers[name]) == 1
        else joint.join(f"ParticleType {sign} {number}" for number in numbers[name])
        for name in names
    )


def _plain(name: str) -> bool:
    return name.isascii() and name.replace("_", "").isalnum()


def leave_out(particles: Particles, chosen: npt.NDArray[np.int64] | None, sites: Sites) -> str:
    """Return the OVITO expression of the atoms that stay, "" where there is none."""
    everything = np.arange(particles.count) if chosen is None else chosen
    out = sites.on_others | sites.lost
    left = np.ones(len(out), dtype=bool)
    parts = []
    if particles.particle_types is not None:
        types = np.asarray(particles.particle_types)[everything]
        numbers, code = np.unique(types, return_inverse=True)
        share = np.bincount(code, weights=out) / np.bincount(code)
        if (share < WHOLE).any():
            names = {kind.id: kind.name for kind in particles.particle_types.types}
            unique = Counter(names.values())
            for number in numbers[share >= WHOLE].tolist():
                name = names.get(number, "")
                by_name = _plain(name) and unique[name] == 1
                parts.append(f'ParticleType != "{name}"' if by_name else f"ParticleType != {number}")
            left = (share < WHOLE)[code]
    further = everything[left & sites.on_others]
    if 0 < len(further) <= FEW:
        identifiers = particles.identifiers
        if identifiers is not None and len(np.unique(identifiers)) == particles.count:
            parts += [f"ParticleIdentifier != {number}" for number in np.sort(np.asarray(identifiers)[further])]
        else:
            parts += [f"ParticleIndex != {number}" for number in further]
    return " && ".join(parts)
