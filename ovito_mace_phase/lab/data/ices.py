"""Ices and clathrate hydrates with freshly drawn proton disorder: a reference cell shows one arrangement of many.

Each phase gets several arrangements that obey the ice rules, the split going by the seed they were drawn with.
Source: GenIce2, Matsumoto, Yagasaki, Tanaka, J. Comput. Chem. 39 (2018) 61.
"""

from __future__ import annotations

from collections.abc import Sequence

from ovito_mace_phase.lab.phase_table.ices import ICES, ice_cell
from ovito_mace_phase.phases import Phase
from ovito_mace_phase.runtime.errors import MissingPackageError

from .structures import CrystalStructure, Part

SEEDS: dict[Part, range] = {"train": range(100, 112), "validation": range(200, 202), "test": range(300, 304)}


def ice_structures(phases: Sequence[Phase]) -> dict[Part, list[CrystalStructure]]:
    """Return proton-disordered cells of every ice in `phases`, for each part of the split."""
    column = {phase.key: k for k, phase in enumerate(phases)}
    out: dict[Part, list[CrystalStructure]] = {"train": [], "validation": [], "test": []}
    for part, seeds in SEEDS.items():
        for ice in ICES:
            if ice.key not in column:
                continue
            for seed in seeds:
                try:
                    cell = ice_cell(ice, seed)
                except ImportError as error:
                    raise MissingPackageError(
                        f'ices need GenIce2 ({error}): pip install "ovito-mace-phase[train]"'
                    ) from None
                out[part].append(
                    CrystalStructure(
                        phase=column[ice.key],
                        cell=cell.cell,
                        fractional=cell.fractional,
                        species=cell.species,
                        system=f"ice {seed}",
                        source=f"GenIce2 {ice.lattice} seed {seed}",
                    )
                )
    return out
