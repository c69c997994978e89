"""Crystal phases of atoms in molecular dynamics, from one probabilistic MACE model, inside OVITO.

Names are loaded when first used: importing the package imports neither torch nor numba, ovito or mace.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .classification import PhaseResult, classify
    from .engine.memory import set_memory
    from .model import PhaseModel
    from .modifier import MacePhaseModifier
    from .ovito_trajectory import classify_trajectory
    from .phases import Phase, phase_table
    from .threads import set_threads

__version__ = "0.1.0"
__all__ = [
    "MacePhaseModifier",
    "Phase",
    "PhaseModel",
    "PhaseResult",
    "classify",
    "classify_trajectory",
    "phase_table",
    "set_memory",
    "set_threads",
]

_HOMES = {
    "MacePhaseModifier": "modifier",
    "Phase": "phases",
    "PhaseModel": "model",
    "PhaseResult": "classification",
    "classify": "classification",
    "classify_trajectory": "ovito_trajectory",
    "phase_table": "phases",
    "set_memory": "engine.memory",
    "set_threads": "threads",
}


def __getattr__(name: str) -> Any:
    """Import the module that holds `name` (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
