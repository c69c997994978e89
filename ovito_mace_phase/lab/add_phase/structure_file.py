"""From one structure file to the record of a phase: cell, anonymous species, symmetry where spglib is installed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.atoms.length_scale import local_spacing
from ovito_mace_phase.phases import Phase, ReferenceCell
from ovito_mace_phase.phases.colors import spread_color
from ovito_mace_phase.phases.own import MAX_ATOMS
from ovito_mace_phase.runtime.errors import InputError, MacePhaseError

_SYMMETRY_TOLERANCE = 0.01
_FAMILY = ((2, "a"), (15, "m"), (74, "o"), (142, "t"), (194, "h"), (230, "c"))  # last space group of a crystal family


def read_phase(path: Path, *, key: str, name: str, number: int, n_slots: int) -> Phase:
    """Read a structure file that ase reads.

    Parameters
    ----------
    path : Path
        CIF, POSCAR, extended XYZ and others; one structure with a periodic cell.
    key, name : str
    number : int
        Id of the phase.
    n_slots : int
        Species that the network can tell apart.

    Raises
    ------
    InputError
        Naming the file, what is wrong with it and what to do.
    """
    atoms = _read(path)
    symbols = np.array(atoms.get_chemical_symbols())
    _check(path, atoms, symbols, n_slots)
    names, species = np.unique(symbols, return_inverse=True)
    cell, fractional = np.array(atoms.cell[:]), np.array(atoms.get_scaled_positions(wrap=True))
    try:
        local_spacing(make_frame(fractional @ cell, species, cell, True))
    except MacePhaseError as error:
        raise InputError(f"{path.name}: {error}") from None
    space_group, pearson = _symmetry(cell, fractional, species)
    return Phase(
        id=number,
        key=key,
        name=name,
        aflow=None,
        strukturbericht=None,
        pearson=pearson,
        space_group=space_group,
        mineral=None,
        group=key,
        color=spread_color(number),
        n_species=len(names),
        reference=ReferenceCell(cell=cell, species=species.astype(np.int64), fractional=fractional),
        source=_printable(path.name),
        citation="",
        merged=(),
    )


def _read(path: Path) -> Any:
    import ase.io

    if not path.exists():
        raise InputError(f"there is no file {path}; give a structure file, such as a CIF or a POSCAR")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give one structure file, such as a CIF or a POSCAR")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = ase.io.read(path, index=slice(0, 2))
    except Exception as error:  # ase raises whatever its parsers meet
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"ase cannot read {path} ({reason}); save the structure as CIF, POSCAR or extended XYZ"
        ) from error
    if not found:
        raise InputError(f"{path} holds no structure; give a file with one")
    if len(found) > 1:
        raise InputError(f"{path} holds several structures; write the one to add into a file of its own")
    return found[0]


def _check(path: Path, atoms: Any, symbols: np.ndarray, n_slots: int) -> None:
    """Raise InputError for what cannot be a phase."""
    cell = np.array(atoms.cell[:])
    lengths = np.linalg.norm(cell, axis=1)
    if not np.isfinite(cell).all() or lengths.min() <= 0 or abs(np.linalg.det(cell)) < 1e-3 * lengths.prod():
        raise InputError(
            f"{path.name} has no cell of three independent lattice vectors ({cell.tolist()}); a phase is a crystal: "
            "give its unit cell"
        )
    if not atoms.pbc.all():
        raise InputError(
            f"{path.name} is periodic only along pbc = {atoms.pbc.tolist()}; give a cell that is periodic in all "
            "directions, a sheet with vacuum between its images"
        )
    if not 1 <= len(atoms) <= MAX_ATOMS:
        raise InputError(f"{path.name} has {len(atoms)} atoms in its cell; give the unit cell, of 1 to {MAX_ATOMS}")
    if not np.isfinite(atoms.positions).all():
        raise InputError(f"{path.name} has positions that are not finite numbers; repair the file")
    partial = _partial_sites(atoms)
    if partial:
        raise InputError(
            f"{path.name} has partly occupied sites ({partial}); give an ordered structure, one atom on each site"
        )
    kinds = sorted(set(symbols.tolist()))
    if len(kinds) > n_slots:
        raise InputError(
            f"{path.name} has {len(kinds)} species ({', '.join(kinds)}) but the network tells {n_slots} apart; give "
            "atoms that play the same part one element"
        )


def _partial_sites(atoms: Any) -> str:
    """Occupancies of the sites that are not full, as text."""
    sites = atoms.info.get("occupancy") or {}
    partial = [site for site in sites.values() if len(site) > 1 or min(site.values(), default=1.0) < 0.999]
    return "; ".join(", ".join(f"{symbol} {share:g}" for symbol, share in site.items()) for site in partial[:3])


def _symmetry(cell: np.ndarray, fractional: np.ndarray, species: np.ndarray) -> tuple[int | None, str | None]:
    """Space group and Pearson symbol; None without spglib or where it finds none."""
    try:
        import spglib
    except ImportError:
        return None, None
    try:
        crystal = (cell.tolist(), fractional.tolist(), (species + 1).tolist())
        found = spglib.get_symmetry_dataset(crystal, symprec=_SYMMETRY_TOLERANCE)
    except Exception:  # an optional designation is not worth an error
        return None, None
    if found is None:
        return None, None
    family = next(letter for last, letter in _FAMILY if found.number <= last)
    centring = found.international[0]
    n_atoms = len(found.std_types) // (3 if centring == "R" else 1)
    return int(found.number), f"{family}{'S' if centring in 'ABC' and family == 'm' else centring}{n_atoms}"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:200]
