"""The phases: ids, names, colours and reference cells, read from ``table.json`` (numpy only)."""

from .record import Phase, ReferenceCell
from .table import PhaseTable, phase_table

__all__ = ["Phase", "PhaseTable", "ReferenceCell", "phase_table"]
