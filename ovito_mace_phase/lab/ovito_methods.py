"""The classical methods of OVITO on a `Frame`, their labels as phase keys; the one file here that imports ovito.

    PTM 0.1         polyhedral template matching, all types but graphene, RMSD cutoff 0.1 (OVITO's default)
    PTM             the same without cutoff
    CNA             adaptive common neighbour analysis
    Ackland-Jones   bond angles
    Diamond         IdentifyDiamond; first and second neighbours of a diamond atom count as diamond
    CHILL+          on the oxygens of water; interfacial ice is ICE_INTERFACE

None of them looks at species, so that the right answer is the lattice of all atoms, `Phase.lattice`: B2 is bcc to them.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame, make_frame
from ovito_mace_phase.phases import phase_table

METALS = ("PTM 0.1", "PTM", "CNA", "Ackland-Jones")
METHODS = (*METALS, "Diamond", "CHILL+")
_PACKED = {"Other": "OTHER", "FCC": "FCC", "HCP": "HCP", "BCC": "BCC", "ICO": "ICO"}
_NAMES = {
    **_PACKED,
    **{"Simple cubic": "SC", "Cubic diamond": "CUBIC_DIAMOND", "Hexagonal diamond": "HEX_DIAMOND"},
    **{"Hexagonal ice": "ICE_IH", "Cubic ice": "ICE_IC", "Interfacial ice": "ICE_INTERFACE"},
    **{"Hydrate": "HYDRATE", "Interfacial hydrate": "HYDRATE"},
}
FINDS = {
    "PTM 0.1": {"FCC", "HCP", "BCC", "SC", "CUBIC_DIAMOND", "HEX_DIAMOND"},
    "PTM": {"FCC", "HCP", "BCC", "SC", "CUBIC_DIAMOND", "HEX_DIAMOND"},
    "CNA": {"FCC", "HCP", "BCC"},
    "Ackland-Jones": {"FCC", "HCP", "BCC"},
    "Diamond": {"CUBIC_DIAMOND", "HEX_DIAMOND"},
}
"""Method: the lattices that it finds."""


def target(method: str, phase: str) -> str | None:
    """Return the label by which a method knows a phase; None if it does not."""
    if phase == "OTHER":
        return "OTHER"
    if method == "CHILL+":
        return phase if phase in ("ICE_IH", "ICE_IC") else "HYDRATE" if phase.startswith("CLATHRATE_") else None
    lattice = phase_table().by_key(phase).lattice
    return lattice if lattice in FINDS[method] else None


def ovito_answer(frame: Frame, method: str) -> npt.NDArray[np.str_]:
    """Return the phase keys (n_atoms,) of one method; on the main thread alone, OVITO ends the process on another."""
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("OVITO can be called from the main thread alone")
    data = _collection(frame)
    data.apply(_modifier(method))
    types: Any = data.particles["Structure Type"]
    keys = {kind.id: _NAMES[kind.name.partition(" (")[0]] for kind in types.types if kind.name != "Graphene"}
    ids, inverse = np.unique(np.asarray(types), return_inverse=True)
    return np.array([keys[int(number)] for number in ids], dtype=np.str_)[inverse]


def ovito_orientation(frame: Frame, phase: str) -> npt.NDArray[np.float64]:
    """Return the orientations (n_atoms, 4) of PTM, x, y, z, w, without cutoff; NaN where it finds another phase."""
    data, matching = _collection(frame), _modifier("PTM")
    matching.output_orientation = True
    data.apply(matching)
    types: Any = data.particles["Structure Type"]
    ids = [kind.id for kind in types.types if _NAMES.get(kind.name.partition(" (")[0]) == phase]
    found = np.array(data.particles["Orientation"])
    found[~np.isin(np.asarray(types), ids)] = np.nan
    return found


def _collection(frame: Frame) -> Any:
    from ovito.data import DataCollection, Particles

    data = DataCollection()
    data.objects.append(Particles())
    data.particles_.create_property("Position", data=frame.positions)
    if frame.pbc.any() or np.linalg.matrix_rank(frame.cell) == 3:
        along_x, along_y, along_z = (bool(periodic) for periodic in frame.pbc)
        data.create_cell(np.column_stack([frame.cell.T, np.zeros(3)]), pbc=(along_x, along_y, along_z))
    return data


def ovito_answers(frame: Frame, methods: Sequence[str] = METHODS) -> dict[str, npt.NDArray[np.str_]]:
    """Return the phase keys (n_atoms,) of several methods."""
    return {method: ovito_answer(frame, method) for method in methods}


def subset(frame: Frame, chosen: npt.NDArray[np.bool_]) -> Frame:
    """Return the frame of some of the atoms."""
    return dataclasses.replace(frame, positions=frame.positions[chosen], species=frame.species[chosen])


def read_dump(path: Path) -> list[Frame]:
    """Return the frames of a file that OVITO reads."""
    from ovito.io import import_file

    pipeline = import_file(path)
    out = []
    for number in range(pipeline.num_frames):
        data = pipeline.compute(number)
        cell = np.array(data.cell[:3, :3], dtype=np.float64).T
        positions = np.array(data.particles.positions, dtype=np.float64) - np.array(data.cell[:3, 3])
        out.append(make_frame(positions, np.array(data.particles.particle_types), cell, np.array(data.cell.pbc)))
    return out


def _modifier(method: str) -> Any:
    from ovito import modifiers

    if method.startswith("PTM"):
        matching = modifiers.PolyhedralTemplateMatchingModifier(rmsd_cutoff=0.1 if method == "PTM 0.1" else 0.0)
        for kind in matching.structures:
            kind.enabled = kind.name != "Graphene"
        return matching
    if method == "CNA":
        return modifiers.CommonNeighborAnalysisModifier()
    if method == "Ackland-Jones":
        return modifiers.AcklandJonesModifier()
    if method == "Diamond":
        return modifiers.IdentifyDiamondModifier()
    if method == "CHILL+":
        return modifiers.ChillPlusModifier()
    raise ValueError(f"no method {method!r}")
