"""One frame as the model sees it: positions, anonymous species, cell; every check of user input is here.

`species` are integer codes 0 .. n_species - 1. Which element hides behind a code is not part of a prototype and is
never used; `species_names` only serve messages and the `species` parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.runtime.errors import InputError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
_FARTHEST = 1e12  # length units
_FEW_CODES = 10_000  # largest minus smallest integer species


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Atoms of one frame.

    Attributes
    ----------
    positions : (n_atoms, 3) float64
        Cartesian, in the file's length unit; atoms may lie outside the cell.
    species : (n_atoms,) int64
        Anonymous codes 0 .. n_species - 1.
    species_names : tuple of str
        Name of each code, for messages and for merging.
    cell : (3, 3) float64
        Rows are lattice vectors; rows along non-periodic directions may be zero.
    pbc : (3,) bool
        Periodic directions.
    """

    positions: FloatArray
    species: IntArray
    species_names: tuple[str, ...]
    cell: FloatArray
    pbc: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def n_species(self) -> int:
        """Number of species names, present or not."""
        return len(self.species_names)


def part_of(frame: Frame, atoms: IntArray) -> Frame:
    """Return the frame of some of the atoms, (n_chosen,) numbers; all species names stay."""
    return replace(frame, positions=frame.positions[atoms], species=frame.species[atoms])


def make_frame(
    positions: npt.ArrayLike,
    species: Sequence[Any] | npt.ArrayLike | None,
    cell: npt.ArrayLike | None,
    pbc: npt.ArrayLike | None,
) -> Frame:
    """Check user input and return a `Frame`.

    Parameters
    ----------
    positions : (n_atoms, 3) array
    species : (n_atoms,) integers or strings, or None
        Atoms with equal values are of one species. None: all atoms are of one species.
    cell : (3, 3) array, (3,) array or None
        Rows are lattice vectors, or three edge lengths; None means open boundaries.
    pbc : bool, (3,) bool or None
        None means periodic wherever there is a cell.

    Raises
    ------
    InputError
        Naming the value that cannot be used and what to do.
    """
    xyz = _as_float(positions, "positions")
    if xyz.size == 0:
        xyz = xyz.reshape(0, 3)
    if xyz.ndim != 2 or xyz.shape[1] != 3:
        raise InputError(f"positions must have the shape (n_atoms, 3), not {xyz.shape}")
    if not np.isfinite(xyz).all():
        bad = np.flatnonzero(~np.isfinite(xyz).all(axis=1))
        raise InputError(
            f"{len(bad)} of {len(xyz)} positions are NaN or infinite, the first is atom index {bad[0]} with "
            f"{xyz[bad[0]].tolist()}; remove these atoms or repair the file"
        )
    if xyz.size and abs(xyz).max() > _FARTHEST:
        atom = int(abs(xyz).max(axis=1).argmax())
        raise InputError(
            f"the position of atom index {atom}, {xyz[atom].tolist()}, is beyond {_FARTHEST:g}, where distances drown "
            "in rounding; remove this atom or repair the file"
        )
    codes, names = _species_codes(species, len(xyz))
    rows, periodic = _cell(cell, pbc)
    return Frame(positions=xyz, species=codes, species_names=names, cell=rows, pbc=periodic)


def _as_float(values: npt.ArrayLike, what: str) -> FloatArray:
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} must be an array of numbers: {error}") from None


def _species_codes(species: Sequence[Any] | npt.ArrayLike | None, n_atoms: int) -> tuple[IntArray, tuple[str, ...]]:
    if species is None:
        return np.zeros(n_atoms, dtype=np.int64), ("all atoms",)
    values = np.asarray(species)
    if values.shape != (n_atoms,):
        raise InputError(f"types must have the shape ({n_atoms},), one value per atom, not {values.shape}")
    if values.dtype.kind == "f" and not np.array_equal(values, np.round(values)):
        raise InputError("types must be integers or strings; fractional numbers were given")
    if n_atoms == 0:
        return np.zeros(0, dtype=np.int64), ()
    if values.dtype.kind in "iu":
        least, most = int(values.min()), int(values.max())
        if most - least < _FEW_CODES and least > -(2**62) and most < 2**62:  # without sorting
            shifted = values.astype(np.int64) - least
            present = np.flatnonzero(np.bincount(shifted))
            lookup = np.zeros(most - least + 1, dtype=np.int64)
            lookup[present] = np.arange(len(present))
            return lookup[shifted], tuple(str(code + least) for code in present.tolist())
    names, codes = np.unique(values.astype(str) if values.dtype.kind in "OU" else values, return_inverse=True)
    return codes.astype(np.int64), tuple(str(name) for name in names)


def _cell(cell: npt.ArrayLike | None, pbc: npt.ArrayLike | None) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    if cell is None:
        if pbc is not None and np.any(pbc):
            raise InputError("periodic boundaries (pbc) need a cell, and none was given; pass cell or set pbc=False")
        return np.zeros((3, 3)), np.zeros(3, dtype=bool)
    rows = _as_float(cell, "cell")
    if rows.shape == (3,):
        rows = np.diag(rows)
    if rows.shape != (3, 3) or not np.isfinite(rows).all():
        raise InputError(
            f"cell must be three lattice vectors as finite rows (3, 3) or three edge lengths, not {rows.tolist()}"
        )
    periodic = np.broadcast_to(np.asarray(True if pbc is None else pbc, dtype=bool), (3,)).copy()
    vectors = rows[periodic]
    lengths = np.linalg.norm(vectors, axis=1)
    if len(vectors) and (
        lengths.min() <= 0 or np.linalg.matrix_rank(vectors / lengths[:, None], tol=1e-6) < len(vectors)
    ):
        raise InputError(
            f"the cell {rows.tolist()} is degenerate along its periodic directions (pbc={periodic.tolist()}); "
            "give three independent lattice vectors or switch off periodicity where there is no cell"
        )
    return rows, periodic
