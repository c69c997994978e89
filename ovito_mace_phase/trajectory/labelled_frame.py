"""The labelled atoms of one frame as a file that OVITO and ASE open as it was meant: coloured, with names and times.

    extended XYZ    id, species, pos, Phase (id), structure_type (key), color, Confidence, ..., the columns of the input
    LAMMPS dump     id, type, element, x y z, Phase and StructureType (id), ColorR ..., ..., the columns of the input

OVITO makes no typed property of a column that it does not know: it reads names as text, which ColorByType and
SelectType leave alone. `Structure Type` it knows in both formats (OVITO 3.17), hence the second column of the phase.
Its exporters write neither the global attributes of an XYZ file, nor the names of the types of a dump: both are put in
here. ASE takes a column `species` for chemical symbols, so types that are none are in a column `type`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
from ase.data import atomic_numbers
from ovito.data import DataCollection, ElementType, Particles, Property
from ovito.io import export_file

FORMATS = {"xyz": ("xyz", ".xyz"), "dump": ("lammps/dump", ".dump")}
TYPED = "Structure Type"
"""The property of a labelled file that has the phases as types."""
_FIRST = ("Particle Identifier", "Particle Type", "Position", "Phase", TYPED, "Color", "Confidence", "Phase Margin")
_DERIVED = ("Velocity Magnitude", "Selection")  # made by OVITO
_OF_THE_READER = ("SourceFrame", "SourceFile", "pbc")


def write_labelled(
    data: DataCollection, source: DataCollection, written: Iterable[str], part: Path, file_format: str
) -> None:
    """Write one frame.

    Parameters
    ----------
    data : DataCollection
        With the output of the modifier; gets the property `Structure Type`, the phases with their keys as names.
    source : DataCollection
        The same frame as OVITO read it: which columns the input has, and which global attributes.
    written : iterable of str
        Further properties to write, beside those of the head of this module.
    part : Path
    file_format : 'xyz' or 'dump'
        In a dump all columns are numbers: properties of text are left out.

    Raises
    ------
    RuntimeError
        When OVITO cannot write it.
    """
    given = source.particles.keys() if source.particles is not None else ()
    _copy_phase(data)
    names = [name for name in dict.fromkeys((*_FIRST, *written, *given)) if name in data.particles]
    names = [name for name in names if name not in _DERIVED]
    if file_format == "dump":
        names = [name for name in names if data.particles[name].dtype.kind in "iufb"]
    columns = [column for name in names for column in _components(cast("Property", data.particles[name]))]
    export_file(data, str(part), FORMATS[file_format][0], columns=columns)
    about = {name: value for name, value in source.attributes.items() if name not in _OF_THE_READER}
    if file_format == "xyz":
        _complete_xyz(part, data.particles, about)
    else:
        _complete_dump(part, data.particles, about)


def _components(one: Property) -> list[str]:
    return [f"{one.identifier}.{name}" for name in one.component_names] or [one.identifier]


def _copy_phase(data: DataCollection) -> None:
    phase = cast("Property", data.particles["Phase"])
    typed = data.particles_.create_property(TYPED, data=np.array(phase))
    typed.types.clear()
    for kind in phase.types:
        typed.types.append(ElementType(id=kind.id, name=kind.name, color=kind.color))


def _complete_xyz(part: Path, particles: Particles, about: dict[str, Any]) -> None:
    """Write the phase as its id, types by what they are, and the global attributes."""
    phase = {kind.name: str(kind.id).encode() for kind in cast("Property", particles["Phase"]).types}
    with part.open("rb") as stream:
        number, comment = stream.readline(), stream.readline()
        comment = declare_names(comment)
        place = _place(comment, b"Phase:S:1")
        comment = comment.replace(b":Phase:S:1", b":Phase:I:1")
        if not _are_elements(particles):
            comment = comment.replace(b"species:S:1", b"type:S:1", 1)
        extra = "".join(f" {name}={_quoted(value)}" for name, value in about.items() if _is_plain(name, value))
        numbers = {name.encode(): value for name, value in phase.items()}
        with (target := part.with_name(f"{part.name}.whole")).open("wb") as out:
            out.write(number + comment.rstrip() + extra.encode() + b"\n")
            for line in stream:
                words = line.split(b" ", place + 1)
                words[place] = numbers[words[place]]
                out.write(b" ".join(words))
    target.replace(part)


def declare_names(comment: bytes) -> bytes:
    """Declare names of phases and sites as text: OVITO before 3.17 calls them integers."""
    names = rb":(structure_type|Phase(?:BeforeDenoising)?|Site):I:1"
    return re.sub(names, rb":\1:S:1", comment)


def _place(comment: bytes, column: bytes) -> int:
    """Return the number of the words of a line before a column."""
    before = comment.partition(b"Properties=")[2].partition(b":" + column)[0]
    return sum(int(width) for width in before.split(b":")[2::3])


def _are_elements(particles: Particles) -> bool:
    """Whether the names of all types are chemical symbols."""
    types = particles.particle_types
    return types is None or all(types.type_by_id(int(number)).name in atomic_numbers for number in np.unique(types))


def _is_plain(name: str, value: Any) -> bool:
    """Whether an attribute can stand in the comment of an XYZ file."""
    if re.fullmatch(r"[A-Za-z_][\w.]*", name) is None or name.lower() in ("lattice", "origin", "properties"):
        return False
    if isinstance(value, str):
        return value.isprintable() and '"' not in value and "\\" not in value
    return isinstance(value, int | float) and math.isfinite(value)


def _quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value) if isinstance(value, int) else repr(float(value))


def _complete_dump(part: Path, particles: Particles, about: dict[str, Any]) -> None:
    """Write the names of the types as the column `element`, and the time."""
    types = particles.particle_types
    names = {} if types is None else {str(kind.id).encode(): kind.name.encode() for kind in types.types}
    named = types is not None and all(names.get(str(int(one)).encode(), b"").split() for one in np.unique(types))
    named = named and not any(len(name.split()) > 1 for name in names.values())
    place = int("Particle Identifier" in particles)
    with part.open("rb") as stream, (target := part.with_name(f"{part.name}.whole")).open("wb") as out:
        if "Time" in about:
            out.write(f"ITEM: TIME\n{about['Time']!r}\n".encode())
        for line in stream:
            out.write(line.replace(b" type ", b" type element ", 1) if named else line)
            if line.startswith(b"ITEM: ATOMS"):
                break
        for line in stream:
            if named and (words := line.split(b" ", place + 1))[-1:] != [b"\n"]:
                words.insert(place + 1, names[words[place]])
                line = b" ".join(words)
            out.write(line)
    target.replace(part)
