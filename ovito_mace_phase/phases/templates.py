"""Templates: the neighbours of every atom of the reference cell of a phase, in the frame of its crystal.

    v_k = (r_k + lattice vector - r_a) / L,    k = 1 ... N nearest of atom a,    L^3 = 8 pi w / (3 (n + 1)),
    w the mean of |v|^3 over the n = 14 nearest atoms of any species: V of a dense crystal, measured as in a frame

A neighbour k of an atom a is itself an atom of the cell, so that a match of one atom says what its neighbours are and
how they are turned: a crystal is followed from atom to atom. Sites are numbers of atoms alike by symmetry.
``templates.npz`` holds what spglib says of sites and rotations (`lab/phase_table/templates.py`); the vectors follow
from the reference cell. Rotations take the frame of the reference cell to that of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.runtime.errors import InputError

from .record import Phase, ReferenceCell
from .shells import neighbours
from .symmetry import site_record
from .table import phase_table

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Kind = Literal["none", "crystal", "net"]
FORMAT = 1
_FILE = "templates.npz"
NOISE = 0.4
"""An atom of a hot crystal may lie so much farther out than its place, in units of the shortest vector."""
FREE = 0.62
_APART = 3.5  # emptiness of a sheet, in distances of nearest neighbours: 4.7 and more, 2.4 and less in solids
_N_NEAREST = 14  # as in `atoms.length_scale`
_OWN: WeakKeyDictionary[ReferenceCell, Template] = WeakKeyDictionary()
LAST_OF_PTM = 8
"""Ids of the phases that OVITO's Polyhedral Template Matching knows: the shell of one atom tells them."""
_PER_ATOM = ("site", "wyckoff", "size", "seed")


@dataclass(frozen=True, kw_only=True, eq=False)
class Template:
    """The neighbourhoods of one crystal.

    Attributes
    ----------
    key : str
    site : (n_atoms,) int64
        Symmetry-distinct site of each atom that has a template.
    wyckoff : (n_atoms,) str
        Wyckoff letters.
    species : (n_atoms,) int64
        Codes of the reference cell.
    seed : (n_atoms,) bool
        One atom of each set that rotations of the crystal take into each other.
    offsets : (n_atoms + 1,) int64
        Neighbours of atom a are the rows ``offsets[a]`` to ``offsets[a + 1] - 1`` of the next two.
    neighbour : (n_rows,) int64
        Atom of the cell, nearest first.
    vectors : (n_rows, 3) float64
        In units of L, see below.
    rotations : (n_rotations, 3, 3) float64
        Proper rotations of the crystal, identity first.
    crowd : int
        Most neighbours of an atom up to its template's longest vector and NOISE times its shortest.
    free : (n_atoms,) float64
        Distance within which no atom lies but those of the template, even in a hot crystal: FREE times that of the
        first atom that is not among them.
    planar : bool
        All vectors lie in one plane.
    sheet : bool
        The cell holds one sheet and nothing beside it: graphene, a layer of MoS2.
    simple : bool
        A lattice that OVITO's methods know: the shell of one atom tells it.
    net : bool
        Atoms of other species than the centre's are left out: the oxygen net of an ice.
    common : bool
        A phase that simulations are full of.
    """

    key: str
    site: Int
    wyckoff: npt.NDArray[np.str_]
    species: Int
    seed: npt.NDArray[np.bool_]
    offsets: Int
    neighbour: Int
    vectors: Float
    rotations: Float
    crowd: int
    free: Float
    planar: bool
    sheet: bool
    simple: bool
    net: bool
    common: bool

    @property
    def familiar(self) -> bool:
        """Whether it is a lattice that OVITO's methods know, another common phase, or an ice."""
        return self.simple or self.common or self.net

    @property
    def n_sites(self) -> int:
        """Number of symmetry-distinct sites."""
        return int(self.site.max()) + 1

    @property
    def multiplicity(self) -> Int:
        """Atoms of the reference cell on each site, (n_sites,)."""
        return np.bincount(self.site)

    @property
    def longest(self) -> float:
        """Longest vector, in units of L."""
        return float(np.linalg.norm(self.vectors, axis=1).max())


def kind_of(phase: Phase) -> Kind:
    """Return what kind of template a phase has, without making it; a net is the oxygens of an ice."""
    if phase.reference is None:
        return "none"
    return "net" if _is_net(phase.key) else "crystal"


@cache
def _is_net(key: str) -> bool:
    record = _stored().get(key)
    return record is not None and bool((record["site"] < 0).any())


def template(phase: Phase) -> Template | None:
    """Return the template of a phase; None for one without a crystal, such as Other.

    That of a phase which a model brings along is made of its reference cell, once.
    """
    if phase.reference is None:
        return None
    if phase.key in _stored() and phase.reference is _reference(phase.key):
        return _template(phase.key)
    if phase.reference not in _OWN:
        _OWN[phase.reference] = template_of(phase.key, phase.reference, site_record(phase.reference))
    return _OWN[phase.reference]


def template_of(
    key: str, cell: ReferenceCell, record: dict[str, Any], *, simple: bool = False, common: bool = False
) -> Template:
    """Make the template of a crystal of what `lab.phase_table.templates.site_record` says of it."""
    counted = np.flatnonzero(record["site"] >= 0)
    size = record["size"][counted].astype(np.int64)
    fractional = cell.fractional[counted]
    atom, _, vectors = neighbours(cell.cell, fractional, int(size.max()))
    kept = np.arange(vectors.shape[1])[None] < size[:, None]
    unit = _spacing(cell)
    basis = cell.cell.T
    turns = np.array([basis @ w @ np.linalg.inv(basis) for w in record["rotations"]])
    species, vectors_kept = cell.species[counted], vectors[kept] / unit
    seed, site = record["seed"][counted].astype(bool), record["site"][counted].astype(np.int64)
    crowd, free = _crowd(cell.cell, fractional, size)
    parts = [(atom[kept], vectors_kept)]
    if record["handed"]:  # the other hand comes after the first, with atoms of its own
        parts.append((atom[kept] + len(counted), -vectors_kept))
        species, seed, site, size = (np.concatenate([a, a]) for a in (species, seed, site, size))
    wyckoff = record["wyckoff"][counted]
    return Template(
        key=key,
        site=site,
        wyckoff=np.concatenate([wyckoff, wyckoff]) if record["handed"] else wyckoff,
        species=species,
        seed=seed,
        offsets=np.concatenate([[0], np.cumsum(size)]),
        neighbour=np.concatenate([part[0] for part in parts]),
        vectors=np.concatenate([part[1] for part in parts]),
        rotations=turns[np.argsort(-np.trace(turns, axis1=1, axis2=2), kind="stable")],
        crowd=crowd,
        free=np.concatenate([free, free] if record["handed"] else [free]) / unit,
        planar=int(np.linalg.matrix_rank(vectors[0, : size[0]], tol=1e-3 * unit)) < 3,
        sheet=_emptiness(cell) > _APART * np.linalg.norm(vectors[:, 0], axis=1).max(),
        simple=simple,
        net=len(counted) < cell.n_atoms,
        common=common,
    )


def _crowd(cell: Float, fractional: Float, size: Int) -> tuple[int, Float]:
    _, _, vectors = neighbours(cell, fractional, 3 * int(size.max()))
    distance = np.linalg.norm(vectors, axis=2)
    reach = distance[np.arange(len(size)), size - 1] + NOISE * distance[:, 0]
    return int((distance < reach[:, None]).sum(axis=1).max()), FREE * distance[np.arange(len(size)), size]


def _emptiness(cell: ReferenceCell) -> float:
    """Return the thickness of the thickest empty slab parallel to a face of the cell."""
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell.cell), axis=0)
    place = np.sort(cell.fractional % 1.0, axis=0)
    gaps = np.diff(np.concatenate([place, place[:1] + 1.0]), axis=0).max(axis=0)
    return float((gaps * heights).max())


def _spacing(cell: ReferenceCell) -> float:
    """Return L of a crystal."""
    _, _, vectors = neighbours(cell.cell, cell.fractional, _N_NEAREST)
    cubes = (np.linalg.norm(vectors, axis=2) ** 3).mean(axis=1)
    return float((8.0 * np.pi * np.exp(np.log(cubes).mean()) / (3.0 * (_N_NEAREST + 1))) ** (1.0 / 3.0))


def pack_symmetry(records: dict[str, dict[str, Any]]) -> dict[str, np.ndarray]:
    """Return the arrays of the file of sites, phases one after the other."""
    every = list(records.values())
    joined = {name: np.concatenate([record[name] for record in every]) for name in _PER_ATOM}
    rotations = np.concatenate([record["rotations"] for record in every]).astype(np.int8)
    return {
        "key": np.array(list(records)),
        "n_atoms": np.array([len(record["site"]) for record in every], dtype=np.int32),
        "site": joined["site"].astype(np.int16),
        "wyckoff": joined["wyckoff"],
        "size": joined["size"].astype(np.uint8),
        "seed": joined["seed"],
        "handed": np.array([record["handed"] for record in every]),
        "n_rotations": np.array([len(record["rotations"]) for record in every], dtype=np.int32),
        "rotations": rotations,
    }


def unpack_symmetry(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Return the records by key: the inverse of `pack_symmetry`."""
    atoms = np.concatenate([[0], np.cumsum(arrays["n_atoms"])])
    turns = np.concatenate([[0], np.cumsum(arrays["n_rotations"])])
    return {
        key: {name: arrays[name][atoms[k] : atoms[k + 1]] for name in _PER_ATOM}
        | {"rotations": arrays["rotations"][turns[k] : turns[k + 1]], "handed": bool(arrays["handed"][k])}
        for k, key in enumerate(arrays["key"].tolist())
    }


def read_arrays(name: str) -> dict[str, np.ndarray]:
    """Return the arrays of a file of this folder; nothing is unpickled."""
    with files(__package__).joinpath(name).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    if int(arrays["format"]) != FORMAT:
        raise InputError(f"{name} has format {arrays['format']}; this version reads format {FORMAT}")
    return arrays


@cache
def _stored() -> dict[str, dict[str, Any]]:
    """Return the records of the file by key, read once."""
    arrays = read_arrays(_FILE)
    out = unpack_symmetry(arrays)
    for k, record in enumerate(out.values()):
        record["rivals"] = str(arrays["rivals"][k]) if "rivals" in arrays else ""
    return out


@cache
def _rivals() -> dict[str, tuple[str, ...]]:
    return {key: tuple(record["rivals"].split()) for key, record in _stored().items()}


def rivals(key: str) -> tuple[str, ...]:
    """Return the keys of phases whose crystals could be taken for this phase, atom by atom."""
    return _rivals().get(key, ())


def _reference(key: str) -> ReferenceCell | None:
    return phase_table().by_key(key).reference


@cache
def _template(key: str) -> Template:
    phase = phase_table().by_key(key)
    if phase.reference is None:
        raise InputError(f"the phase {key} has no reference cell")
    return template_of(key, phase.reference, _stored()[key], simple=phase.id <= LAST_OF_PTM, common=phase.common)
