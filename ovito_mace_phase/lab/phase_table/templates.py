"""Build ``templates.npz``: ``python -m ovito_mace_phase.lab.phase_table.templates -o templates.npz``.

Of every reference cell: which atoms are alike by symmetry (sites), their Wyckoff letters, how many neighbours make
their template (`phases/shells.py`) and the rotations of the crystal, all by spglib. Of an ice the oxygens alone: its
protons are disordered.
"""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import click
import numpy as np

from ovito_mace_phase.phases.record import Phase, ReferenceCell
from ovito_mace_phase.phases.shells import shell_sizes
from ovito_mace_phase.phases.table import phase_table
from ovito_mace_phase.phases.templates import FORMAT, pack_symmetry

from .ices import ICES
from .sheets import SHEETS

SYMPREC = 1e-3
_OXYGEN = 0


def site_record(
    cell: ReferenceCell, *, net: bool = False, directions: int = 3, symprec: float = SYMPREC
) -> dict[str, Any]:
    """Return what is stored of a crystal.

    Parameters
    ----------
    cell : ReferenceCell
    net : bool
        Atoms of species 0 alone count, the others have no site.
    directions : int
        2 for a single sheet.
    symprec : float
        What spglib takes for the same place, A.

    Returns
    -------
    dict
        ``site`` (n_atoms,), -1 for atoms without; ``wyckoff`` (n_atoms,) letters; ``size`` (n_atoms,) neighbours;
        ``seed`` (n_atoms,) bool: one atom of each set that rotations take into each other; ``rotations`` (n, 3, 3)
        whole numbers in the basis of the lattice; ``handed``: no mirror image of the crystal is the crystal.
    """
    import spglib

    counted = np.flatnonzero(cell.species == _OXYGEN) if net else np.arange(cell.n_atoms)
    fractional, species = cell.fractional[counted], cell.species[counted]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        crystal = (cell.cell.tolist(), fractional.tolist(), species.tolist())
        found = spglib.get_symmetry_dataset(crystal, symprec=symprec)
    if found is None:
        raise RuntimeError(f"spglib finds no symmetry at symprec = {symprec}")
    site = np.unique(found.equivalent_atoms, return_inverse=True)[1]
    proper = np.array([round(np.linalg.det(w)) == 1 for w in found.rotations])
    orbit = _orbits(fractional, cell.cell, found.rotations[proper], found.translations[proper])
    seed = np.zeros(cell.n_atoms, dtype=bool)
    seed[counted[np.unique(orbit, return_index=True)[1]]] = True
    size = shell_sizes(cell.cell, fractional, site, directions)
    return {
        "site": _spread(site, counted, cell.n_atoms, -1),
        "wyckoff": _spread(np.array(found.wyckoffs), counted, cell.n_atoms, ""),
        "size": _spread(size, counted, cell.n_atoms, 0),
        "seed": seed,
        "rotations": np.unique(found.rotations[proper], axis=0),
        "handed": bool(proper.all()),
    }


def build(phases: list[Phase]) -> dict[str, np.ndarray]:
    """Return the arrays of the file."""
    nets = {ice.key for ice in ICES}
    records = {
        p.key: site_record(p.reference, net=p.key in nets, directions=2 if p.key in SHEETS else 3)
        for p in phases
        if p.reference is not None
    }
    return pack_symmetry(records)


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write the file; the same arrays give the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in {"format": np.array(FORMAT), **arrays}.items():
            with archive.open(_entry(name), "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asarray(array), allow_pickle=False)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(f"{name}.npy")  # its date is that of the format
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _spread(values: np.ndarray, counted: np.ndarray, n_atoms: int, rest: Any) -> np.ndarray:
    out = np.full(n_atoms, rest, dtype=values.dtype)
    out[counted] = values
    return out


def _orbits(fractional: np.ndarray, cell: np.ndarray, rotations: np.ndarray, translations: np.ndarray) -> np.ndarray:
    """Return for each atom the first atom that an operation takes to it."""
    orbit = np.arange(len(fractional))
    for rotation, translation in zip(rotations, translations, strict=True):
        moved = fractional @ rotation.T + translation
        apart = fractional[None] - moved[:, None]
        apart -= np.round(apart)
        image = np.linalg.norm(apart @ cell, axis=2).argmin(axis=1)
        for a, b in enumerate(image):
            low, high = sorted((orbit[a], orbit[b]))
            orbit[orbit == high] = low
    return orbit


@click.command()
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(output: Path) -> None:
    """Build the file of the sites of all phases."""
    arrays = build(list(phase_table()))
    if output.exists():  # rivals are measured with these templates (`families`)
        with np.load(output, allow_pickle=False) as file:
            held = dict(zip(file["key"].tolist(), file["rivals"].tolist(), strict=True)) if "rivals" in file else {}
        arrays["rivals"] = np.array([held.get(key, "") for key in arrays["key"].tolist()])
    write_arrays(output, arrays)
    click.echo(f"{len(arrays['key'])} phases, {int(arrays['seed'].sum())} seeds, {output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
