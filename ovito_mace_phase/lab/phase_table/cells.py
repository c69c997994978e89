"""Choose and check the reference cell of a label.

A cell is taken if, made primitive and idealised by spglib as anonymous species, it has the space group of the label at
``SYMPREC`` and the composition of the label. Materials Project exemplars come first, AFLOW's parameters second.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from ovito_mace_phase.phases.record import ReferenceCell
from ovito_mace_phase.phases.table import bare_label

from .radial_distances import best_order, partial_distributions
from .sources import Proposal, Sources

SYMPREC = 1e-3
N_EXEMPLARS = 8
# d of an exemplar is below 0.15 by construction; the distributions are only asked whether it is the same structure.
MAX_DISTANCE = 0.9

MP_SOURCE = "Materials Project {} (CC-BY-4.0), symmetrised"
MP_CITATION = "Jain et al., APL Mater. 1, 011002 (2013)"
AFLOW_SOURCE = "AFLOW encyclopedia, published lattice and Wyckoff parameters"


def label_space_group(label: str) -> int:
    """Return the space group number in an AFLOW label: 194 for ``A_hP2_194_c-001``."""
    return int(label.split("_")[2])


def label_pearson(label: str) -> str:
    """Return the Pearson symbol in an AFLOW label: ``hP2`` for ``A_hP2_194_c-001``."""
    return label.split("_")[1]


def label_composition(label: str) -> np.ndarray:
    """Return the formula of a label as counts of A, B, ...: ``[2, 1]`` for ``A2B_tP6_136_f_a-001``."""
    return np.array([int(count or 1) for _, count in re.findall(r"([A-Z])(\d*)", label.split("_")[0])])


def label_n_atoms(label: str) -> int:
    """Return the number of atoms in the primitive cell of a label."""
    pearson = label_pearson(label)
    conventional = int(pearson[2:])
    # Rhombohedral Pearson symbols of AFLOW count the primitive cell already.
    return conventional // {"P": 1, "R": 1, "I": 2, "C": 2, "A": 2, "F": 4}[pearson[1]]


def reference_cell(sources: Sources, proposal: Proposal) -> tuple[ReferenceCell, str, str] | str:
    """Return the verified cell of a proposal with its source and citation, or the reason why there is none."""
    reasons = []
    for cell, source, citation in _candidates(sources, proposal):
        checked = verified(cell, proposal)
        if isinstance(checked, str):
            reasons.append(checked)
            continue
        return checked, source, citation
    return "; ".join(dict.fromkeys(reasons)) or "no structure"


def verified(cell: ReferenceCell, proposal: Proposal) -> ReferenceCell | str:
    """Return the idealised primitive cell if it has the label's space group and composition, else why not."""
    composition = label_composition(proposal.label)
    if proposal.letters:
        composition = np.bincount(_codes(proposal.letters), weights=composition).astype(int)
    number = label_space_group(proposal.label)
    n_atoms = label_n_atoms(proposal.label)
    found: int | None = None
    for symprec in (0.1, 0.03, 0.2, 0.01):
        ideal = standard_primitive(cell, symprec)
        if ideal is None:
            continue
        found = space_group(ideal)
        if found != number:
            continue
        counts = np.bincount(ideal.species, minlength=len(composition))
        if ideal.n_atoms != n_atoms:
            return f"{ideal.n_atoms} atoms instead of {n_atoms}"
        if len(counts) != len(composition) or np.any(counts * composition.sum() != composition * counts.sum()):
            return "other composition"
        return ideal
    return f"space group {found}"


def standard_primitive(cell: ReferenceCell, symprec: float) -> ReferenceCell | None:
    """Return the primitive cell in spglib's standard setting with ideal coordinates; None where spglib fails."""
    return _standardize(cell, symprec, to_primitive=True)


def standard_conventional(cell: ReferenceCell, symprec: float) -> ReferenceCell | None:
    """Return the conventional cell in spglib's standard setting with ideal coordinates; None where spglib fails."""
    return _standardize(cell, symprec, to_primitive=False)


def _standardize(cell: ReferenceCell, symprec: float, *, to_primitive: bool) -> ReferenceCell | None:
    import spglib

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # Magnetic and other supercells of the sources must go before the cell is idealised.
            small: Any = spglib.find_primitive(_for_spglib(cell), symprec=symprec)
            result = spglib.standardize_cell(small, to_primitive=to_primitive, no_idealize=False, symprec=symprec)
        except Exception:  # spglib raises types of its own, which differ between versions
            return None
    if result is None:
        return None
    lattice, fractional, species = (np.asarray(part) for part in result)
    return ReferenceCell(cell=lattice, species=species.astype(np.int64), fractional=np.round(fractional, 9) % 1.0)


def space_group(cell: ReferenceCell, symprec: float = SYMPREC) -> int | None:
    """Return the space group number of a cell as anonymous species."""
    import spglib

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = spglib.get_symmetry_dataset(_for_spglib(cell), symprec=symprec)
    return None if data is None else int(data.number)


def _for_spglib(cell: ReferenceCell) -> Any:
    # spglib takes arrays although its hints ask for sequences.
    return cell.cell, cell.fractional, cell.species


def _candidates(sources: Sources, proposal: Proposal) -> Iterator[tuple[ReferenceCell, str, str]]:
    base = proposal.label.partition("@")[0]
    anchor = proposal.anchor or proposal.label
    is_cluster = "@" in anchor
    published = sources.aflow_cells.get(base)
    target = None if published is None else partial_distributions(published)
    if is_cluster:
        exemplars = sources.exemplars(anchor, N_EXEMPLARS)
    else:
        exemplars = sources.exemplars(proposal.label, N_EXEMPLARS, proposal.anchor)
    # Twins such as AB_cP2_221_a_b-001 and -002: the structures are filed under one of the two.
    for twin in proposal.merged:
        if not exemplars and bare_label(twin) == bare_label(proposal.label):
            exemplars = sources.exemplars(twin, N_EXEMPLARS)
    for mp_id, cell in exemplars:
        ordered = _order_species(cell, target, label_composition(proposal.label), loose=is_cluster)
        if ordered is not None:
            yield _merge_letters(ordered, proposal), MP_SOURCE.format(mp_id), MP_CITATION
    if published is not None and not is_cluster:
        yield _merge_letters(published, proposal), AFLOW_SOURCE, aflow_citation(sources.prototypes[base]["part"])


def _order_species(
    cell: ReferenceCell, target: np.ndarray | None, composition: np.ndarray, *, loose: bool
) -> ReferenceCell | None:
    """Give the species the codes of the label's letters, by composition and by likeness to AFLOW's structure."""
    if target is None:
        return None
    distance, order = best_order(cell, target, composition)
    if order is None or (distance > MAX_DISTANCE and not loose):
        return None
    return ReferenceCell(cell=cell.cell, species=np.argsort(order)[cell.species], fractional=cell.fractional)


def _merge_letters(cell: ReferenceCell, proposal: Proposal) -> ReferenceCell:
    if not proposal.letters:
        return cell
    return ReferenceCell(cell=cell.cell, species=_codes(proposal.letters)[cell.species], fractional=cell.fractional)


def _codes(letters: str) -> np.ndarray:
    return np.array([ord(letter) - ord("A") for letter in letters])


def aflow_citation(part: str) -> str:
    """Return what to cite for a part of the AFLOW encyclopedia."""
    return {
        "1": "Mehl et al., Comput. Mater. Sci. 136, S1 (2017)",
        "2": "Hicks et al., Comput. Mater. Sci. 161, S1 (2019)",
        "3": "Hicks et al., Comput. Mater. Sci. 199, 110450 (2021)",
        "4": "Eckert et al., Comput. Mater. Sci. 240, 112988 (2024)",
    }.get(part, f"AFLOW encyclopedia of crystallographic prototypes, part {part}")
