"""The suites by name; a suite is imported when it is run."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from importlib import import_module

from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.runtime.errors import InputError

from .report import Report, SuiteSettings

Suite = Callable[[PhaseModel, SuiteSettings], Report]

SUITES = {
    "heldout": "Held-out crystals, phase by phase, out of the model card; with `--data` fresh ones too, every prior.",
    "thermal": "Hot crystals of molecular dynamics beside PTM, CNA and others; calibration. Frames: make_hot.py.",
    "melts": "Melts and glasses: how often they are called a crystal. Frames: make_melts.py.",
    "unlisted": "Crystals of prototypes that are not in the table: are they doubted? Needs --data.",
    "field": "What users bring: mixed sublattices, interstitials, vacuum, surfaces, strain, liquids; see --data.",
    "denoise": "Residual displacements and labels after denoising. Held-out crystals: --data; hot ones: make_hot.py.",
    "defects": "Vacancies, interstitials, stacking faults, twins, surfaces, a particle.",
    "orientation": "Orientations against the known rotation and PTM's; labels and strains of strained crystals.",
    "cna": "Grain boundaries, dislocations, surfaces, vacancies of metals at rest and hot, against CNA, beside PTM.",
    "paths": "Order parameters along Bain, Burgers, bcc-omega and fcc-hcp paths.",
    "alloys": "Random alloys of two and five species on fcc, bcc and hcp sites.",
    "ices": "Ice polymorphs with proton orders not trained on, beside CHILL+.",
    "coexistence": "Copper in contact with its melt (a sample dump), beside PTM and CNA.",
    "interface": "Ice in contact with water, beside CHILL+. Frames: make_interface.py.",
    "shock": "Titanium under compression: phases against pressure. Frames: make_shock.py.",
    "titanium": "Alpha, omega and beta side by side under pressure, truth by construction. Frames: make_titanium.py.",
    "piston": "A shock wave in titanium: phases along the front, beside PTM. Frames: make_piston.py.",
    "interchangeable": 'Does species="auto" merge types that are alike, and no others? Needs no model.',
    "species": "Labels must not change when the types are numbered differently.",
    "nucleus": "A small nucleus of a second phase in a hot crystal: is it found?",
}
"""Name of the suite, which is also its module: one line of help."""
COMPARING = ("field",)
"""Suites that score methods of others too."""


def check_names(names: Sequence[str]) -> None:
    """Raise InputError for a name that no suite has."""
    for name in names:
        if name not in SUITES:
            near = difflib.get_close_matches(name, SUITES, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise InputError(f"there is no suite {name!r}{hint}; the suites are {', '.join(SUITES)}")


def load(name: str) -> Suite:
    """Return the function of a suite; InputError for an unknown name."""
    check_names([name])
    return import_module(f".suites.{name}", __package__).run
