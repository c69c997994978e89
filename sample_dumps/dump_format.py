"""Write frames as a gzipped LAMMPS text dump."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms


def write_dump(path: Path, frames: Sequence[Atoms], elements: Sequence[str], timestep: float) -> None:
    """Write `id type element x y z` with 4 decimals, byte for byte the same for the same frames.

    Parameters
    ----------
    path : Path
        Should end in `.dump.gz`.
    frames : sequence of Atoms
        Orthogonal periodic cells; `info["time"]` in ps.
    elements : sequence of str
        Element of type 1, 2, ...
    timestep : float
        In ps; turns the time into LAMMPS' step number.
    """
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=9, mtime=0) as file:
        file.write(b"ITEM: UNITS\nmetal\n")  # once: repeated in each frame it makes OVITO see a single frame
        for atoms in frames:
            file.write(_frame_text(atoms, list(elements), timestep).encode())


def _frame_text(atoms: Atoms, elements: list[str], timestep: float) -> str:
    time = float(atoms.info["time"])
    lengths = np.diag(np.array(atoms.cell))
    head = ["ITEM: TIME", f"{time:.4f}", "ITEM: TIMESTEP", str(round(time / timestep))]
    head += ["ITEM: NUMBER OF ATOMS", str(len(atoms)), "ITEM: BOX BOUNDS pp pp pp"]
    head += [f"0.0 {length:.6f}" for length in lengths]
    head.append("ITEM: ATOMS id type element x y z")
    rows = [
        f"{number} {elements.index(symbol) + 1} {symbol} {x:.4f} {y:.4f} {z:.4f}"
        for number, (symbol, (x, y, z)) in enumerate(
            zip(atoms.get_chemical_symbols(), atoms.positions, strict=True), start=1
        )
    ]
    return "\n".join([*head, *rows]) + "\n"
