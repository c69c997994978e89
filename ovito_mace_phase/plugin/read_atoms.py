"""From OVITO's data to the `Frame` to classify, types of named groups merged.

Main thread only; data are copied, not changed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from ovito.data import DataCollection, Particles

from ovito_mace_phase.atoms.frame import Frame, make_frame
from ovito_mace_phase.atoms.species import KEPT, merge_species
from ovito_mace_phase.runtime.errors import InputError


@dataclass(frozen=True, kw_only=True)
class AtomsIn:
    """The atoms of one frame that are to be classified.

    Attributes
    ----------
    frame : Frame
        Only the atoms to classify; types of the groups that the user named are merged.
    chosen : (n_chosen,) int64 or None
        Indices of these atoms among all; None for all.
    n_atoms : int
        All atoms of the data collection.
    notes : tuple of str
        What the user should know: no types, no cell, empty selection.
    """

    frame: Frame
    chosen: npt.NDArray[np.int64] | None
    n_atoms: int
    notes: tuple[str, ...]


def read_atoms(data: DataCollection, *, species: str | None = None, only_selected: bool = False) -> AtomsIn:
    """Read positions, particle types and cell.

    Parameters
    ----------
    data : DataCollection
    species : str, optional
        Which particle types count as one species, by name or number; see `atoms.species.merge_species`.
    only_selected : bool
        Leave out unselected atoms, as if they did not exist.

    Raises
    ------
    InputError
        Without particles or positions, without a selection when `only_selected`, or for positions that are no numbers.
    """
    particles = data.particles
    if particles is None or particles.positions is None:
        raise InputError(
            "there are no particles in this data set; the modifier classifies atoms, so load a file that has some"
        )
    notes = []
    chosen = _selected(particles) if only_selected else None
    if chosen is not None and not len(chosen):
        notes.append("no atom is selected, so none was classified")
    positions = np.array(particles.positions, dtype=np.float64)
    types, names, ids = _types(particles)
    if types is None and (species or "").strip().lower() not in (*KEPT, "ignore"):
        raise InputError(f"species = {species!r} names particle types, but these particles have none; leave it on auto")
    if types is None:
        notes.append("the particles have no types: all atoms are taken as alike")
    if chosen is not None:
        positions = positions[chosen]
        types = None if types is None else types[chosen]
    cell, pbc = _cell(data)
    if cell is None:
        notes.append("there is no simulation cell: open boundaries on all sides")
    frame = make_frame(positions, types, cell, pbc)
    if types is not None:
        frame = dataclasses.replace(frame, species_names=tuple(names[int(code)] for code in frame.species_names))
    return AtomsIn(
        frame=merge_species(frame, _translate(species or "", ids, frame.species_names)),
        chosen=chosen,
        n_atoms=particles.count,
        notes=tuple(notes),
    )


def _selected(particles: Particles) -> npt.NDArray[np.int64]:
    if particles.selection is None:
        raise InputError(
            "only_selected needs a particle selection, and there is none; insert a selection modifier before this "
            "one or switch only_selected off"
        )
    return np.flatnonzero(np.asarray(particles.selection))


def _cell(data: DataCollection) -> tuple[npt.NDArray[np.float64] | None, npt.NDArray[np.bool_] | None]:
    """Rows and periodicity; OVITO keeps the vectors in columns and the origin, which does not matter, in the last."""
    if data.cell is None:
        return None, None
    pbc = np.array(data.cell.pbc, dtype=bool)
    if data.cell.is2D:
        pbc[2] = False
    return np.array(data.cell[:3, :3], dtype=np.float64).T, pbc


def _types(particles: Particles) -> tuple[npt.NDArray[np.int64] | None, list[str], dict[str, str]]:
    """Return a code of each atom's type, the names of the codes in order, and a look-up from type number to name.

    Types of the same name are one species.
    """
    types = particles.particle_types
    if types is None:
        return None, [], {}
    named = {kind.id: kind.name for kind in types.types if kind.name}
    numbers, inverse = np.unique(np.asarray(types), return_inverse=True)
    taken = set(named.values())
    ids = {}
    for number in sorted({*named, *(int(value) for value in numbers)}):
        plain = str(number)
        ids[plain] = named.get(number) or (f"type{plain}" if plain in taken else plain)
    names = sorted({ids[str(int(value))] for value in numbers})
    codes = np.array([names.index(ids[str(int(value))]) for value in numbers], dtype=np.int64)
    return codes[inverse] if len(codes) else np.zeros(0, dtype=np.int64), names, ids


def _translate(spec: str, ids: dict[str, str], present: tuple[str, ...]) -> str:
    """Put the names of the frame into `spec`, and drop types that the file knows but this frame has not."""
    if spec.strip().lower() in (*KEPT, "ignore"):
        return spec.strip()
    groups = []
    for group in spec.split():
        names = [name if name in ids.values() else ids.get(name, name) for name in group.split(",") if name]
        names = [name for name in dict.fromkeys(names) if name in present or name not in ids.values()]
        groups.append(",".join(names))
    return " ".join(group for group in groups if group)
