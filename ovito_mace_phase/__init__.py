"""Crystal phases of atoms in molecular dynamics, from one probabilistic MACE model, inside OVITO.

Names are loaded when first used: importing the package imports neither torch nor numba, ovito or mace.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .runtime.version import VERSION

if TYPE_CHECKING:
    from ovito_mace_phase.classification.classify import PhaseResult, classify
    from ovito_mace_phase.model.phase_model import PhaseModel
    from ovito_mace_phase.phases import Phase, phase_table
    from ovito_mace_phase.plugin.modifier import MacePhaseModifier
    from ovito_mace_phase.runtime.errors import (
        CancelledError,
        InputError,
        MacePhaseError,
        MissingPackageError,
        ModelFileError,
        OutputError,
        WorkerLostError,
    )
    from ovito_mace_phase.runtime.memory import set_memory
    from ovito_mace_phase.runtime.threads import set_threads
    from ovito_mace_phase.trajectory.api import classify_trajectory

__version__ = VERSION
__all__ = [
    "CancelledError",
    "InputError",
    "MacePhaseError",
    "MacePhaseModifier",
    "MissingPackageError",
    "ModelFileError",
    "OutputError",
    "Phase",
    "PhaseModel",
    "PhaseResult",
    "WorkerLostError",
    "classify",
    "classify_trajectory",
    "phase_table",
    "set_memory",
    "set_threads",
]

_HOMES = {
    "CancelledError": "runtime.errors",
    "InputError": "runtime.errors",
    "MacePhaseError": "runtime.errors",
    "MacePhaseModifier": "plugin.modifier",
    "MissingPackageError": "runtime.errors",
    "ModelFileError": "runtime.errors",
    "OutputError": "runtime.errors",
    "Phase": "phases",
    "PhaseModel": "model.phase_model",
    "PhaseResult": "classification.result",
    "WorkerLostError": "runtime.errors",
    "classify": "classification.classify",
    "classify_trajectory": "trajectory.api",
    "phase_table": "phases",
    "set_memory": "runtime.memory",
    "set_threads": "runtime.threads",
}


def __getattr__(name: str) -> Any:
    """Import the module that holds `name` (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
