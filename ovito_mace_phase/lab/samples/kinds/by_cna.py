"""Labels of adaptive common neighbour analysis (OVITO) as columns: fcc, hcp, bcc, and Other for all else."""

from __future__ import annotations

import numpy as np

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.lab.crystals import Int
from ovito_mace_phase.lab.ovito_methods import ovito_answer

from .made import OTHER
from .stock import Stock


def cna_labels(frame: Frame, stock: Stock) -> Int:
    """Return the column of every atom of a frame at rest, (n_atoms,)."""
    keys = ovito_answer(frame, "CNA")
    label = np.full(len(frame), OTHER)
    for key in ("FCC", "HCP", "BCC"):
        label[keys == key] = stock.columns[key]
    return label
